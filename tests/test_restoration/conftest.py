"""Small pictures with structure."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def photograph() -> np.ndarray:
    """RGB uint8 (67, 90, 3): smooth, with edges, every channel its own."""
    y, x = np.mgrid[:67, :90]
    waves = [np.sin(x / 7 + i) + np.cos(y / (5 + i)) for i in range(3)]
    image = 128 + 45 * np.stack(waves, -1)
    image[20:40, 30:60] += 60
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path, photograph: np.ndarray) -> Path:
    """A folder ``photographs`` of train, val and test, two images each."""
    root = tmp_path / 'photographs'
    for split in ('train', 'val', 'test'):
        (root / split).mkdir(parents=True)
        for i in range(2):
            image = np.roll(photograph, 9 * i, axis=1)
            cv2.imwrite(str(root / split / f'{i}.png'), image)
    return root
