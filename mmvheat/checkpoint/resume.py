"""Resuming a run that was interrupted at any moment."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from torch import Tensor

from mmvheat.ops import resize_freq_embed

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


def adapt_optimizer_state(
    state: Mapping[str, Any], params: Sequence[Tensor], mode: str = 'pad'
) -> None:
    """Resize the moments of FVEs to the parameters' grids, in place.

    Args:
        state (Mapping[str, Any]): State dict of a torch optimizer.
        params (Sequence[Tensor]): The optimizer's parameters in its order.
        mode (str): ``'pad'`` or ``'bicubic'``. Defaults to 'pad'.

    Raises:
        CheckpointError: If another tensor or the number of parameters
            differs.
    """
    ids = list(chain.from_iterable(g['params'] for g in state['param_groups']))
    if len(ids) != len(params):
        raise CheckpointError(
            f'cannot resume: the checkpoint has optimizer state for '
            f'{len(ids)} parameters, but the model trains {len(params)}; '
            'start from its weights alone with load_from'
        )
    for index, param in zip(ids, params):
        moments = state['state'].get(index, {})
        for name, value in moments.items():
            # An FVE is (H, W, C); Adam's step is a scalar.
            if not isinstance(value, Tensor) or value.dim() == 0:
                continue
            if value.shape == param.shape:
                continue
            if value.dim() != 3 or value.shape[2:] != param.shape[2:]:
                raise CheckpointError(
                    f'cannot resume: {name} of the optimizer has the shape '
                    f'{tuple(value.shape)}, but the parameter '
                    f'{tuple(param.shape)}; start from the weights alone '
                    'with load_from'
                )
            resized = resize_freq_embed(value, tuple(param.shape[:2]), mode)
            # Interpolation must not make a second moment negative.
            positive = bool((value >= 0).all())
            moments[name] = resized.clamp_min(0) if positive else resized
