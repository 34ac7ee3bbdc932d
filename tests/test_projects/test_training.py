"""Projects of every format train, test and paint, with a tiny backbone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from mmengine.config import Config
from scenes import WRITERS, make_scenes

pytestmark = pytest.mark.slow

TINY = """
_base_ = './{base}'
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True, embed_dims=16, depths=(1, 1, 2, 1),
            post_norm=False, layer_scale=None,
        ),
        img_size=96,
        drop_path_rate=0.0,
    ),
    {parts}
)
default_hooks = dict(logger=dict(interval=2))
{rest}"""
BOXES = """
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32),
        bbox_head=dict(in_channels=32, fc_out_channels=128),"""
MASKS = """
        mask_roi_extractor=dict(out_channels=32),
        mask_head=dict(in_channels=32, conv_out_channels=32, num_convs=2),"""
PARTS = dict(
    faster=f'{BOXES}\n    ),',
    mask=f'{BOXES}{MASKS}\n    ),',
    upernet="""
    decode_head=dict(in_channels=[16, 32, 64, 128], channels=64),
    auxiliary_head=dict(in_channels=64, channels=32),""",
    vheat='head=dict(in_channels=128), train_cfg=None,',
)
# A minute is too short to learn through mixtures and random augmentation.
REST = 'train_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))'
METRICS = dict(
    mmdet='coco/bbox_mAP_50', mmseg='mIoU', mmpretrain='accuracy/top1'
)


def make_tiny(base: Path) -> str:
    """The text of a config that inherits a project's with a small model."""
    kind = base.name.replace('_', '-').split('-')[0]
    rest = REST if kind == 'vheat' else ''
    return TINY.format(base=base.name, parts=PARTS[kind], rest=rest)


def names_of(count: int) -> tuple[str, ...]:
    return tuple(f'class {i}' for i in range(count))


def break_files(root: Path) -> None:
    """Damage three images and three files of labels."""
    images = sorted(p for p in root.rglob('*') if p.suffix in ('.jpg', '.png'))
    for path in images[:3]:
        path.write_bytes(path.read_bytes()[:200])
    for path in sorted(root.rglob('*.json'))[10:13]:
        path.write_text(path.read_text()[:100])


def multiply(root: Path, copies: int) -> None:
    """Hard links to the images, listed again: many entries, few files."""
    path = root / 'annotations/instances.json'
    content = json.loads(path.read_text())
    images, entries = content['images'], content['annotations']
    content['images'], content['annotations'] = [], []
    for copy in range(copies):
        for image in images:
            source = root / 'images' / image['file_name']
            target = source.with_name(f'c{copy:04d}x{source.name}')
            os.link(source, target)
            number = copy * len(images) + image['id']
            content['images'].append(
                dict(image, id=number, file_name=target.name)
            )
        for entry in entries:
            content['annotations'].append(
                dict(
                    entry,
                    id=copy * len(entries) + entry['id'],
                    image_id=copy * len(images) + entry['image_id'],
                )
            )
    path.write_text(json.dumps(content))


CASES = {
    'coco, 10,000 entries': ('coco', 40, 3, lambda root: multiply(root, 250)),
    'yolo, one class': ('yolo', 40, 1, None),
    'voc, 12 images': ('voc', 12, 3, None),
    'labelme, broken files': ('labelme', 40, 3, break_files),
    'label maps, 12 images': ('label-maps', 12, 3, None),
    'folders, 100 classes': ('folders', 300, 100, None),
    'csv, broken files': ('csv', 40, 3, break_files),
}


@pytest.fixture
def run(start: Callable, tmp_path: Path) -> Callable[..., None]:
    """Run a program in the folder of the data and the project."""

    def run(program: str | Path, *arguments: object, cwd: Path = tmp_path):
        env = dict(TORCH_HOME=str(tmp_path / 'torch'))
        job = start(program, *arguments, cwd=cwd, env=env).wait(240)
        assert job.exit_code == 0, job.output

    return run


