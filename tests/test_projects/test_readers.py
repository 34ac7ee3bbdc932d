"""Every format gives the same labels as those that were written."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from mmdet.datasets import XMLDataset
from PIL import Image
from pycocotools import mask as coco
from scenes import NAMES, SIZE, make_scenes, write_yolo

from mmvheat.errors import UserError
from mmvheat.projects.folder import Folder, split_of
from mmvheat.projects.readers import READERS


def truth() -> list[list[tuple]]:
    """Class and box of the objects of each scene."""
    return [
        [(NAMES[item.number], item.box) for item in scene.objects]
        for scene in make_scenes(12)
    ]


def boxes_of(found) -> list[list[tuple]]:
    """The same of a data set, images in order."""
    samples = sorted(found.data.samples, key=lambda sample: sample.path)
    return [[(t.name, t.box) for t in s.things] for s in samples]


def close(first, second) -> bool:
    """Whether names are equal and boxes agree to a hundredth."""
    flat = [pair for one in (first, second) for s in one for pair in s]
    half = len(flat) // 2
    names = [name for name, _ in flat]
    boxes = np.array([box for _, box in flat])
    same = names[:half] == names[half:]
    return same and np.allclose(boxes[:half], boxes[half:], atol=0.011)


@pytest.mark.parametrize('name', ['coco', 'yolo', 'voc'])
def test_boxes_are_those_written(write, look, name):
    found = look(write(name))
    assert close(boxes_of(found), truth())
    assert not found.data.findings
    assert sorted(found.data.classes) == sorted(NAMES)
    for sample in found.data.samples:
        assert sample.size == SIZE


@pytest.mark.parametrize('name', ['coco', 'yolo', 'labelme'])
def test_outlines_cover_the_same_pixels(write, look, name):
    kwargs = dict(masks=True) if name == 'yolo' else {}
    found = look(write(name, **kwargs))
    assert found.data.task == 'instances'
    samples = sorted(found.data.samples, key=lambda sample: sample.path)
    for sample, scene in zip(samples, make_scenes(12)):
        for thing, item in zip(sample.things, scene.objects):
            shape = thing.shape
            if isinstance(shape, list):
                shape = coco.merge(coco.frPyObjects(shape, *SIZE[::-1]))
            both = coco.iou(
                [shape],
                [coco.encode(np.asfortranarray(item.mask, np.uint8))],
                [0],
            )
            # A polygon runs through the centres of the outermost pixels.
            limit = 0.999 if isinstance(thing.shape, dict) else 0.75
            assert both.item() > limit


def test_voc_boxes_are_those_of_mmdet(write, look):
    root = write('voc')
    found = look(root)
    upstream = XMLDataset(
        data_root=str(root),
        ann_file='ImageSets/Main/train.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=NAMES),
    )
    ours = {
        s.path.split('/')[-1]: s.things for s in found.data.of_split('train')
    }
    assert len(upstream) == len(ours) == 9
    for index in range(len(upstream)):
        info = upstream.get_data_info(index)
        things = ours[info['img_path'].split('/')[-1]]
        for thing, instance in zip(things, info['instances']):
            x, y, w, h = thing.box
            assert instance['bbox'] == [x, y, x + w, y + h]
            assert NAMES[instance['bbox_label']] == thing.name


@pytest.mark.parametrize('kind', ['L', 'P', 'RGB'])
def test_label_maps_of_numbers_palettes_and_colours(write, look, kind):
    root = write('label-maps', kind=kind)
    if kind == 'RGB':
        (root / 'classes.txt').write_text(
            'background,0,0,0\nzero,200,30,30\none,30,200,30\ntwo,30,30,200\n'
        )
    found = look(root)
    assert found.data.classes == ['background', *NAMES]
    samples = sorted(found.data.samples, key=lambda s: s.path.split('/')[-1])
    for sample, scene in zip(samples, make_scenes(12)):
        labels = found.data.maps.read(sample.label_map, sample.size)
        assert labels.dtype == np.uint8
        assert np.array_equal(labels, scene.label_map)
    if kind != 'L':
        assert [*map(tuple, found.data.palette)][1] == (200, 30, 30)


@pytest.mark.parametrize('name', ['folders', 'csv'])
def test_classes_of_images(write, look, name):
    found = look(write(name))
    expected = Counter(
        NAMES[item.number]
        for scene in make_scenes(12)
        for item in scene.objects
    )
    assert Counter(s.label for s in found.data.samples) == expected


def test_csv_of_label_maps_and_of_boxes(write, look, tmp_path):
    root = write('label-maps')
    names = [path.name[:4] for path in sorted(root.glob('images/*/*'))]
    lines = [f'{name}.jpg,{name}.png' for name in names]
    (root / 'list.csv').write_text('\n'.join(['image,mask', *lines]))
    found = look(root, format='csv')
    assert found.data.task == 'segmentation'
    assert len(found.data.samples) == 12
    lines = [
        f'{index:04d}.jpg,{name},{x},{y},{x + w},{y + h}'
        for index, scene in enumerate(truth())
        for name, (x, y, w, h) in scene
    ]
    header = 'filename,class,xmin,ymin,xmax,ymax'
    (root / 'list.csv').write_text('\n'.join([header, *lines]))
    found = look(root, format='csv')
    found.data.samples.sort(key=lambda s: s.path.split('/')[-1])
    boxes = [[(t.name, t.box) for t in s.things] for s in found.data.samples]
    assert close(boxes, truth())


def test_split_by_folders_and_by_lists(write, read):
    root = write('label-maps')
    splits = Counter(sample.split for sample in read(root).samples)
    assert splits == dict(train=9, val=3)


@pytest.mark.parametrize(
    ('path', 'split'),
    [
        ('images/train/a.jpg', 'train'),
        ('valid/images/a.jpg', 'val'),
        ('annotations/instances_train2017.json', 'train'),
        ('a/Validation/b', 'val'),
        ('testing/a.jpg', 'test'),
        ('trains/a.jpg', ''),  # a class of vehicles
        ('constraint/a.jpg', ''),
        ('val/train_station/a.jpg', 'train'),
    ],
)
def test_names_of_splits(path, split):
    assert split_of(path) == split


def test_yolo_folders_of_roboflow(tmp_path, look):
    for name, part in (('train', slice(9)), ('valid', slice(9, 12))):
        write_yolo(tmp_path / 'data' / name, make_scenes(12)[part])
        (tmp_path / 'data' / name / 'data.yaml').unlink()
    (tmp_path / 'data/data.yaml').write_text(
        'train: ../train/images\nval: ../valid/images\nnc: 3\n'
        "names: ['zero', 'one', 'two']\n"
    )
    found = look(tmp_path / 'data')
    assert found.data.classes == list(NAMES)
    assert len(found.data.of_split('train')) == 9
    assert len(found.data.of_split('val')) == 3


def test_coco_file_alone_and_images_of_the_same_name(tmp_path, look):
    """Images of two splits may have one name; the nearer one is meant."""
    from scenes import write_coco

    scenes = make_scenes(12)
    for name, part in (('train', scenes[:9]), ('val', scenes[9:])):
        root = tmp_path / 'data' / name
        path = write_coco(root, part)
        path.rename(root / 'labels.json')
        (root / 'annotations').rmdir()
    found = look(tmp_path / 'data')
    assert not found.data.findings
    assert len(found.data.of_split('train')) == 9
    alone = look(tmp_path / 'data/train/labels.json')
    assert len(alone.data.samples) == 9


def test_ade_with_zero_for_nothing(write, look):
    """150 names and numbers up to 150: 0 has no name, and is ignored."""
    root = write('label-maps')
    (root / 'classes.txt').unlink()
    (root / 'objectInfo150.txt').write_text(
        'Idx\tRatio\tTrain\tVal\tName\n'
        '1\t0.1\t1\t1\tzero, nought\n2\t0.1\t1\t1\tone\n3\t0.1\t1\t1\ttwo\n'
    )
    found = look(root)
    assert found.data.classes == list(NAMES)
    sample = found.data.samples[0]
    labels = found.data.maps.read(sample.label_map, sample.size)
    with Image.open(sample.label_map) as image:
        before = np.array(image)
    assert np.array_equal(labels == 255, before == 0)
    assert np.array_equal(labels[before > 0], before[before > 0] - 1)


def test_every_reader_finds_its_own_format_first(write, tmp_path):
    for name in READERS:
        root = write(name)
        folder = Folder(str(root))
        finders = [key for key in READERS if READERS[key].find(folder)]
        assert finders[0] == name
        root.rename(tmp_path / name)


def test_what_is_none_of_them(tmp_path, look):
    Image.new('RGB', SIZE).save(tmp_path / 'a.jpg')
    with pytest.raises(UserError, match='holds 1 images and no labels'):
        look(tmp_path)
    (tmp_path / 'a.json').write_text(json.dumps(dict(images=[])))
    with pytest.raises(UserError, match='no voc data'):
        look(tmp_path, format='voc')
