"""Tables in markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Number


def markdown_table(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """Write a table in markdown, columns of numbers flush right.

    Args:
        header (Sequence[str]): Titles of the columns.
        rows (Iterable[Sequence]): The cells, drawn as ``str`` gives them;
            None makes an empty cell.

    Returns:
        str: The table, every line ended by a newline.

    Raises:
        ValueError: If a row has more or fewer cells than the header.
    """
    rows = [list(row) for row in rows]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(
                f'A row of the table has {len(row)} cells, the header '
                f'{len(header)}: {row}.'
            )
    numeric = [
        any(isinstance(row[i], Number) for row in rows)
        and all(isinstance(row[i], (Number, type(None))) for row in rows)
        for i in range(len(header))
    ]
    table = [[_cell(value) for value in row] for row in [header, *rows]]
    widths = [max(3, *map(len, column)) for column in zip(*table)]
    rule = [
        '-' * (width - 1) + (':' if right else '-')
        for width, right in zip(widths, numeric)
    ]
    lines = []
    for row in [table[0], rule, *table[1:]]:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric)
        ]
        lines.append(f'| {" | ".join(cells)} |\n')
    return ''.join(lines)


def _cell(value: object) -> str:
    text = '' if value is None else str(value)
    return text.replace('|', '\\|').replace('\n', ' ')
