"""Writing checkpoints: whole, or not at all."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from .reader import CheckpointError

PathLike = Union[str, os.PathLike]


def check_target(
    target: PathLike, sources: tuple = (), force: bool = False
) -> None:
    """Check that a file may be written before work is spent on it.

    Args:
        target (str | os.PathLike): The file to write.
        sources (tuple): Files that must not be overwritten.
        force (bool): Whether another existing file may be replaced.
            Defaults to False.

    Raises:
        CheckpointError: If it may not.
    """
    target = Path(target)
    if target.is_dir():
        raise CheckpointError(f'{target} is a folder, but a file is expected')
    if not target.parent.is_dir():
        raise CheckpointError(
            f'the folder {target.parent} does not exist: create it first'
        )
    if target.exists():
        for source in sources:
            if os.path.samefile(source, target):
                raise CheckpointError(
                    f'{target} is the source itself: choose another target'
                )
        if not force:
            raise CheckpointError(
                f'{target} exists: choose another target or pass --force'
            )


def write_checkpoint(
    state_dict: Mapping[str, Tensor],
    target: PathLike,
    *,
    meta: Mapping[str, Any],
    key: str = 'state_dict',
) -> None:
    """Write weights and provenance with ``torch.save``.

    The file appears under its name only when it is complete.

    Args:
        state_dict (Mapping[str, Tensor]): Weights.
        target (str | os.PathLike): The file, replaced if it exists.
        meta (Mapping[str, Any]): Plain values.
        key (str): Key of the weights. Defaults to 'state_dict'.

    Raises:
        CheckpointError: If the file cannot be written.
    """
    # A view would drag the whole storage behind it into the file.
    tensors = {k: v.detach().cpu().clone() for k, v in state_dict.items()}
    buffer = io.BytesIO()  # torch tells a full disk in words of its own
    torch.save({key: tensors, 'meta': dict(meta)}, buffer)
    try:
        with replace_file(target) as partial:
            partial.write_bytes(buffer.getbuffer())
    except OSError as error:
        raise CheckpointError(
            f'cannot write {target}: {error.strerror or error}'
        ) from None


@contextmanager
def replace_file(target: PathLike) -> Iterator[Path]:
    """Write a file whole or not at all.

    Args:
        target (str | os.PathLike): The file to make or replace.

    Yields:
        Path: The file to write instead, beside the target; it gets the
        target's name when the block ends without an exception.
    """
    partial = Path(f'{target}.partial')
    try:
        yield partial
        with open(partial, 'rb+') as file:
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def hash_file(path: PathLike) -> str:
    """Compute the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
