"""A research repository inherits configs by ``mmvheat::`` and uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope
from tiny_config import NAMES, ROOT, load_config

QUICKSTART = [name for name in NAMES if name.startswith('quickstart/')]


def write_child(folder: Path, name: str, *changes: str) -> Path:
    """Write a config that inherits from one of the package."""
    child = folder / 'my_config.py'
    lines = (f"_base_ = 'mmvheat::{name}'", *changes)
    child.write_text('\n'.join(lines) + '\n')
    return child


def find_quickstart(prefix: str) -> str:
    """Get the name of a quickstart config without its settings."""
    (name,) = (n for n in QUICKSTART if n.startswith(f'quickstart/{prefix}'))
    return name


@pytest.mark.parametrize('name', NAMES)
def test_every_config_can_be_inherited(name: str, tmp_path: Path) -> None:
    child = Config.fromfile(write_child(tmp_path, name, 'mine = 1'))
    direct = load_config(ROOT / 'configs' / name)

    assert child.pop('mine') == 1
    assert child.to_dict() == direct.to_dict()
    # No registry has this scope: whatever carried it could not be built.
    assert 'mmvheat' not in set(find_scopes(child))


def find_scopes(node: object) -> Iterator[str]:
    if isinstance(node, (dict, Config)):
        for key, value in node.items():
            if key == '_scope_':
                yield value
            yield from find_scopes(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from find_scopes(value)


def test_hub_finds_config_and_weights() -> None:
    cfg = get_config(
        'mmvheat::mask_rcnn/mask-rcnn_vheat-t_fpn_1x_coco.py', pretrained=True
    )

    assert cfg.model.backbone.type == 'vHeat'
    assert cfg.model_path.endswith('vheatdet/vHeat_tiny_det.pth')


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_research_repository_trains_and_tests(
    tmp_path: Path, digit_scenes: Path
) -> None:
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/digit_scenes').symlink_to(digit_scenes)
    child = write_child(
        tmp_path,
        find_quickstart('mask-rcnn'),
        'model = dict(backbone=dict(drop_path_rate=0.2, init_cfg=None))',
        # Three iterations are no warm-up and give low scores.
        'param_scheduler = []',
        'model["test_cfg"] = dict(rcnn=dict(score_thr=0.0))',
    )

    options = ('--cfg-options', 'train_cfg.max_epochs=3')
    run_tool(tmp_path, 'train.py', child, *options)

    work_dir = tmp_path / 'work_dirs/my_config'
    (scalars,) = work_dir.glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert any('coco/segm_mAP' in record for record in records)
    dumped = Config.fromfile(work_dir / 'my_config.py')
    assert dumped.model.backbone.drop_path_rate == 0.2
    checkpoint = work_dir / 'epoch_3.pth'
    assert checkpoint.is_file()

    output = run_tool(tmp_path, 'test.py', child, checkpoint)
    assert 'segm_mAP' in output


def run_tool(folder: Path, tool: str, *arguments: object) -> str:
    """Run a tool of the package in a folder, expecting success."""
    run = subprocess.run(
        [sys.executable, ROOT / 'tools' / tool, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture
def image() -> np.ndarray:
    """A noise image of 96x128 pixels, BGR."""
    return np.random.default_rng(0).integers(
        0, 255, (96, 128, 3), dtype=np.uint8
    )


def save_random_weights(cfg: ConfigDict, path: Path, classes: list) -> None:
    """Save the weights of an untrained model as a run would."""
    cfg.model.backbone.init_cfg = None
    init_default_scope(cfg.default_scope)
    weights = MODELS.build(cfg.model).state_dict()
    palette = [[i, i, i] for i in range(len(classes))]
    meta = dict(dataset_meta=dict(classes=classes, palette=palette))
    torch.save(dict(state_dict=weights, meta=meta), path)


def test_upstreams_detection_inferencer(
    tmp_path: Path, image: np.ndarray
) -> None:
    from mmdet.apis import DetInferencer

    child = write_child(tmp_path, find_quickstart('mask-rcnn'))
    weights = tmp_path / 'weights.pth'
    save_random_weights(load_config(child), weights, list('0123456789'))

    inferencer = DetInferencer(
        str(child), str(weights), device='cpu', show_progress=False
    )
    (prediction,) = inferencer(image, no_save_vis=True)['predictions']

    assert type(inferencer.model.backbone).__name__ == 'vHeat'
    assert len(prediction['bboxes']) == len(prediction['scores'])


def test_upstreams_segmentation_inferencer(
    tmp_path: Path, image: np.ndarray
) -> None:
    from mmseg.apis import MMSegInferencer

    child = write_child(tmp_path, find_quickstart('upernet'))
    weights = tmp_path / 'weights.pth'
    save_random_weights(load_config(child), weights, list('_0123456789'))

    inferencer = MMSegInferencer(str(child), str(weights), device='cpu')
    labels = inferencer(image)['predictions']

    assert type(inferencer.model.backbone).__name__ == 'vHeat'
    assert labels.shape == (96, 128)
