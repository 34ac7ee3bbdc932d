"""Restorers are compared at equal size, and their table says on what."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.registry import MODELS

TOOLS = Path(__file__).parents[2] / 'tools/analysis_tools'


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The functions of the tool."""
    monkeypatch.syspath_prepend(str(TOOLS))
    return SimpleNamespace(
        **runpy.run_path(str(TOOLS / 'compare_restorers.py'))
    )


@pytest.mark.parametrize(
    ('name', 'size'),
    [
        ('heat', 72_321),
        ('flat', 72_321),
        # without the FVE and what predicts k from it
        ('k0', 72_321 - 16 * 16 * 32 - 4 * (32**2 + 32)),
        pytest.param('swin', 72_321, marks=pytest.mark.slow),
        ('dncnn', 72_321),
        ('cnn', 72_321),
    ],
)
def test_networks_are_as_large(
    tool: SimpleNamespace, name: str, size: int
) -> None:
    cfg = tool.read_config(name, seed=3, iters=40)

    assert (cfg.randomness.seed, cfg.train_cfg.max_iters) == (3, 40)
    network = MODELS.build(cfg.model.network)
    count = sum(p.numel() for p in network.parameters())
    assert count == pytest.approx(size, rel=0.03)


def test_table_says_how_long_and_on_what(tool: SimpleNamespace) -> None:
    def make_run(psnr: float, iters: int, device: str) -> dict:
        return dict(
            settings=dict(iters=iters),
            parameters=1234,
            psnr=psnr,
            ssim=0.8,
            seconds=60,
            device=device,
        )

    others = {tool.OPENCV: dict(psnr=29.0, ssim=0.79, h=24)}
    runs = [make_run(30.0, 2000, 'one'), make_run(31.0, 1000, 'two')]

    *_, opencv, heat = tool.make_table(others, dict(heat=runs)).splitlines()

    assert 'h = 24' in opencv and '29.00' in opencv
    cells = [cell.strip() for cell in heat.split('|')[2:-1]]
    assert cells == (
        ['1,234', '30.50', '0.71', '30.00', '31.00', '0.8000']
        + ['1000, 2000', '60', '2', 'one; two']
    )
