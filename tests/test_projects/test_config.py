"""The config is short, and what upstream builds from it fits the data."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from scenes import NAMES, WRITERS, make_scenes, save

from mmvheat.commands.config import load_config
from mmvheat.errors import UserError
from mmvheat.projects import project
from mmvheat.projects.config_text import write_config
from mmvheat.projects.models import choose_base

MODELS_OF = {
    'coco': ['mask-rcnn_vheat-t', 'faster-rcnn_vheat-t', 'retinanet', 'dino'],
    'label-maps': ['upernet_vheat-s', 'segformer', 'fpn_vheat-t'],
    'folders': ['vheat-b'],
}
PAIRS = [(name, model) for name, some in MODELS_OF.items() for model in some]


def names_of(count: int) -> tuple[str, ...]:
    """Names of classes of common lengths."""
    return tuple(f'class of number {i}' for i in range(count))


def write_text(look: project.Look, folder: Path) -> Path:
    """Write the config alone."""
    texts = write_config(look.data, look.base, look.fit, look.title)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder / next(iter(texts))


@pytest.mark.parametrize(('name', 'model'), PAIRS)
def test_heads_have_the_classes_and_the_file_is_short(
    write, look, tmp_path, name, model
):
    found = look(write(name), model=model)
    config = write_text(found, tmp_path)
    assert len(config.read_text().splitlines()) <= 60
    cfg = load_config(str(config))
    count = len(found.data.classes)
    text = str(cfg.model)
    assert set(re.findall(r"'num_classes': (\d+)", text)) == {str(count)}
    assert "'SyncBN'" not in text
    assert cfg.train_dataloader.dataset.metainfo.classes == tuple(
        found.data.classes
    )
    recipe = Config.fromfile(found.base.name.replace('mmvheat::', 'configs/'))
    assert cfg.model.backbone.arch == recipe.model.backbone.arch


@pytest.mark.parametrize('name', ['coco', 'label-maps', 'folders'])
@pytest.mark.parametrize('count', [1, 100])
def test_one_class_and_a_hundred(write, look, tmp_path, name, count):
    names = names_of(count)
    root = write(name, count=max(12, count), names=names)
    if name == 'folders' and count == 1:
        with pytest.raises(UserError, match='alone'):
            look(root)
        return
    found = look(root)
    config = write_text(found, tmp_path)
    assert len(config.read_text().splitlines()) <= 60
    dataset = load_config(str(config)).train_dataloader.dataset
    assert dataset.metainfo.classes[-1] == found.data.classes[-1]
    assert set(names) <= set(dataset.metainfo.classes)
    if name != 'folders':
        palette = dataset.metainfo.palette
        assert len(set(palette)) == len(dataset.metainfo.classes)
        assert np.array(palette).min() >= 0
        assert np.array(palette).max() <= 255


@pytest.mark.parametrize('name', ['coco', 'label-maps', 'folders'])
def test_upstream_reads_the_labels_that_were_written(write, create, name):
    root = write(name)
    folder = create(root)
    (config,) = folder.glob('*vheat-t_data.py')
    cfg = load_config(str(config))
    init_default_scope(cfg.default_scope)
    total = 0
    for split in ('train', 'val', 'test'):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        total += len(dataset) * (split != 'test')
        item = dataset[0]
        assert item['inputs'].shape[0] == 3
        info = dataset.get_data_info(0)
        assert Path(info['img_path']).is_relative_to(root)
        assert Path(info['img_path']).is_file()
        if name == 'coco':
            assert len(info['instances']) == 2
        elif name == 'label-maps':
            labels = item['data_samples'].gt_sem_seg.data
            assert set(labels.unique().tolist()) <= {0, 1, 2, 3, 255}
        else:
            label = dataset.metainfo['classes'][info['gt_label']]
            assert Path(info['img_path']).parent.name == label
    assert total == (24 if name == 'folders' else 12)


def test_a_tool_that_does_not_import_mmvheat_reads_it(write, look, tmp_path):
    config = write_text(look(write('yolo')), tmp_path)
    read = 'from mmengine.config import Config; import sys\n'
    read += 'cfg = Config.fromfile(sys.argv[1])\n'
    read += 'print(cfg.model.backbone.type, cfg.metainfo.classes)'
    done = subprocess.run(
        [sys.executable, '-c', read, config], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f'vHeat {NAMES}'


def test_the_rate_is_scaled_and_the_scale_of_large_images_kept(write, look):
    found = look(write('coco'), batch=16)
    for sample in found.data.samples:
        sample.size = (4000, 3000)
    from mmvheat.projects.fitting import fit

    found.fit.scale = fit(found.data, (1333, 800), 't').scale
    assert found.fit.scale == (1333, 800)
    for gpus, lr in ((1, 1e-4), (2, 2e-4)):
        found.fit.gpus = gpus
        texts = write_config(found.data, found.base, found.fit, 'x')
        text = next(iter(texts.values()))
        (rate,) = re.findall(r'lr=([^)]*)\)', text)
        assert eval(rate) == pytest.approx(lr)
        assert 'scale' not in text.replace('auto_scale_lr', '').replace(
            'scaled', ''
        )


def test_weights_are_named_where_they_are(write, look, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('HOME', str(tmp_path))
    root = write('coco')
    text = write_text(look(root), tmp_path).read_text()
    assert '\n# load_from =' in text
    (tmp_path / 'checkpoints').mkdir()
    weights = tmp_path / 'checkpoints/vHeat_tiny_det.pth'
    weights.touch()
    config = write_text(look(root), tmp_path)
    assert Config.fromfile(config).load_from == str(weights)
    assert Config.fromfile(config).model.backbone.init_cfg is None
    config = write_text(look(root, weights='none'), tmp_path)
    assert Config.fromfile(config).load_from is None
    with pytest.raises(UserError, match=r'no\.pth does not exist'):
        look(root, weights='no.pth')


@pytest.mark.parametrize(
    ('task', 'model', 'message'),
    [
        ('detection', 'cascade', 'none of those that a project'),
        ('detection', 'upernet', 'learns segmentation'),
        ('segmentation', 'mask-rcnn', 'upernet_vheat-t'),
    ],
)
def test_model_that_does_not_fit(task, model, message):
    with pytest.raises(UserError, match=message):
        choose_base(task, model, 'none')


def test_shortest_name_is_the_plain_recipe():
    base = choose_base('detection', 'mask-rcnn_vheat-t', 'none')
    assert base.model.name == 'mask-rcnn_vheat-t_fpn_1x_coco'
    assert base.short == 'mask-rcnn_vheat-t'


def test_backbone_of_the_config_builds(write, look, tmp_path):
    config = write_text(look(write('yolo')), tmp_path)
    cfg = load_config(str(config))
    init_default_scope(cfg.default_scope)
    backbone = MODELS.build(dict(cfg.model.backbone))
    assert type(backbone).__name__ == 'vHeat'
    assert cfg.metainfo.classes == NAMES


@pytest.mark.parametrize('name', ['yolo', 'folders', 'label-maps'])
def test_three_splits_have_three_loaders(look, tmp_path, name):
    scenes = make_scenes(12)
    for index, split in enumerate(('train', 'val', 'test')):
        part = scenes[index * 4 : index * 4 + 4]
        root = tmp_path / 'data' / split
        root.mkdir(parents=True)
        if name == 'label-maps':
            for number, scene in enumerate(part):
                save(scene.picture, root / f'images/{number}.jpg')
                save(scene.label_map, root / f'masks/{number}_mask.png')
        else:
            WRITERS[name](root, part)
    found = look(tmp_path / 'data')
    cfg = load_config(str(write_text(found, tmp_path)))
    for split in ('train', 'val', 'test'):
        assert found.data.of_split(split)
        dataset = cfg[f'{split}_dataloader'].dataset
        assert Path(dataset.ann_file).stem == split
        assert Path(dataset.ann_file).parent == tmp_path / 'labels'
    if name == 'yolo':
        assert Path(cfg.test_evaluator.ann_file).stem == 'test'


def test_weights_of_other_classes_fill_all_but_the_head(
    write, look, tmp_path, official_run
):
    """Those of the official code, for ten classes of images of 64 pixels."""
    from mmengine.runner import load_checkpoint

    config = write_text(look(write('folders')), tmp_path)
    cfg = load_config(str(config))
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.arch = official_run.expected['arch']
    cfg.model.backbone.img_size = 96
    cfg.model.head.in_channels = 64
    model = MODELS.build(cfg.model)
    head = model.head.fc.weight.clone()
    load_checkpoint(model, str(official_run.path), strict=False)
    assert model.head.fc.weight.equal(head)
    name = 'layers.0.0.op.linear.weight'
    assert model.backbone.state_dict()[name].equal(official_run.weights[name])
