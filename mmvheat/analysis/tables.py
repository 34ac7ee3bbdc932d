"""Tables in markdown, and what stands above them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from prettytable import PrettyTable, TableStyle


def make_title(mode: str, dtype: str) -> str:
    """Name a mode of a network, ``'eval'`` or ``'train'``, and a dtype."""
    return f'{dict(eval="Evaluation", train="Training")[mode]}, {dtype}'


def make_table(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """Draw a table in markdown, columns of numbers flush right."""
    table = PrettyTable(header)
    table.set_style(TableStyle.MARKDOWN)
    rows = [[str(cell) for cell in row] for row in rows]
    table.add_rows(rows)
    for name, *cells in zip(header, *rows):
        numbers = all(re.match(r'-?(\d|$)', cell) for cell in cells)
        table.align[name] = 'r' if numbers else 'l'
    return table.get_string()
