"""Where an element of a JSON array stands."""

from __future__ import annotations

import bisect
import json
import re
from functools import partial

from ..records import Place


class JsonLines:
    """Line numbers in one array of a JSON file, found when first asked for.

    Args:
        path (str): The file.
        shown (str): How to name it.
        key (str): The key of the array.
    """

    def __init__(self, path: str, shown: str, key: str) -> None:
        self.path, self.shown, self.key = path, shown, key
        self._lines = None

    def place(self, index: int) -> Place:
        """The place of an element."""
        return Place(self.shown, partial(self._line, index))

    def _line(self, index: int) -> int:
        if self._lines is None:
            with open(self.path, encoding='utf-8-sig') as file:
                self._lines = _find_lines(file.read(), self.key)
        return self._lines[index] if index < len(self._lines) else 0


def _find_lines(text: str, key: str) -> list[int]:
    start = re.search(rf'"{key}"\s*:\s*\[\s*', text)
    if not start:
        return []
    ends = [match.start() for match in re.finditer('\n', text)]
    decode = json.JSONDecoder().raw_decode
    lines, position = [], start.end()
    while position < len(text) and text[position] != ']':
        lines.append(bisect.bisect_left(ends, position) + 1)
        position = decode(text, position)[1]
        position = re.compile(r'[\s,]*').match(text, position).end()
    return lines
