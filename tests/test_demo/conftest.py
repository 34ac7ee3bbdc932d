"""The modules of demo/ are scripts beside each other, no package."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from mmvheat.visualization import style

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch) -> None:
    """Draw without laying out, which takes most of the time."""
    monkeypatch.setattr(style, '_LAYOUT', None)


@pytest.fixture
def exhibit(monkeypatch):
    """The module demo/exhibit.py."""
    monkeypatch.syspath_prepend(str(ROOT / 'demo'))
    return importlib.import_module('exhibit')


@pytest.fixture
def app(monkeypatch):
    """The module demo/app.py."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    monkeypatch.syspath_prepend(str(ROOT / 'demo'))
    return importlib.import_module('app')
