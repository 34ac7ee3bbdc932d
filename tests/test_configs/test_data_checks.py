"""Data that do not fit a config are refused before the first iteration."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from tiny_config import CONFIGS, NAMES, ROOT, load_config, make_tiny

from mmvheat.datasets.checks import check_dataset, check_paths
from mmvheat.errors import UserError

every_config = pytest.mark.parametrize('path', CONFIGS, ids=NAMES)


@every_config
def test_missing_data_root(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.argv', ['train.py', str(path)])

    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / 'tools/train.py'), run_name='__main__')

    assert end.value.code == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    root = load_config(path).train_dataloader.dataset.data_root
    assert sentence.startswith('error: The data_root of train_dataloader')
    assert f' {root} does not exist' in sentence


def set_classes(node: object, number: int) -> None:
    """Set the number of classes wherever a model tells it."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ('num_classes', 'num_things_classes'):
                node[key] = number
            set_classes(value, number)
    elif isinstance(node, list):
        for value in node:
            set_classes(value, number)


@every_config
def test_classes_of_the_model_disagree_with_the_data(
    path: Path, digit_scenes: Path
) -> None:
    cfg = make_tiny(load_config(path), digit_scenes)
    set_classes(cfg.model, 7)

    with pytest.raises(UserError, match='classes=7, but the data set'):
        check_dataset(build_dataset(cfg), cfg)


def test_stuff_of_htc_may_have_other_classes(digit_scenes: Path) -> None:
    path = CONFIGS[
        NAMES.index('quickstart/mask-rcnn_vheat-n_fpn_2e_digit-scenes.py')
    ]
    cfg = make_tiny(load_config(path), digit_scenes)
    cfg.model.roi_head.semantic_head = dict(num_classes=183)

    check_dataset(build_dataset(cfg), cfg)


def test_weights_in_the_home_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    cfg = Config(dict(model=dict(), load_from='~/vheat.pth'))
    with pytest.raises(UserError, match='checkpoint ~/vheat.pth does not'):
        check_paths(cfg, ())
    (tmp_path / 'vheat.pth').touch()
    check_paths(cfg, ())


@pytest.mark.parametrize(
    'path',
    [
        pytest.param(path, id=name)
        for path, name in zip(CONFIGS, NAMES)
        if 'coco' in name or name.startswith('quickstart/mask-rcnn')
    ],
)
def test_only_masks_need_masks(
    path: Path, digit_scenes: Path, tmp_path: Path
) -> None:
    source = digit_scenes / 'annotations/instances_train.json'
    content = json.loads(source.read_text())
    for annotation in content['annotations']:
        del annotation['segmentation']
    boxes = tmp_path / 'boxes.json'
    boxes.write_text(json.dumps(content))
    cfg = make_tiny(load_config(path), digit_scenes)
    set_classes(cfg.model, 10)
    cfg.train_dataloader.dataset.ann_file = str(boxes)
    dataset = build_dataset(cfg)

    if 'mask' in path.stem:
        with pytest.raises(UserError, match="have no 'segmentation'"):
            check_dataset(dataset, cfg)
    else:
        check_dataset(dataset, cfg)


@pytest.mark.parametrize(
    'path',
    [
        pytest.param(path, id=name)
        for path, name in zip(CONFIGS, NAMES)
        if name.startswith('quickstart/')
    ],
)
def test_fitting_data_pass(path: Path, digit_scenes: Path) -> None:
    cfg = make_tiny(load_config(path), digit_scenes)

    check_dataset(build_dataset(cfg), cfg)


def build_dataset(cfg: Config) -> object:
    init_default_scope(cfg.default_scope)
    return DATASETS.build(cfg.train_dataloader.dataset)
