"""Three-way merge of lines: what was written, edited, and is written now."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher, unified_diff
from typing import NamedTuple


class Conflict(NamedTuple):
    """Lines that both sides changed; those of the user were kept."""

    line: int  # where they begin in the result, counted from 1
    mine: list[str]  # the user's
    theirs: list[str]  # those that would be written now


def merge(base: str, mine: str, theirs: str) -> tuple[str, list[Conflict]]:
    """Merge ``theirs`` into ``mine``, both of which come from ``base``.

    Returns:
        tuple[str, list[Conflict]]: The text with the changes of both, and
        where both changed the same lines in different ways.
    """
    texts = [text.splitlines(keepends=True) for text in (base, mine, theirs)]
    result, conflicts = [], []
    for old, ours, new in _by_line(_chunks(*texts)):
        if new == old or ours == new:
            result += ours
        elif ours == old:
            result += new
        else:
            conflicts.append(Conflict(len(result) + 1, ours, new))
            result += ours
    return ''.join(result), conflicts


def show_merge(
    name: str, mine: str, merged: str, conflicts: list[Conflict]
) -> None:
    """Print how a file changes, and its conflicts."""
    lines = unified_diff(
        mine.splitlines(),
        merged.splitlines(),
        f'{name} (yours)',
        f'{name} (updated)',
        lineterm='',
        n=1,
    )
    text = '\n'.join(lines)
    print(text or f'{name}: no change')
    for conflict in conflicts:
        print(
            f'conflict: {name}:{conflict.line}: you changed these lines, and '
            'they would change now; yours were kept:'
        )
        for sign, side in (('yours', conflict.mine), ('now', conflict.theirs)):
            for line in side or ['(nothing)\n']:
                print(f'  {sign:>5} | {line.rstrip()}')


def _by_line(
    chunks: Iterator[tuple[list[str], ...]],
) -> Iterator[tuple[list[str], ...]]:
    """Take pieces of as many lines on each side line by line."""
    for chunk in chunks:
        if len({len(piece) for piece in chunk}) == 1:
            for lines in zip(*chunk):
                yield tuple([line] for line in lines)
        else:
            yield chunk


def _chunks(
    base: list[str], mine: list[str], theirs: list[str]
) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """Yield pieces of the three, those that all share and those between."""
    first, second = _partners(base, mine), _partners(base, theirs)
    at = (0, 0, 0)
    for index in range(len(base) + 1):
        if index == len(base):
            ends = (len(base), len(mine), len(theirs))
        elif index in first and index in second:
            ends = (index, first[index], second[index])
        else:
            continue
        pieces = tuple(
            text[start:end]
            for text, start, end in zip((base, mine, theirs), at, ends)
        )
        if any(pieces):
            yield pieces
        if index < len(base):
            same = [base[index]]
            yield same, same, same
        at = tuple(end + 1 for end in ends)


def _partners(base: list[str], other: list[str]) -> dict[int, int]:
    """The line of ``other`` that each line of ``base`` became unchanged."""
    blocks = SequenceMatcher(None, base, other, autojunk=False)
    return {
        block.a + i: block.b + i
        for block in blocks.get_matching_blocks()
        for i in range(block.size)
    }
