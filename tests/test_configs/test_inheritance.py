"""A research repository inherits configs by ``mmvheat::`` and uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.registry import HOOKS, MODELS, init_default_scope
from tiny_config import ALL_CONFIGS, NAMES, ROOT, load_config

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


@pytest.mark.parametrize('path', ALL_CONFIGS, ids=lambda path: path.stem)
def test_every_config_can_be_inherited(path: Path, tmp_path: Path) -> None:
    name = path.relative_to(ROOT / 'configs').as_posix()
    child = Config.fromfile(write_child(tmp_path, name, 'mine = 1'))
    direct = load_config(path)

    assert child.pop('mine') == 1
    assert child.to_dict() == direct.to_dict()
    # No registry has this scope: whatever carried it could not be built.
    assert 'mmvheat' not in set(find_scopes(child))


def test_hooks_are_found_whatever_the_child_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imports = "custom_imports = dict(imports=['mmvheat'])"
    child = Config.fromfile(write_child(tmp_path, QUICKSTART[0], imports))
    ours = [
        hook.type
        for hook in child.default_hooks.values()
        if hook.type.startswith('mmvheat.')
    ]
    assert len(ours) == 8
    for name in ours:
        # As in a process in which nothing has imported them.
        key = name.split('.')[-1]
        monkeypatch.delitem(HOOKS.module_dict, key, raising=False)
        assert HOOKS.get(name).__name__ == key


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


@pytest.fixture(params=['source', 'wheel'])
def package(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The package as an editable install and a wheel place it."""
    if request.param == 'source':
        return ROOT / 'mmvheat'
    site = tmp_path_factory.mktemp('site')
    request.getfixturevalue('wheel').extractall(site)
    return site / 'mmvheat'


# Upstream's inferencers in a process that does not import mmvheat itself.
INFER = """
import sys
from mmdet.apis import DetInferencer
from mmseg.apis import MMSegInferencer
run, child, checkpoint, seg_child, seg_weights, image = sys.argv[1:]
for config in (run, child):
    detect = DetInferencer(config, checkpoint, device='cpu')
    (found,) = detect(image, no_save_vis=True)['predictions']
    assert type(detect.model.backbone).__name__ == 'vHeat'
    assert len(found['bboxes']) == len(found['masks'])
segment = MMSegInferencer(seg_child, seg_weights, device='cpu')
assert segment(image)['predictions'].shape == (192, 192)
print(sys.modules['mmvheat'].__file__)
"""


# One process for some scripts and their arguments: it imports but once.
SCRIPTS = """
import json, runpy, sys
for sys.argv in json.loads(sys.argv[1]):
    runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.fixture
def run_python(
    package: Path, tmp_path: Path, start: Callable
) -> Callable[..., str]:
    """Run Python with a package in a folder, expecting success."""

    def run(*arguments: object) -> str:
        if package.parent == ROOT:  # as in every process of ``start``
            job = start(*arguments, cwd=tmp_path).wait()
            assert job.exit_code == 0, job.output
            return job.output
        run = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(package.parent)},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    return run


@pytest.mark.slow
def test_research_repository_trains_tests_and_infers(
    package: Path, tmp_path: Path, digit_scenes: Path, run_python: Callable
) -> None:
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/digit_scenes').symlink_to(digit_scenes)
    child = write_child(
        tmp_path,
        find_quickstart('mask-rcnn'),
        'model = dict(backbone=dict(drop_path_rate=0.2, init_cfg=None))',
        'optim_wrapper = dict(optimizer=dict(lr=2e-4))',
    )
    # One iteration is no warm-up and gives low scores.
    options = ['--cfg-options', 'model.test_cfg.rcnn.score_thr=0.0']
    options += ['param_scheduler=None']
    loaders = [f'{split}_dataloader' for split in ('train', 'val', 'test')]
    for loader in loaders:
        options += [f'{loader}.num_workers=0']
        options += [f'{loader}.persistent_workers=False']
    tools = package / '.mim/tools'

    checkpoint = tmp_path / 'work_dirs/my_config/epoch_1.pth'
    scripts = [
        [tools / 'train.py', child, *options, 'train_cfg.max_epochs=1'],
        [tools / 'test.py', child, checkpoint, *options],
    ]
    (tmp_path / 'scripts.py').write_text(SCRIPTS)
    scripts = json.dumps([list(map(str, words)) for words in scripts])
    run_python(tmp_path / 'scripts.py', scripts)

    work_dir = tmp_path / 'work_dirs/my_config'
    (scalars,) = work_dir.glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert any('coco/segm_mAP' in record for record in records)
    dumped = work_dir / 'my_config.py'
    resolved = Config.fromfile(dumped)
    assert resolved.model.backbone.drop_path_rate == 0.2
    assert resolved.optim_wrapper.optimizer.lr == 2e-4
    tested = json.loads((work_dir / 'metrics.json').read_text())
    assert 'coco/segm_mAP' in tested['metrics']

    if package.parent == ROOT:  # below, without a process of its own
        return
    (tmp_path / 'seg').mkdir()
    seg_child = write_child(tmp_path / 'seg', find_quickstart('upernet'))
    seg_weights = tmp_path / 'seg/weights.pth'
    save_random_weights(
        load_config(seg_child), seg_weights, list('_0123456789')
    )
    image = next(digit_scenes.glob('val/*.jpg'))
    output = run_python(
        *('-c', INFER, dumped, child, checkpoint),
        *(seg_child, seg_weights, image),
    )
    assert output.splitlines()[-1] == str(package / '__init__.py')


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
