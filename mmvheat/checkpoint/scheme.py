"""Safe file reading for everything in mmengine that loads a checkpoint.

``load_from``, ``--resume``, ``init_detector``, ``init_model`` and
``init_cfg`` all go through mmengine's ``CheckpointLoader``, whose readers of
local files and of URLs are replaced by these (see :mod:`mmvheat.compat`).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_local_rank
from torch import Tensor

from .arch import is_backbone_key
from .converter import HEAD_NAMES
from .layout import (
    AVERAGED_WEIGHTS,
    WEIGHTS,
    find_prefix,
    rename_timm_head,
    strip_wrappers,
)
from .reader import CheckpointError, check_file, read_file
from .unpickler import load_weights
from .writer import replace_file


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Read a local file for mmengine.

    A file that is not vHeat's and that torch reads with
    ``weights_only=True`` is read by torch alone.

    Args:
        filename (str): The file.
        map_location (Any): Where tensors go, see :func:`torch.load`.
            Defaults to None.

    Returns:
        Any: The content, see :func:`to_mmengine_layout`.

    Raises:
        CheckpointError: If it is no checkpoint, damaged, or asks for a class
            or function that weights do not need.
    """
    path = Path(filename).expanduser()
    try:
        content = load_weights(path, map_location)
    except Exception:  # say why, or read what mmengine saves
        content = read_file(path, map_location or 'cpu')
    else:
        if is_vheat(content):
            check_file(path)
    return to_mmengine_layout(content)


def load_from_http(
    filename: str, map_location: Any = None, model_dir: str | None = None
) -> Any:
    """Download a file once per machine and read it for mmengine."""
    return load_from_local(str(download(filename, model_dir)), map_location)


def load_content(source: str) -> Any:
    """Read the content of a file, URL or another scheme of mmengine."""
    if source.startswith(('http://', 'https://')):
        return read_file(download(source))
    if '://' in source:
        from mmengine.runner.checkpoint import CheckpointLoader

        return CheckpointLoader.load_checkpoint(source, 'cpu')
    return read_file(source)


def download(url: str, model_dir: str | None = None) -> Path:
    """Download a file into the cache of ``torch.hub``, unless it is there.

    Of addresses that end in one name the first has that file; a file whose
    address is not known is taken for any.

    Args:
        url (str): The address.
        model_dir (str, optional): Another cache folder. Defaults to None.

    Returns:
        Path: The local file.

    Raises:
        CheckpointError: If the download fails or gives no checkpoint; the
            cache is left without it.
    """
    folder = Path(model_dir or Path(torch.hub.get_dir()) / 'checkpoints')
    path = folder / os.path.basename(urlparse(url).path)
    note = path.with_name(f'{path.name}.url')
    address = urlparse(url)._replace(query='', fragment='').geturl()
    if note.exists() and note.read_text() != address:
        # The other address ends in the same name.
        digest = hashlib.sha256(address.encode()).hexdigest()[:8]
        path = path.with_name(f'{digest}_{path.name}')
        note = path.with_name(f'{path.name}.url')
    try:
        if get_local_rank() == 0 and not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _fetch(url, path)
            with replace_file(note) as partial:  # whole: other ranks read it
                partial.write_text(address)
    finally:
        barrier()
    return path


def _fetch(url: str, path: Path) -> None:
    try:
        torch.hub.download_url_to_file(url, str(path))
        check_file(path)
    except OSError as error:
        raise CheckpointError(
            f'cannot download {url} to {path}: {error}; download it by hand '
            'and give the path of the file'
        ) from None
    except CheckpointError as error:
        path.unlink()
        raise CheckpointError(f'{error} (from {url})') from None


def is_vheat(content: Any) -> bool:
    """Tell whether the content of a file holds a vHeat backbone."""
    return (
        isinstance(content, dict)
        and find_prefix(strip_wrappers(_get_weights(content))) is not None
    )


def to_mmengine_layout(content: Any) -> Any:
    """Give a vHeat file without mmengine's layout that layout.

    Official files have their weights under ``'model'``, without the prefix
    ``'backbone.'``; mmengine would find nothing in them. All other content is
    returned as it is.

    Args:
        content (Any): The content of a file.

    Returns:
        Any: ``dict(state_dict=..., meta=...)`` with the names of a whole
        model, or ``content`` itself.
    """
    if not is_vheat(content):
        return content
    weights = _get_weights(content)
    state_dict = strip_wrappers(weights)
    prefix = find_prefix(state_dict)
    if prefix and weights is content.get('state_dict'):
        same = all(key in weights for key in state_dict)
        return content if same else dict(content, state_dict=state_dict)
    renamed = state_dict if prefix else _prefix_keys(state_dict)
    if 'message_hub' in content:
        # A run resumes from all of it, one of timm's vHeat in mmpretrain.
        return dict(content, state_dict=renamed)
    meta = content.get('meta')
    return dict(
        state_dict=renamed, meta=meta if isinstance(meta, dict) else {}
    )


def _get_weights(content: dict) -> dict:
    for key in ('state_dict', *WEIGHTS, *AVERAGED_WEIGHTS):
        if isinstance(content.get(key), dict) and content[key]:
            return content[key]
    return content


def _prefix_keys(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        f'backbone.{key}'
        if is_backbone_key(key)
        else HEAD_NAMES.get(key, key): value
        for key, value in rename_timm_head(state_dict).items()
    }
