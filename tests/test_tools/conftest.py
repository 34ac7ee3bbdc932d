"""Tools run on a tiny data set of coloured shapes, on CPU."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

HERE = Path(__file__).parent
TOOLS = HERE.parents[1] / 'tools'
SHAPES = ('box', 'disc', 'stripe')
SIZE = 64


@pytest.fixture(scope='session')
def configs() -> Path:
    """The folder of the small configs that the tools run here."""
    return HERE / 'configs'


@pytest.fixture(scope='session')
def start_tool(
    start: Callable[..., Any],
    shapes: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Any]:
    """Start ``tools/NAME`` with arguments on the shapes."""

    def start_tool(
        name: str,
        *arguments: object,
        work_dir: Path | None = None,
        env: dict | None = None,
        patch: str | None = None,
    ) -> Any:
        folder = tmp_path_factory.mktemp('job')
        work_dir = work_dir or folder / 'work_dir'
        if name in ('train.py', 'test.py', 'robustness.py'):
            arguments = (*arguments, '--work-dir', work_dir)
        return start(
            TOOLS / name,
            *arguments,
            cwd=folder,
            work_dir=work_dir,
            env={'SHAPES': str(shapes), **(env or {})},
            patch=patch,
        )

    return start_tool


@pytest.fixture(scope='session')
def run_tool(start_tool: Callable[..., Any]) -> Callable[..., Any]:
    """Run a tool to its end."""

    def run(*args, **kwargs) -> Any:
        return start_tool(*args, **kwargs).wait()

    return run


@pytest.fixture(scope='session')
def run_ranks(start_tool: Callable[..., Any]) -> Callable[..., list]:
    """Run a tool in two processes like torchrun; in order."""

    def run(
        *args, exit_code: int = 0, work_dir: Path | None = None, **kwargs
    ) -> list:
        env = dict(
            WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=_free_port()
        )
        jobs = []
        for rank in ('0', '1'):
            kwargs['env'] = dict(env, RANK=rank, LOCAL_RANK=rank)
            kwargs['work_dir'] = jobs[0].work_dir if jobs else work_dir
            jobs.append(start_tool(*args, '--launcher', 'pytorch', **kwargs))
        for job in jobs:
            assert job.wait().exit_code == exit_code, job.output
        return jobs

    return run


@pytest.fixture
def free_port() -> str:
    """A port of this machine that nobody uses."""
    return _free_port()


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope='session')
def trained(
    configs: Path, run_tool: Callable[..., Any]
) -> Callable[[str], Any]:
    """Train a config of this folder once and for all tests."""
    jobs: dict[str, Any] = {}

    def train(name: str) -> Any:
        if name not in jobs:
            jobs[name] = run_tool('train.py', configs / f'{name}.py')
            assert jobs[name].exit_code == 0, jobs[name].output
        return jobs[name]

    return train


@pytest.fixture(scope='session')
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of shapes, in the three layouts that the configs read."""
    root = tmp_path_factory.mktemp('shapes')
    generator = np.random.default_rng(0)
    for split, count in (('train', 8), ('val', 5)):
        _write_split(root, split, count, generator)
    return root


def _write_split(
    root: Path, split: str, count: int, generator: np.random.Generator
) -> None:
    folders = [root / split, root / 'label_maps' / split, root / 'annotations']
    folders += [root / 'classes' / split / name for name in SHAPES]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    images, objects = [], []
    for i in range(count):
        picture = generator.integers(0, 60, (SIZE, SIZE, 3), dtype=np.uint8)
        labels = np.zeros((SIZE, SIZE), np.uint8)
        for shape, left in ((i % 3, 4), ((i + 1) % 3, 34)):
            top = int(generator.integers(4, 30))
            polygon = _outline(shape, left, top)
            cv2.fillPoly(picture, [polygon], _colour(shape))
            cv2.fillPoly(labels, [polygon], shape + 1)
            objects.append(_object(polygon, shape, i, len(objects) + 1))
        name = f'{i:03d}'
        cv2.imwrite(str(root / split / f'{name}.jpg'), picture)
        cv2.imwrite(str(root / 'label_maps' / split / f'{name}.png'), labels)
        images.append(
            dict(id=i, file_name=f'{name}.jpg', height=SIZE, width=SIZE)
        )
        crop = picture[:, :32]
        folder = root / 'classes' / split / SHAPES[i % 3]
        cv2.imwrite(str(folder / f'{name}.png'), crop)
    categories = [dict(id=k, name=name) for k, name in enumerate(SHAPES)]
    (root / 'annotations' / f'{split}.json').write_text(
        json.dumps(
            dict(images=images, annotations=objects, categories=categories)
        )
    )


def _outline(shape: int, left: int, top: int) -> np.ndarray:
    if SHAPES[shape] == 'disc':
        centre = (left + 12, top + 12)
        return cv2.ellipse2Poly(centre, (12, 12), 0, 0, 360, 20)
    height = 24 if SHAPES[shape] == 'box' else 10
    right, bottom = left + 24, top + height
    return np.array(
        [[left, top], [right, top], [right, bottom], [left, bottom]]
    )


def _colour(shape: int) -> tuple[int, int, int]:
    return tuple(230 if channel == shape else 90 for channel in range(3))


def _object(polygon: np.ndarray, shape: int, image: int, number: int) -> dict:
    x, y, width, height = cv2.boundingRect(polygon)
    return dict(
        id=number,
        image_id=image,
        category_id=shape,
        bbox=[x, y, width, height],
        area=float(cv2.contourArea(polygon)),
        segmentation=[polygon.ravel().astype(float).tolist()],
        iscrowd=0,
    )


@pytest.fixture
def shell_env(shapes: Path) -> dict[str, str]:
    """The environment in which the shell scripts run, without a GPU."""
    return {
        **os.environ,
        'CUDA_VISIBLE_DEVICES': '',
        'SHAPES': str(shapes),
        'PYTHON': sys.executable,
        'OMP_NUM_THREADS': '1',
    }
