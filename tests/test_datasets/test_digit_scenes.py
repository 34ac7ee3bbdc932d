"""The digit scenes: consistent, disjoint, reproducible, never half-made."""

from __future__ import annotations

import json
import runpy
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvheat.datasets import (
    check_digit_scenes,
    make_digit_scenes,
    verify_digit_scenes,
)
from mmvheat.datasets.digit_files import load_splits

pytest.importorskip('sklearn')
COCO = pytest.importorskip('pycocotools.coco').COCO

SMALL = dict(num_train=6, num_val=4, size=160, variants=1, progress=False)
TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/digit_scenes.py'


@pytest.fixture(scope='module', autouse=True)
def digits(few_digits):
    """Few, for all of these tests."""
    with few_digits():
        yield


@pytest.fixture(scope='module')
def root(digits, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('data') / 'digit_scenes'
    assert make_digit_scenes(path, **SMALL)
    return path


def load_coco(root: Path, split: str) -> COCO:
    return COCO(root / 'annotations' / f'instances_{split}.json')


def read_image(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def digits_of_crops(root: Path, split: str) -> dict[int, int]:
    """From the index of a digit to the class folder it lies in."""
    files = (root / 'classification' / split).glob('*/*.jpg')
    return {int(f.stem.split('_')[0]): int(f.parent.name) for f in files}


@pytest.mark.parametrize(('split', 'number'), [('train', 6), ('val', 4)])
def test_every_scene_is_a_readable_picture_with_2_to_5_digits(
    root, split, number
):
    coco = load_coco(root, split)
    assert len(coco.imgs) == number
    for image in coco.imgs.values():
        picture = read_image(root / split / image['file_name'])
        assert picture.shape == (image['height'], image['width'], 3)
        assert 2 <= len(coco.getAnnIds(image['id'])) <= 5


@pytest.mark.parametrize('split', ['train', 'val'])
def test_masks_are_the_label_map_and_fill_their_boxes(root, split):
    coco = load_coco(root, split)
    for image in coco.imgs.values():
        label_map = np.zeros((160, 160), int)
        for ann in coco.loadAnns(coco.getAnnIds(image['id'])):
            mask = coco.annToMask(ann).astype(bool)
            y, x = np.nonzero(mask)
            x0, y0, w, h = ann['bbox']
            assert (x.min(), y.min()) == (x0, y0)
            assert (x.max() + 1, y.max() + 1) == (x0 + w, y0 + h)
            assert mask.sum() == ann['area']
            assert not label_map[mask].any(), 'masks overlap'
            label_map[mask] = ann['category_id']
            name = coco.loadCats(ann['category_id'])[0]['name']
            assert ann['category_id'] == int(name) + 1
        stem = Path(image['file_name']).stem
        stored = read_image(root / 'label_maps' / split / f'{stem}.png')
        np.testing.assert_array_equal(stored, label_map)


def test_boxes_do_not_overlap(root):
    coco = load_coco(root, 'train')
    pairs = 0
    for image in coco.imgs:
        anns = coco.loadAnns(coco.getAnnIds(image))
        for a, b in combinations([ann['bbox'] for ann in anns], 2):
            pairs += 1
            assert (
                a[0] + a[2] <= b[0]
                or b[0] + b[2] <= a[0]
                or a[1] + a[3] <= b[1]
                or b[1] + b[3] <= a[1]
            )
    assert pairs >= 6


def test_scenes_and_crops_show_the_digits_scikit_learn_names(root):
    from sklearn.datasets import load_digits

    _, target = load_digits(return_X_y=True)
    for split in ('train', 'val'):
        for ann in load_coco(root, split).anns.values():
            assert ann['category_id'] == target[ann['digit_index']] + 1
        for index, label in digits_of_crops(root, split).items():
            assert label == target[index]


def test_ink_stands_out_from_the_photo_around_it(root):
    """What the masks outline can be seen: its luma differs from the rim's."""
    ndimage = pytest.importorskip('scipy.ndimage')
    coco = load_coco(root, 'val')
    for ann in coco.anns.values():
        name = coco.imgs[ann['image_id']]['file_name']
        luma = np.asarray(Image.open(root / 'val' / name).convert('L'), float)
        mask = coco.annToMask(ann).astype(bool)
        rim = ndimage.binary_dilation(mask, iterations=5)
        rim &= ~ndimage.binary_dilation(mask, iterations=2)
        inside = ndimage.binary_erosion(mask)
        assert abs(np.median(luma[inside]) - np.median(luma[rim])) > 25


def test_train_and_val_share_no_digit_and_crops_have_all_of_them(root):
    crops = {s: set(digits_of_crops(root, s)) for s in ('train', 'val')}
    assert not crops['train'] & crops['val']
    assert crops['train'] | crops['val'] == set(range(200))
    for split, indices in crops.items():
        anns = load_coco(root, split).anns.values()
        assert {ann['digit_index'] for ann in anns} <= indices


def test_every_class_is_split_alike(root):
    train, val = (
        np.bincount(list(digits_of_crops(root, split).values()))
        for split in ('train', 'val')
    )
    np.testing.assert_allclose(val / (train + val), 0.2, atol=0.01)


def test_no_digit_of_scikit_learn_is_left_out(monkeypatch):
    from sklearn.datasets import _base

    monkeypatch.setattr('sklearn.datasets.load_digits', _base.load_digits)
    train, val = (set(split.indices) for split in load_splits(0))
    assert not train & val
    assert train | val == set(range(1797))


def test_mmdet_and_mmseg_read_it(root):
    CocoDataset = pytest.importorskip('mmdet.datasets').CocoDataset
    BaseSegDataset = pytest.importorskip('mmseg.datasets').BaseSegDataset
    coco = CocoDataset(
        ann_file='annotations/instances_train.json',
        data_root=str(root),
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=tuple('0123456789')),
        pipeline=[
            dict(type='mmdet.LoadImageFromFile'),
            dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
        ],
    )
    maps = BaseSegDataset(
        data_root=str(root),
        data_prefix=dict(img_path='train', seg_map_path='label_maps/train'),
        metainfo=dict(classes=('background', *'0123456789')),
        pipeline=[
            dict(type='mmseg.LoadImageFromFile'),
            dict(type='mmseg.LoadAnnotations'),
        ],
    )
    assert len(coco) == len(maps) == 6
    for scene, item in zip(coco, maps):
        label_map = np.zeros((160, 160), np.uint8)
        labels = scene['gt_bboxes_labels']
        assert len(labels) == len(scene['gt_masks'].masks) >= 2
        for label, mask in zip(labels, scene['gt_masks'].masks):
            label_map[mask > 0] = label + 1
        np.testing.assert_array_equal(item['gt_seg_map'], label_map)


def test_same_seed_same_bytes_other_seed_other_bytes(root, tmp_path):
    make_digit_scenes(tmp_path / 'again', **SMALL)
    make_digit_scenes(tmp_path / 'other', **SMALL, seed=1)
    files = sorted(p.relative_to(root) for p in root.rglob('*.*'))
    assert len(files) > 200
    for name in files:
        again = tmp_path / 'again' / name
        assert again.read_bytes() == (root / name).read_bytes(), name
    scene = Path('train/000000.jpg')
    other = (tmp_path / 'other' / scene).read_bytes()
    assert other != (root / scene).read_bytes()


def test_a_larger_set_starts_with_the_scenes_of_a_smaller_one(root, tmp_path):
    make_digit_scenes(tmp_path / 'more', **{**SMALL, 'num_train': 8})
    for number in range(6):
        scene = Path(f'train/{number:06d}.jpg')
        more = (tmp_path / 'more' / scene).read_bytes()
        assert more == (root / scene).read_bytes()


def test_what_is_there_is_kept(root):
    before = (root / 'meta.json').stat().st_mtime_ns
    assert not make_digit_scenes(root, **SMALL)
    assert (root / 'meta.json').stat().st_mtime_ns == before


def test_check_makes_the_same_again_and_leaves_nothing(root):
    meta = check_digit_scenes(root, progress=False)
    assert meta['counts']['train']['scenes'] == 6
    assert [p.name for p in root.parent.iterdir()] == ['digit_scenes']


def test_other_settings_need_force(tmp_path):
    root = tmp_path / 'scenes'
    make_digit_scenes(root, **SMALL)
    with pytest.raises(FileExistsError, match='other settings.*--force'):
        make_digit_scenes(root, **SMALL, seed=1)
    assert verify_digit_scenes(root)['settings']['seed'] == 0
    assert make_digit_scenes(root, **SMALL, seed=1, force=True)
    assert verify_digit_scenes(root)['settings']['seed'] == 1
    assert [p.name for p in tmp_path.iterdir()] == ['scenes']


def test_what_is_not_replaced_after_all_is_kept(tmp_path, monkeypatch):
    root = tmp_path / 'scenes'
    make_digit_scenes(root, **SMALL)
    rename = Path.rename

    def fail(self, target):
        if self.name == 'new':
            raise OSError('the disk is gone')
        return rename(self, target)

    monkeypatch.setattr(Path, 'rename', fail)
    with pytest.raises(OSError, match='the disk is gone'):
        make_digit_scenes(root, **SMALL, seed=1, force=True)
    assert verify_digit_scenes(root)['settings']['seed'] == 0
    assert [p.name for p in tmp_path.iterdir()] == ['scenes']


def test_damage_is_found_and_repaired_by_force(tmp_path):
    root = tmp_path / 'scenes'
    make_digit_scenes(root, **SMALL)
    (root / 'val' / '000001.jpg').unlink()
    for function in (verify_digit_scenes, check_digit_scenes):
        with pytest.raises(ValueError, match='damaged.*--force'):
            function(root)
    with pytest.raises(ValueError, match='damaged'):
        make_digit_scenes(root, **SMALL)
    assert make_digit_scenes(root, **SMALL, force=True)
    verify_digit_scenes(root)


@pytest.mark.parametrize('force', [False, True])
@pytest.mark.parametrize('name', ['thesis.tex', 'meta.json'])
def test_a_folder_of_something_else_is_never_touched(tmp_path, name, force):
    (tmp_path / name).write_text('{}')
    with pytest.raises(FileExistsError, match='holds no digit scenes'):
        make_digit_scenes(tmp_path, **SMALL, force=force)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    from mmvheat.datasets import digit_scenes

    def interrupt(*args):
        assert list(tmp_path.rglob('*.jpg'))
        raise KeyboardInterrupt

    monkeypatch.setattr(digit_scenes, 'write_crops', interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_digit_scenes(tmp_path / 'scenes', **SMALL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'wrong',
    [
        dict(num_train=0),
        dict(num_val=-1),
        dict(size=127),
        dict(variants=0),
        dict(seed=-1),
        dict(size=192.0),
    ],
)
def test_bad_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=f'{next(iter(wrong))} must be'):
        make_digit_scenes(tmp_path / 'scenes', **{**SMALL, **wrong})
    assert not list(tmp_path.iterdir())


def test_missing_scikit_learn_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn.datasets', None)
    with pytest.raises(ImportError, match='pip install scikit-learn'):
        make_digit_scenes(tmp_path / 'scenes', **SMALL)
    assert not list(tmp_path.iterdir())


def run_tool(monkeypatch, *args: str) -> None:
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *args])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_command_tells_what_it_did(root, monkeypatch, capsys):
    settings = ['--num-train', '6', '--num-val', '4', '--size', '160']
    run_tool(monkeypatch, '--out', str(root), *settings, '--variants', '1')
    said = capsys.readouterr().out
    assert 'already there, verified' in said
    meta = json.loads((root / 'meta.json').read_text())
    assert meta['sha256'] in said


@pytest.mark.parametrize(
    ('args', 'said'),
    [
        (['--check'], 'holds no digit scenes'),
        (['--size', '10'], 'size must be an integer of at least 128'),
    ],
)
def test_command_fails_in_one_sentence(tmp_path, monkeypatch, args, said):
    with pytest.raises(SystemExit) as end:
        run_tool(monkeypatch, '--out', str(tmp_path / 'scenes'), *args)
    # a text as exit code is printed to stderr, and the code becomes 1
    assert said in end.value.code
    assert '\n' not in end.value.code
    assert not list(tmp_path.iterdir())
