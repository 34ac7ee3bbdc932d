"""Reading checkpoint files without executing anything in them."""

from __future__ import annotations

import json
import os
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch.serialization import MAGIC_NUMBER

from .allowlist import get_allow_list
from .unpickler import load_weights

ZIP_MAGIC = b'PK\x03\x04'
# What torch.save wrote first before torch 1.6, behind the protocol byte.
LEGACY_MAGIC = pickle.dumps(MAGIC_NUMBER, protocol=2)[2:]
HEAD_SIZE = 1024
MAX_NESTING = 100
_CHECKED: set[tuple[str, int, int]] = set()


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message is one sentence."""


def read_file(path: str | os.PathLike, map_location: Any = 'cpu') -> Any:
    """Read what ``torch.save`` or safetensors stored in a file.

    Config nodes come back as dictionaries. Zip files are checked against
    their checksums; files written before torch 1.6 have none, so damage in
    their numbers cannot be seen.

    Args:
        path (str | os.PathLike): The file.
        map_location (Any): Where tensors go, see :func:`torch.load`.
            Defaults to 'cpu'.

    Returns:
        Any: The stored object. A safetensors file gives
        ``dict(state_dict=..., meta=...)``.

    Raises:
        CheckpointError: If there is no such file, it is no checkpoint, is
            damaged, or asks for a class or function that weights do not need.
    """
    path = Path(path).expanduser()
    check_file(path)
    with open(path, 'rb') as file:
        head = file.read(HEAD_SIZE)
    if _is_safetensors(head):
        return _read_safetensors(path, map_location)
    return _load_inertly(path, map_location)


def check_file(path: Path) -> None:
    """Check that a file is a complete checkpoint, without unpickling.

    Args:
        path (Path): The file.

    Raises:
        CheckpointError: If there is no such file, or it is something else,
            truncated or damaged.
    """
    if path.is_dir():
        raise CheckpointError(
            f'{path} is a folder, but a checkpoint file is expected'
        )
    if not path.exists():
        raise CheckpointError(f'checkpoint {path} does not exist')
    try:
        with open(path, 'rb') as file:
            head = file.read(HEAD_SIZE)
    except OSError as error:
        raise CheckpointError(
            f'cannot read {path}: {error.strerror}'
        ) from None
    _refuse_non_checkpoints(path, head)
    if head.startswith(ZIP_MAGIC):
        check_zip(path)
    elif not _is_safetensors(head) and LEGACY_MAGIC not in head[:32]:
        with open(path, 'rb') as file:
            raise CheckpointError(_describe_pickle(path, file))


def check_zip(path: Path) -> None:
    """Check that a file of ``torch.save`` is complete and undamaged.

    Neither this check nor anything it calls unpickles. It reads the whole
    file, once: torch itself compares no checksums.

    Args:
        path (Path): The file.

    Raises:
        CheckpointError: If it is truncated or damaged.
    """
    if _fingerprint(path) in _CHECKED:
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = [member.filename.split('/')[-1] for member in members]
            if 'constants.pkl' in names:
                raise CheckpointError(
                    f'{path} is a TorchScript program, but a checkpoint '
                    'with a state dict is expected'
                )
            if 'data.pkl' not in names:
                if 'version' in names:  # as torch.save writes it
                    raise zipfile.BadZipFile('data.pkl is missing')
                raise CheckpointError(
                    f'{path} is a zip archive, but not one of torch.save'
                )
            # torch reads an entry that is marked as a folder as noise.
            folders = [m for m in members if m.external_attr & 0x10]
            if folders:
                raise zipfile.BadZipFile(folders[0].filename)
            # torch.serialization.set_crc32_options(False) stores zeros.
            if any(member.CRC for member in members):
                damaged = archive.testzip()
                if damaged is not None:
                    raise zipfile.BadZipFile(damaged)
    except CheckpointError:
        raise
    except Exception as error:
        if 'not a zip file' in str(error):
            raise CheckpointError(
                f'{path} is truncated ({path.stat().st_size:,} bytes, its '
                'end is missing): copy or download it again'
            ) from None
        raise CheckpointError(_damage(path, error)) from None
    mark_checked(path)


def mark_checked(path: Path) -> None:
    """Note that a file is undamaged until it changes."""
    _CHECKED.add(_fingerprint(path))


def _fingerprint(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


def _load_inertly(path: Path, map_location: Any) -> Any:
    try:
        with warnings.catch_warnings():
            # Pickle protocols other than 2 are read or refused, not guessed.
            warnings.simplefilter('ignore')
            content = load_weights(path, map_location, get_allow_list())
        return _settle(content)
    except pickle.UnpicklingError as error:
        refused = re.search(r'GLOBAL (\S+) w', str(error))
        if refused:
            raise CheckpointError(_refusal(path, refused[1])) from None
        if 'Unsupported operand' in str(error) and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next(n for n in archive.namelist() if 'data.pkl' in n)
                with archive.open(name) as file:
                    raise CheckpointError(
                        _describe_pickle(path, file)
                    ) from None
        reason = re.search(r'WeightsUnpickler error:\s+(.+)', str(error))
        raise CheckpointError(
            _damage(path, reason[1] if reason else error)
        ) from None
    except (torch.cuda.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        if 'CUDA' in str(error) and 'deserialize' in str(error):
            raise  # the caller's map_location, not the file
        if isinstance(error, EOFError) or 'unexpected EOF' in str(error):
            raise CheckpointError(
                f'{path} is truncated: copy or download it again'
            ) from None
        raise CheckpointError(_damage(path, error)) from None


def _settle(value: Any, depth: int = 0) -> Any:
    """Leave data alone in what was read: no attributes on dictionaries."""
    if depth > MAX_NESTING:
        raise ValueError('nested too deeply')
    if isinstance(value, dict):
        if isinstance(value, OrderedDict):
            attributes = dict(vars(value))
            vars(value).clear()
            if '_metadata' in attributes:  # torch's module versions
                value._metadata = attributes['_metadata']
            elif not value:  # a Namespace holds nothing but attributes
                value.update(attributes)
        for key in value:
            value[key] = _settle(value[key], depth + 1)
    elif type(value) is list:
        value[:] = [_settle(item, depth + 1) for item in value]
    elif type(value) is tuple:
        value = tuple(_settle(item, depth + 1) for item in value)
    elif isinstance(value, np.ndarray):
        value = np.array(value)  # of NumPy's class, not of the allow list's
    return value


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 8 and head[8:9] == b'{'


def _read_safetensors(path: Path, map_location: Any) -> dict:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise CheckpointError(
            f'{path} is a safetensors file: run `pip install safetensors`'
        ) from None
    size = path.stat().st_size
    with open(path, 'rb') as file:
        (header_size,) = struct.unpack('<Q', file.read(8))
    if header_size > size - 8:
        raise CheckpointError(
            f'{path} is truncated: copy or download it again'
        )
    try:
        with safe_open(path, framework='pt') as file:
            meta = dict(file.metadata() or {})
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(_damage(path, error)) from None
    if isinstance(map_location, (str, torch.device)):
        tensors = {k: v.to(map_location) for k, v in tensors.items()}
    return dict(state_dict=tensors, meta=meta)


def _refuse_non_checkpoints(path: Path, head: bytes) -> None:
    if not head:
        raise CheckpointError(
            f'{path} is empty (0 bytes): copy or download it again'
        )
    start = head.lstrip().lower()
    if start.startswith((b'<!doctype', b'<html', b'<?xml', b'<head')):
        raise CheckpointError(
            f'{path} is a web page, not a checkpoint: download the file '
            'itself, not the page that shows it'
        )
    if start.startswith(b'version https://git-lfs'):
        raise CheckpointError(
            f'{path} is a Git LFS pointer, not the checkpoint: run '
            '`git lfs pull`'
        )
    if not any(byte < 9 or 13 < byte < 32 or byte > 126 for byte in head):
        raise CheckpointError(f'{path} is a text file, not a checkpoint')
    known = head.startswith((ZIP_MAGIC, b'\x80')) or _is_safetensors(head)
    if not known:
        raise CheckpointError(
            f'{path} is not a checkpoint: neither torch.save nor '
            'safetensors wrote it'
        )


def _describe_pickle(path: Path, file: IO[bytes]) -> str:
    for name in _list_globals(file):
        if not name.startswith(('torch.', 'collections.', '_codecs.')):
            return _refusal(path, name)
    return (
        f'{path} is a pickle of another form than that of torch.save, and is '
        'not loaded because a pickle can run code: store the weights with '
        "torch.save's defaults or with safetensors"
    )


def _list_globals(file: IO[bytes]) -> list[str]:
    """List the classes and functions a pickle names, without loading it."""
    names, strings = [], []
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name in ('GLOBAL', 'INST'):
                names.append(argument.replace(' ', '.'))
            elif opcode.name == 'STACK_GLOBAL':
                names.append('.'.join(strings[-2:]))
            elif isinstance(argument, str):
                strings.append(argument)
    except Exception:  # damaged: what was found so far is enough
        return names
    return names


def _refusal(path: Path, name: str) -> str:
    return (
        f'{path} is refused because it asks Python for {name}, which weights '
        'do not need; nothing of it was executed'
    )


def _damage(path: Path, error: Exception | str) -> str:
    reason = ''.join(str(error).strip().splitlines()[:1])
    detail = f' ({reason[:120]})' if reason.isprintable() and reason else ''
    return f'{path} is damaged{detail}: copy or download it again'