@pytest.mark.parametrize('case', CASES)
def test_project_trains_tests_and_paints(run, tmp_path, case):
    name, scenes, classes, change = CASES[case]
    names = names_of(classes)
    root = tmp_path / 'my data'
    root.mkdir()
    WRITERS[name](root, make_scenes(scenes, classes), names)
    if change:
        change(root)
    mmvheat = 'mmvheat.cli'
    run(mmvheat, 'new', root, '--out', 'project', '--weights', 'none')
    project = tmp_path / 'project'
    (base,) = project.glob('*_my-data.py')
    cfg = Config.fromfile(base)
    config = project / 'tiny.py'
    config.write_text(make_tiny(base))

    options = ['--cfg-options', 'optim_wrapper.optimizer.lr=1e-3']
    options += ['param_scheduler=None', 'default_hooks.checkpoint.interval=1']
    by_iteration = cfg.default_scope == 'mmseg'
    if by_iteration:
        options += ['train_cfg.max_iters=24', 'train_cfg.val_interval=24']
        options += ['default_hooks.checkpoint.interval=24']
        options += ['default_hooks.logger.log_metric_by_epoch=False']
    else:
        epochs = 4 if cfg.default_scope == 'mmpretrain' else 2
        options += [f'train_cfg.max_epochs={epochs}']
        options += [f'train_cfg.val_interval={epochs}']
    for split in ('train', 'val', 'test'):
        loader = f'{split}_dataloader'
        options += [f'{loader}.num_workers=0']
        options += [f'{loader}.persistent_workers=False']
        # Losses need fewer, all classes are tested.
        shown = 24 if split == 'train' else 8
        if name == 'folders':
            shown = 120 if split == 'train' else None
        options += [f'{loader}.dataset.indices={shown}']
    run(mmvheat, 'train', config, *options, cwd=project)
    work_dir = project / 'work_dirs/tiny'
    scalars = next(work_dir.glob('*/vis_data/scalars.json'))
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    losses = [record['loss'] for record in records if 'loss' in record]
    third = len(losses) // 3
    assert sum(losses[-third:]) < 0.95 * sum(losses[:third])

    last = 'iter_24.pth' if by_iteration else f'epoch_{epochs}.pth'
    run(
        *(mmvheat, 'test', config, work_dir / last),
        *('--show-dir', 'painted', *options),
        cwd=project,
    )
    metrics = json.loads((work_dir / 'metrics.json').read_text())['metrics']
    print(f'{case}: {metrics[METRICS[cfg.default_scope]]:.3f}')
    assert list((project / 'painted').rglob('*.[jp][pn]g'))
    pictures = [*root.rglob('*0007*.jpg'), *root.rglob('*0007*.png')]
    run(
        *(mmvheat, 'infer', pictures[0], '--config', config),
        *('--checkpoint', work_dir / last, '--out-dir', 'seen'),
        cwd=project,
    )
    (picture,) = (project / 'seen/vis').iterdir()
    assert cv2.imread(str(picture)).std() > 0


@pytest.mark.parametrize('name', ['yolo', 'label-maps', 'folders'])
def test_tools_of_upstream_run_the_config(run, tmp_path, name):
    """Those that mmdet, mmseg and mmpretrain ship in their wheels."""
    import importlib

    root = tmp_path / 'data'
    root.mkdir()
    WRITERS[name](root, make_scenes(12))
    run('mmvheat.cli', 'new', root, '--out', 'project')
    project = tmp_path / 'project'
    (base,) = project.glob('*_data.py')
    scope = Config.fromfile(base).default_scope
    config = project / 'tiny.py'
    config.write_text(make_tiny(base))
    folder = Path(importlib.import_module(scope).__file__).parent
    options = ['--cfg-options', 'train_cfg.max_epochs=1']
    if scope == 'mmseg':
        options = ['--cfg-options', 'train_cfg.max_iters=3']
        options += ['default_hooks.checkpoint.interval=3']
    options += ['param_scheduler=None']
    run(folder / '.mim/tools/train.py', config, *options)
    assert list((tmp_path / 'work_dirs/tiny').glob('*.pth'))
