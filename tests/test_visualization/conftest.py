"""Commands run in this process on tiny networks."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from mmvheat.visualization import style
from mmvheat.visualization.networks import (
    Network,
    load_network,
)

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'tests/test_tools/configs'
TASKS = ('classifier', 'mask_rcnn', 'upernet')


@pytest.fixture(scope='session')
def networks() -> Callable[[str], Network]:
    """Tiny networks by task, random but with a k that does something."""
    built: dict[str, Network] = {}

    def get(task: str) -> Network:
        if task not in built:
            network = load_network(str(CONFIGS / f'{task}.py'))
            torch.manual_seed(1)
            for name, parameter in network.model.named_parameters():
                if 'freq_embed' in name or 'to_k' in name:
                    torch.nn.init.normal_(parameter, std=0.5)
                elif 'linear' in name or 'fc' in name:
                    torch.nn.init.normal_(parameter, std=0.2)
            built[task] = network
        return built[task]

    return get


@pytest.fixture(scope='session')
def checkpoint(
    networks, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The weights of such a network in a file."""

    def save(task: str) -> Path:
        path = tmp_path_factory.mktemp(task) / f'{task}.pth'
        palette = [[9, 90, 180], [200, 9, 9], [9, 200, 9], [200, 200, 9]]
        names = dict(classes=('box', 'disc', 'stripe'), palette=palette)
        meta = dict(dataset_meta=names)
        weights = networks(task).model.state_dict()
        torch.save(dict(state_dict=weights, meta=meta), path)
        return path

    return save


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A picture of 64x64 pixels: a bright disc, a dim one, some noise."""
    noise = np.random.default_rng(0).integers(0, 40, (64, 64, 3), np.uint8)
    cv2.circle(noise, (44, 20), 9, (250, 240, 230), -1)
    cv2.circle(noise, (16, 46), 12, (180, 180, 180), -1)
    path = tmp_path / 'discs.png'
    cv2.imwrite(str(path), noise)
    return path


@pytest.fixture
def run(monkeypatch, capfd, tmp_path) -> Callable[..., SimpleNamespace]:
    """Run a command of ``tools/visualization``; ``out`` is its folder."""

    def run(name: str, *arguments: object) -> SimpleNamespace:
        out = tmp_path / 'out'
        argv = [name, *arguments, '--out-dir', out, '--device', 'cpu']
        monkeypatch.setattr(sys, 'argv', [str(part) for part in argv])
        monkeypatch.setattr(sys, 'path', [*sys.path])
        # drawing is what takes time
        monkeypatch.setattr(style, '_DPI', 40)
        monkeypatch.setattr(style, '_LAYOUT', None)
        code = 0
        script = ROOT / f'tools/visualization/{name}.py'
        try:
            runpy.run_path(str(script), run_name='__main__')
        except SystemExit as end:
            code = end.code
        printed = capfd.readouterr()
        if code == 1:
            assert 'Traceback' not in printed.err
            (error,) = (
                line
                for line in printed.err.splitlines()
                if line.startswith('error: ')
            )
        return SimpleNamespace(
            code=code,
            out=out,
            printed=printed.out,
            error=error if code == 1 else None,
        )

    return run
