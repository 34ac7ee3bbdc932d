"""Look at a changed file, and at what was found in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from mmvheat.projects.records import Finding


def only(found, kind: str) -> Finding:
    """The one finding of a kind, proven to be the only one of it."""
    (finding,) = [f for f in found.data.findings if f.kind == kind]
    return finding


def line_of(path: Path, text: str) -> int:
    """The line of a file that holds a text."""
    lines = path.read_text().splitlines()
    (number,) = [i for i, line in enumerate(lines, 1) if text in line]
    return number


def edit(path: Path, change: Callable[[dict], None]) -> None:
    """Change the content of a json file, one key a line."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=1))


def things(found, index: int) -> list:
    """The objects of an image by its number."""
    (sample,) = [
        s for s in found.data.samples if s.path == f'images/{index:04d}.jpg'
    ]
    return sample.things
