"""Data sets of the formats, and what was made of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scenes import WRITERS, make_scenes  # noqa: E402

from mmvheat.projects import project  # noqa: E402
from mmvheat.projects.readers import read_data  # noqa: E402


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a data set of a format into a folder of its own."""

    def write(name: str, count: int = 12, **kwargs) -> Path:
        root = tmp_path / 'data'
        root.mkdir()
        classes = len(kwargs.get('names', 'abc'))
        WRITERS[name](root, make_scenes(count, classes), **kwargs)
        return root

    return write


@pytest.fixture
def coco(write) -> tuple[Path, Path]:
    """A folder of COCO and its json."""
    root = write('coco')
    return root, root / 'annotations/instances.json'


@pytest.fixture
def look() -> Callable[..., project.Look]:
    """Look at a folder as ``mmvheat new`` does, writing nothing."""

    def look(root: Path, known: dict | None = None, **kwargs) -> project.Look:
        options = project.Options(str(root), **kwargs)
        return project.look(options, known or {})

    return look


@pytest.fixture
def read() -> Callable:
    """Read a folder, checking nothing."""
    return lambda root, name=None: read_data(str(root), name)[0]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pictures, which take most of the time."""
    monkeypatch.setattr(project, 'paint_samples', lambda *_: [])


@pytest.fixture
def create(tmp_path: Path, quick: None) -> Callable[..., Path]:
    """Write the project of a folder, without pictures."""

    def create(root: Path, **kwargs) -> Path:
        options = project.Options(str(root), **kwargs)
        project.create(options, str(tmp_path / 'project'))
        return tmp_path / 'project'

    return create
