"""A file backend that never trades a good checkpoint for a broken one."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.fileio import LocalBackend, register_backend

from .errors import UserError


class AtomicBackend(LocalBackend):
    """Local files, written whole or not at all.

    ``put`` writes beside the target and renames; ``remove`` is put off until
    the next ``put`` succeeded. A checkpoint hook that removes the oldest
    checkpoint before it writes the new one thus never has fewer complete
    checkpoints than it was told to keep.
    """

    # mmengine makes one instance to remove and another one to put.
    _outdated: list[str] = []

    def put(self, obj: bytes, filepath: str) -> None:
        """Write ``obj`` to ``filepath``.

        Args:
            obj (bytes): The content.
            filepath (str): The file to make or replace.

        Raises:
            UserError: The disk is full or not writable; no file changed.
        """
        with self.replace(filepath) as partial, open(partial, 'wb') as file:
            file.write(obj)
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    @contextmanager
    def replace(cls, filepath: str) -> Iterator[str]:
        """Write a file whole or not at all.

        Args:
            filepath (str): The file to make or replace.

        Yields:
            str: The file to write instead, which becomes ``filepath``.

        Raises:
            UserError: The disk is full or not writable; no file changed.
        """
        partial = f'{filepath}.partial'
        try:
            os.makedirs(osp.dirname(filepath) or '.', exist_ok=True)
            yield partial
            os.replace(partial, filepath)
        except OSError as error:
            if osp.lexists(partial):
                os.remove(partial)
            raise UserError(
                f'Could not save {filepath}: {error.strerror}; earlier '
                'checkpoints are intact, make room and continue with '
                '--resume.'
            ) from error
        while cls._outdated:
            path = cls._outdated.pop()
            if path != filepath and osp.isfile(path):
                os.remove(path)

    def remove(self, filepath: str) -> None:
        """Remove ``filepath`` once the next file is written."""
        self._outdated.append(str(filepath))


register_backend('atomic', AtomicBackend, force=True)
