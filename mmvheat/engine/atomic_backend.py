"""A file backend that never trades a good checkpoint for a broken one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mmvheat.checkpoint.writer import replace_file
from mmvheat.errors import UserError


class AtomicBackend(LocalBackend):
    """Local files, written whole or not at all.

    ``put`` writes beside the target and renames; ``remove`` is put off until
    the next ``put`` or ``remove``. A checkpoint hook that removes the oldest
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
        with self.replace(filepath) as partial:
            partial.write_bytes(obj)

    @classmethod
    @contextmanager
    def replace(cls, filepath: str) -> Iterator[Path]:
        """Write a file by a tool of its own, see :func:`replace_file`.

        Raises:
            UserError: The disk is full or not writable; no file changed.
        """
        try:
            Path(filepath).parent.mkdir(parents=True, exist_ok=True)
            with replace_file(filepath) as partial:
                yield partial
        except OSError as error:
            raise UserError(
                f'Could not save {filepath}: {error.strerror}; earlier '
                'checkpoints are intact, make room and continue with '
                '--resume.'
            ) from error
        cls._remove_outdated(filepath)

    def remove(self, filepath: str) -> None:
        """Remove ``filepath`` once the next file is written."""
        # What was put off before has seen its next file.
        self._remove_outdated(filepath)
        self._outdated.append(str(filepath))

    @classmethod
    def _remove_outdated(cls, kept: str) -> None:
        while cls._outdated:
            path = cls._outdated.pop()
            if path != str(kept) and os.path.isfile(path):
                os.remove(path)


register_backend('atomic', AtomicBackend, force=True)
