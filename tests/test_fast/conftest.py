"""Small images are to be treated as large ones."""

import pytest

from mmvheat.fast import lean


@pytest.fixture(autouse=True)
def lean_at_any_size(monkeypatch):
    """Recompute also where it saves little."""
    monkeypatch.setattr(lean, '_MIN_BYTES', 0)
