"""Odd labels are understood as they were meant, or left out alone."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from looks import edit, only, things
from pycocotools import mask as rle
from scenes import COLOURS, NAMES, SIZE, make_scenes, save


def test_two_images_of_one_id(coco, look):
    root, path = coco
    edit(path, lambda content: content['images'][1].update(id=0))
    found = look(root)
    twice = [f for f in found.data.findings if f.kind == 'image id twice']
    assert ["'0000.jpg'" in twice[0].what, "'0001.jpg'" in twice[1].what]
    assert len(found.data.samples) == 10
    assert len(things(found, 2)) == 2


def test_images_of_one_name_in_two_folders_one_of_them_missing(coco, look):
    root, path = coco
    (root / 'images').rename(root / 'cam2')

    def change(content: dict) -> None:
        image, entry = content['images'][0], content['annotations'][0]
        for item in content['images']:
            item['file_name'] = f'cam2/{item["file_name"]}'
        content['images'].insert(0, dict(image, id=99))
        content['images'][0]['file_name'] = 'cam1/0000.jpg'
        content['annotations'].append(dict(entry, id=99, image_id=99))

    edit(path, change)
    found = look(root)
    assert "'cam1/0000.jpg'" in only(found, 'labels without image').what
    assert [len(sample.things) for sample in found.data.samples] == [2] * 12
    edit(path, lambda content: content['images'].pop(1))
    found = look(root)
    taken = only(found, 'image in another folder')
    assert "'cam1/0000.jpg' is taken to be cam2/0000.jpg" in taken.what


def test_letters_that_macos_takes_apart(coco, look):
    root, path = coco

    def change(content: dict) -> None:
        for item in content['images']:
            old = root / 'images' / item['file_name']
            item['file_name'] = f'Grün {item["file_name"]}'
            old.rename(old.with_name(normalize('NFD', item['file_name'])))

    edit(path, change)
    found = look(root)
    assert not found.data.findings
    assert len(found.data.samples) == 12
    for sample in found.data.samples:  # named as the disk has it
        assert (root / sample.path).is_file()


def test_one_odd_entry_of_coco_leaves_the_others(coco, look):
    root, path = coco

    def change(content: dict) -> None:
        for entry in content['annotations']:
            entry['iscrowd'] = '0'
        first, second, third = content['annotations'][:3]
        del first['segmentation']
        first['bbox'] = 5
        second['image_id'] = [0]
        third['category_id'] = {}
        content['categories'].append(dict(id=[9], name='one'))

    edit(path, change)
    found = look(root)
    kinds = found.data.findings.count()
    assert kinds['object without box'] == kinds['labels without image'] == 1
    assert kinds['unknown class'] == 1
    left = [thing for s in found.data.samples for thing in s.things]
    assert len(left) == 21
    assert not any(thing.crowd for thing in left)


def test_runs_that_are_not_as_many_pixels_as_the_image(coco, look):
    root, path = coco
    size = [SIZE[1], SIZE[0]]
    masks = [item.mask for s in make_scenes(12)[:4] for item in s.objects]
    codes = [rle.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
    codes = [dict(size=size, counts=c['counts'].decode()) for c in codes]
    short = rle.frPyObjects(dict(size=size, counts=[10, 20]), *size)
    wrong = ([10, 20], [10, 99999], [-9, 9 + SIZE[0] * SIZE[1]], [], 'abc#')
    wrong = [*wrong, short['counts'].decode()]

    def change(content: dict) -> None:
        counts = [code['counts'] for code in codes] + list(wrong)
        for entry, runs in zip(content['annotations'], counts):
            entry['segmentation'] = dict(size=size, counts=runs)

    edit(path, change)
    found = look(root)
    assert found.data.findings.count() == {'broken mask': len(wrong)}
    whole = [thing for index in range(4) for thing in things(found, index)]
    assert [thing.area for thing in whole] == [mask.sum() for mask in masks]


def test_outlines_that_would_take_all_memory(coco, look):
    root, path = coco

    def change(content: dict) -> None:
        for entry, x in zip(content['annotations'], (1e308, -1e12)):
            entry['segmentation'] = [[4, 4, x, 20, 4, 20]]
        content['annotations'][2]['segmentation'] = [[4, 4, 300, 20, 4, 20]]

    edit(path, change)
    found = look(root)
    kind = 'outline far outside the image'
    assert found.data.findings.count() == {kind: 2}
    assert len(things(found, 1)) == 2  # one that is cut at the border


@pytest.mark.parametrize('name', ['voc', 'labelme'])
def test_no_name_is_no_class(write, look, name):
    root = write(name)
    for path in [*root.rglob('*.xml'), *root.rglob('*.json')]:
        text = path.read_text().replace('<name>one<', '<name> <')
        path.write_text(text.replace('"label": "one"', '"label": ""'))
    found = look(root)
    assert sorted(found.data.classes) == ['two', 'zero']
    assert found.data.findings.count() == {'object without class': 8}


@pytest.mark.parametrize('group', [0, 'left', [1, 2]])
def test_shapes_of_a_group_are_one_object(write, read, group):
    root = write('labelme', count=1)

    def change(content: dict) -> None:
        first = dict(content['shapes'][0], group_id=group)
        other = dict(first, points=[[1, 1], [5, 1], [1, 5]])
        content['shapes'] = [first, other]

    edit(root / '0000.json', change)
    ((thing,),) = [sample.things for sample in read(root).samples]
    assert len(thing.shape) == 2


def test_names_of_yolo_that_are_none(write, read):
    root = write('yolo')
    for names in ('', 'classes.txt', '[]', '{zero: 0, one: 1, two: 2}', '3'):
        (root / 'data.yaml').write_text(f'names: {names}\n')
        data = read(root)
        assert data.findings.count() == {'broken label file': 1}
        assert data.findings[0].place.file == 'data.yaml'
        assert data.classes == ['class_0', 'class_1', 'class_2']
    (root / 'classes.txt').write_text('\n'.join(NAMES))
    assert read(root).classes == list(NAMES)


def test_yolo_without_any_name_and_with_endless_numbers(write, read, look):
    root = write('yolo')
    (root / 'data.yaml').write_text("names: {0: zero, '1': one, 2: two}")
    assert read(root).classes == list(NAMES)
    (root / 'data.yaml').unlink()
    (root / 'classes.txt').write_text('\n')
    with open(root / 'labels/0001.txt', 'a') as file:
        file.write('\ninf .5 .5 .1 .1\nnan .5 .5 .1 .1\n0 .5 nan .1 .1\n')
    found = look(root)
    assert found.data.classes == ['class_0', 'class_1', 'class_2']
    kinds = found.data.findings.count()
    assert kinds == {'line that is no label': 2, 'object without box': 1}


def replace_maps(root: Path, change, suffix: str = 'png') -> list[np.ndarray]:
    """Write the label maps of scenes anew; what was written, in order."""
    written = []
    for path in sorted((root / 'annotations').rglob('*.png')):
        labels = change(make_scenes(12)[len(written)].label_map.astype(int))
        path.unlink()
        save(labels, path.with_suffix(f'.{suffix}'))
        written.append(labels)
    return written


def test_numbers_below_zero_are_ignored(write, look):
    root = write('label-maps')
    odd = np.zeros(SIZE[::-1], bool)
    odd[:6, :9] = True

    def change(labels: np.ndarray) -> np.ndarray:
        labels[:3, :9], labels[3:6, :9] = -1, -4
        return labels.astype(np.int32)

    written = replace_maps(root, change, 'tif')
    found = look(root)
    assert found.data.findings.count() == {'value without a name': 2}
    samples = sorted(found.data.samples, key=lambda s: Path(s.path).name)
    for sample, labels in zip(samples, written):
        read = found.data.maps.read(sample.label_map, sample.size)
        assert np.array_equal(read, np.where(odd, 255, labels))


@pytest.mark.parametrize('coloured', [2, 10])
def test_painted_maps_that_show_grey_alone(write, look, coloured):
    """Black, in three channels, is a colour where others are painted."""
    root = write('label-maps')
    (root / 'classes.txt').write_text(
        'background,0,0,0\nzero,90,90,90\none,30,200,30\ntwo,30,30,200\n'
    )
    palette = np.array([COLOURS[0], (90, 90, 90), *COLOURS[2:]], np.uint8)
    count = iter(range(12))
    expected = []

    def change(labels: np.ndarray) -> np.ndarray:
        if next(count) >= coloured:
            labels[labels > 1] = 0
        expected.append(labels)
        return palette[labels]

    replace_maps(root, change)
    found = look(root)
    assert found.data.findings.count() == {'colours without numbers': 1}
    samples = sorted(found.data.samples, key=lambda s: Path(s.path).name)
    assert len(samples) == 12
    for sample, labels in zip(samples, expected):
        read = found.data.maps.read(sample.label_map, sample.size)
        assert np.array_equal(read, labels)


def test_numbers_in_three_channels(write, look):
    root = write('label-maps', 4)
    replace_maps(root, lambda labels: np.dstack([labels] * 3).astype(np.uint8))
    found = look(root)
    assert not found.data.findings
    assert found.data.classes == ['background', *NAMES]
    for sample in found.data.samples:
        labels = make_scenes(12)[int(Path(sample.path).stem)].label_map
        read = found.data.maps.read(sample.label_map, sample.size)
        assert np.array_equal(read, labels)


def test_painted_maps_among_numbers_are_left_out(write, look):
    root = write('label-maps')
    path = sorted((root / 'annotations').rglob('*.png'))[0]
    save(np.array(COLOURS, np.uint8)[make_scenes(12)[0].label_map], path)
    found = look(root)
    assert found.data.findings.count() == {'broken label file': 1}
    assert len(found.data.samples) == 11


def test_what_0_is_taken_for_where_names_have_no_numbers(write, look):
    root = write('label-maps')
    (root / 'classes.txt').write_text('wall\nfloor\ntree\nsky\n')
    taken = only(look(root), 'names without numbers')
    assert str(taken.place) == 'classes.txt:1'
    assert "0 is taken for 'wall'" in taken.what
    (root / 'classes.txt').write_text('1: wall\n2: floor\n3: tree\n')
    assert not look(root).data.findings
