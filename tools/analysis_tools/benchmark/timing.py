"""Time things in turn, so that what slows the machine down hits all alike.

Nothing of mmvheat is imported here, see ``step.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch.utils.benchmark import timer


def time_runs(action: Callable[[], object], count: int) -> float:
    """Run an action some times; seconds of one, with the GPU's work done."""
    begin = timer()
    for _ in range(count):
        action()
    return (timer() - begin) / count


def time_interleaved(
    timers: Mapping[str, Callable[[int], float]],
    repeats: int,
    min_seconds: float = 0.1,
) -> dict[str, list[float]]:
    """Time several things, each once a round.

    Every round starts with another one; short ones run several times on end.

    Args:
        timers (Mapping): Of each thing, what runs it that often and returns
            the seconds of one run. They ran before.
        repeats (int): Rounds.
        min_seconds (float): Least time of a measurement. Defaults to 0.1.

    Returns:
        dict[str, list[float]]: Seconds of each in each round.
    """
    counts = {
        name: max(1, math.ceil(min_seconds / run(1)))
        for name, run in timers.items()
    }
    seconds = {name: [] for name in timers}
    names = list(timers)
    for i in range(repeats):
        start = i % max(1, len(names))
        for name in names[start:] + names[:start]:
            seconds[name].append(timers[name](counts[name]))
    return seconds


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Compute the lower quartile, the median and the upper quartile."""
    return tuple(float(q) for q in np.percentile(values, (25, 50, 75)))


def compare_speed(
    own: Sequence[float], other: Sequence[float]
) -> tuple[float, float, float]:
    """Compare the seconds of two things round by round.

    Returns:
        tuple[float, float, float]: Quartiles of the speed relative to the
        other; above 1 is faster.
    """
    return quartiles([theirs / ours for ours, theirs in zip(own, other)])
