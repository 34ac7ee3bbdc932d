"""Resuming a run that was interrupted at any moment."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from mmengine.logging import print_log

from .reader import CheckpointError, check_zip


def find_complete_checkpoint(work_dir: str | Path) -> str | None:
    """Find the newest checkpoint of a run that was written completely.

    mmengine writes checkpoints in place, so a run that is killed while it
    saves leaves a truncated file. The one named in ``last_checkpoint`` is
    tried first, then ``epoch_*.pth`` and ``iter_*.pth`` from the newest. An
    ``interrupted.pth`` that is younger than all of them comes before them.

    Args:
        work_dir (str | Path): Work folder of the run.

    Returns:
        str: Path of the checkpoint, or None if there is none to resume.

    Raises:
        CheckpointError: If there are checkpoints, but all are damaged.
    """
    damage = None
    for path in _list_candidates(Path(work_dir)):
        try:
            check_zip(path)
            return str(path)
        except CheckpointError as error:
            damage = damage or error
            print_log(str(error), logger='current', level=logging.WARNING)
    if damage:
        raise CheckpointError(
            f'{work_dir} has no complete checkpoint to resume: {damage}'
        )
    return None


def _list_candidates(work_dir: Path) -> list[Path]:
    pattern = re.compile(r'(epoch|iter)_(\d+)\.pth')
    numbered = {
        path: int(match[2])
        for path in work_dir.glob('*.pth')
        if (match := pattern.fullmatch(path.name))
    }
    candidates = sorted(numbered, key=numbered.get, reverse=True)
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():
        last = Path(pointer.read_text().strip())
        if not last.is_file():  # the folder was moved
            last = work_dir / last.name
        if last.is_file():
            candidates = [last, *(c for c in candidates if c != last)]
    interrupted = work_dir / 'interrupted.pth'
    if interrupted.is_file() and interrupted not in candidates:
        newest = max((c.stat().st_mtime for c in candidates), default=0)
        position = (
            0 if interrupted.stat().st_mtime >= newest else len(candidates)
        )
        candidates.insert(position, interrupted)
    return candidates
