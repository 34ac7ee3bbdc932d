"""Label files of JSON: what is in one, and where its elements stand."""

from __future__ import annotations

import bisect
import json
import re
from functools import partial
from typing import Any

from ..folder import Folder
from ..records import Place


def read_ends(path: str) -> bytes:
    """Both ends of a file, which may be large."""
    with open(path, 'rb') as file:
        start = file.read(1 << 16)
        file.seek(max(0, file.seek(0, 2) - (1 << 16)))
        return start + file.read()


def load_lists(folder: Folder, name: str, *keys: str) -> dict[str, Any] | None:
    """Load an object that has these lists; None, with a finding, if not."""
    place = Place(name)
    try:
        with open(folder.full(name), encoding='utf-8-sig') as file:
            content = json.load(file)
        lists = content if isinstance(content, dict) else {}
        missing = [k for k in keys if not isinstance(lists.get(k), list)]
        if not missing:
            return content
        reason = f'it has no list {missing[0]!r}'
    except json.JSONDecodeError as error:
        place, reason = Place(name, error.lineno), error.msg
    except (OSError, UnicodeDecodeError) as error:
        reason = str(error)
    folder.report('broken label file', place, reason)
    return None


class JsonLines:
    """Line numbers in the array ``key`` of a file, read when asked for."""

    def __init__(self, folder: Folder, name: str, key: str) -> None:
        self.path, self.name, self.key = folder.full(name), name, key
        self._lines = None

    def place(self, index: int) -> Place:
        """The place of an element."""
        return Place(self.name, partial(self._line, index))

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
