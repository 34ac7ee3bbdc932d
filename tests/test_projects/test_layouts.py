"""What folders and names of files say about classes and label maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scenes import make_scenes, save, write_label_maps

from mmvheat.errors import UserError


@pytest.fixture
def read_files(tmp_path, read):
    """Read images that only have a place."""

    def read_files(*paths: str):
        for path in paths:
            save(np.zeros((4, 4, 3), np.uint8), tmp_path / path)
        return read(tmp_path)

    return read_files


def labels_of(data) -> dict[str, tuple[str, str]]:
    """Class and split by image."""
    return {s.path: (s.label, s.split) for s in data.samples}


def test_train_is_a_class_of_vehicles(read_files):
    data = read_files('bus/0.jpg', 'car/0.jpg', 'train/0.jpg')
    assert data.classes == ['bus', 'car', 'train']


def test_train_beside_val_is_none(read_files):
    data = read_files('cat/0.jpg', 'dog/0.jpg', 'train/0.jpg', 'val/0.jpg')
    assert data.classes == ['cat', 'dog']
    assert set(labels_of(data).values()) == {(n, '') for n in data.classes}


def test_classes_within_splits_may_be_named_like_one(read_files):
    data = read_files('train/train/0.jpg', 'train/bus/0.jpg', 'val/test/0.jpg')
    assert labels_of(data) == {
        'train/train/0.jpg': ('train', 'train'),
        'train/bus/0.jpg': ('bus', 'train'),
        'val/test/0.jpg': ('test', 'val'),
    }


def test_images_of_no_class_beside_classes(read_files):
    data = read_files('train/a/0.jpg', 'train/b/0.jpg', 'test/0.jpg')
    assert set(labels_of(data)) == {'train/a/0.jpg', 'train/b/0.jpg'}
    data = read_files('a/1.jpg', 'b/1.jpg')
    assert 'test/0.jpg' not in labels_of(data)
    assert data.findings.count() == {'image without labels': 1}


def test_folders_in_the_folders_of_classes(read_files):
    paths = [f'{name}/day{i}/0.jpg' for name in ('cat', 'dog') for i in (1, 2)]
    data = read_files(*paths)
    assert data.findings.count() == {'class in several folders': 2}
    assert "'day1' lies in 'cat', 'dog'" in data.findings[0].what


def test_a_folder_of_all_images_is_no_class(read_files, tmp_path, look):
    with pytest.raises(UserError, match='no labels that it knows'):
        read_files('images/0.jpg', 'images/1.jpg')
    (tmp_path / 'preview').mkdir()
    (tmp_path / 'images/0.jpg').rename(tmp_path / 'preview/0.jpg')
    save(make_scenes(1)[0].picture, tmp_path / 'preview/1.jpg')
    with pytest.raises(UserError, match=r'alone.* first images/1\.jpg'):
        look(tmp_path)


def test_labels_beside_images_in_capitals(write, read):
    root = write('yolo', 4)
    (root / 'images').rename(root / 'Images')
    (root / 'labels').rename(root / 'Labels')
    data = read(root)
    assert data.format == 'YOLO txt'
    assert len(data.samples) == 4


def test_label_maps_of_cityscapes(tmp_path, read):
    write_label_maps(tmp_path / 'made', make_scenes(8))
    for path in sorted((tmp_path / 'made').glob('*/*/*')):
        split = dict(training='train', validation='val')[path.parent.name]
        kind, ends = 'leftImg8bit', ['leftImg8bit']
        if path.suffix == '.png':
            kind, ends = 'gtFine', ['gtFine_labelTrainIds', 'gtFine_labelIds']
        folder = tmp_path / f'data/{kind}/{split}/ulm'
        folder.mkdir(parents=True, exist_ok=True)
        for end in ends:
            (folder / f'ulm_{path.stem}_{end}{path.suffix}').write_bytes(
                path.read_bytes()
            )
    data = read(tmp_path / 'data')
    assert data.task == 'segmentation'
    assert [len(data.of_split(name)) for name in ('train', 'val')] == [6, 2]
    for sample in data.samples:
        stem = Path(sample.path).stem.replace('leftImg8bit', 'gtFine_labelIds')
        assert Path(sample.label_map).name == f'{stem}.png'
    assert data.findings.count() == {'image listed twice': 8}
