"""What is wrong with data is found, counted, named and repaired or refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from looks import edit, line_of, only, things
from PIL import Image
from scenes import SIZE, make_scenes, write_folders

from mmvheat.errors import UserError


def test_empty_folder(tmp_path, look):
    with pytest.raises(UserError, match=f'{tmp_path} is empty; give'):
        look(tmp_path)
    with pytest.raises(UserError, match='does not exist'):
        look(tmp_path / 'nothing')


def test_broken_and_truncated_images(write, look):
    root = write('coco')
    (root / 'images/0003.jpg').write_bytes(b'no picture')
    whole = (root / 'images/0005.jpg').read_bytes()
    (root / 'images/0005.jpg').write_bytes(whole[: len(whole) // 2])
    (root / 'images/0007.jpg').write_bytes(b'')
    found = look(root)
    broken = [f for f in found.data.findings if f.kind == 'broken image']
    assert [f.place.file for f in broken] == [
        f'images/000{i}.jpg' for i in (3, 5, 7)
    ]
    assert 'truncated' in broken[1].what
    assert len(found.data.samples) == 9


def test_labels_without_image_and_image_without_labels(coco, look):
    root, path = coco
    (root / 'images/0002.jpg').rename(root / 'images/other.jpg')
    found = look(root)
    lost = only(found, 'labels without image')
    assert '0002.jpg' in lost.what
    line = line_of(path, '"file_name": "0002.jpg"')
    assert 0 < line - lost.place.line < 4  # the brace before it
    assert lost.place.file == 'annotations/instances.json'
    assert only(found, 'image without labels').place.file == 'images/other.jpg'


@pytest.mark.parametrize('name', ['yolo', 'voc', 'labelme', 'label-maps'])
def test_pairs_that_miss_a_side(write, look, name):
    root = write(name)
    images = sorted(root.rglob('*.jpg'))
    images[0].unlink()
    labels = dict(yolo='txt', voc='xml', labelme='json')
    labels['label-maps'] = 'png'
    pattern = f'{images[1].stem}.{labels[name]}'
    next(root.rglob(pattern)).unlink()
    found = look(root)
    lost = only(found, 'labels without image')
    assert images[0].stem in lost.place.file
    bare = only(found, 'image without labels')
    assert bare.place.file == images[1].relative_to(root).as_posix()
    assert len(found.data.samples) == 10


def test_class_named_twice(coco, look):
    root, path = coco
    edit(path, lambda c: c['categories'][2].update(name='one'))
    found = look(root)
    twice = only(found, 'class named twice')
    assert twice.place.line > line_of(path, '"categories"')
    assert found.data.classes == ['zero', 'one']
    assert {t.name for t in things(found, 0)} <= {'zero', 'one'}


def test_class_named_twice_in_yolo_and_in_folders(write, look, tmp_path):
    root = write('yolo')
    (root / 'data.yaml').unlink()
    (root / 'classes.txt').write_text('zero\none\nzero\n')
    found = look(root)
    twice = only(found, 'class named twice')
    assert str(twice.place) == 'classes.txt:3'
    assert found.data.classes == ['zero', 'one']
    write_folders(tmp_path / 'folders', make_scenes(12))
    shutil.copytree(tmp_path / 'folders/one', tmp_path / 'folders/One')
    found = look(tmp_path / 'folders')
    assert only(found, 'class named twice').place.file == 'one'
    assert len(found.data.classes) == 3


def test_ids_with_gaps(coco, look):
    root, path = coco

    def change(content: dict) -> None:
        for entry in content['categories']:
            entry['id'] *= 7
        for entry in content['annotations']:
            entry['category_id'] *= 7

    before = look(root)
    edit(path, change)
    found = look(root)
    assert '3 class ids lie between 7 and 21' in (
        only(found, 'ids with gaps').what
    )
    for index in range(12):
        assert [t.name for t in things(found, index)] == [
            t.name for t in things(before, index)
        ]


def test_boxes_outside_the_image(coco, look):
    root, path = coco

    def change(content: dict) -> None:
        for entry in content['annotations']:
            del entry['segmentation']
        boxes = ([80, 10, 40, 20], [200, 10, 5, 5], [10, 10, -5, 8])
        for entry, box in zip(content['annotations'], boxes):
            entry['bbox'] = box

    edit(path, change)
    found = look(root)
    outside = [
        f for f in found.data.findings if f.kind == 'box outside the image'
    ]
    assert [f.done for f in outside] == [
        'cut at the border',
        'object left out',
    ]
    assert outside[0].place.line < outside[1].place.line
    assert things(found, 0)[0].box == (80, 10, 16, 20)
    assert len(things(found, 0)) == len(things(found, 1)) == 1
    assert only(found, 'box without area').what.startswith('x 10')


def test_polygons_of_two_points(coco, look):
    root, path = coco

    def change(content: dict) -> None:
        first, second = content['annotations'][:2]
        first['segmentation'] = [[1, 1, 9, 9]]
        second['segmentation'].append([1, 1, 9, 9])

    edit(path, change)
    found = look(root)
    kinds = found.data.findings.count()
    assert kinds['polygon of fewer than 3 points'] == 2
    assert kinds['object without area'] == 1
    (left,) = things(found, 0)
    assert len(left.shape) == 1
    place = found.data.findings[0].place
    line = path.read_text().splitlines()[place.line - 1 : place.line + 2]
    assert any('"id": 1,' in text for text in line)


def test_mask_of_another_size(coco, look):
    root, path = coco
    code = dict(size=[10, 10], counts=[0, 100])

    def change(content: dict) -> None:
        content['annotations'][0]['segmentation'] = code

    edit(path, change)
    wrong = only(look(root), 'mask of another size')
    assert '[10, 10] for an image of [64, 96]' in wrong.what


def test_masks_that_are_no_masks(coco, look):
    root, path = coco

    def change(content: dict) -> None:
        first, second, third = content['annotations'][:3]
        first['segmentation'] = dict(size=[64, 96], counts=[0, 'x'])
        second['segmentation'] = dict(size=[64, 96])
        third['segmentation'] = third['segmentation'][0]  # a flat list
        del first['bbox']

    edit(path, change)
    found = look(root)
    assert found.data.findings.count() == {'broken mask': 2}
    assert len(things(found, 0)) == 0
    assert len(things(found, 1)) == 2
    edit(path, lambda content: content['images'].append('nonsense'))
    with pytest.raises(UserError, match="'images' holds something that is no"):
        look(root)


def test_label_maps_of_another_size(write, look):
    root = write('label-maps')
    paths = sorted((root / 'annotations').rglob('*.png'))
    with Image.open(paths[0]) as image:
        half = image.resize((SIZE[0] // 2, SIZE[1] // 2), Image.NEAREST)
        square = image.resize((50, 50), Image.NEAREST)
    half.save(paths[0])
    square.save(paths[1])
    found = look(root)
    wrong = [
        f for f in found.data.findings if f.kind == 'mask of another size'
    ]
    assert wrong[0].done.startswith('scaled')
    assert wrong[1].done == 'left out'
    assert len(found.data.samples) == 11
    labels = found.data.maps.read(str(paths[0]), SIZE)
    expected = np.array(half).repeat(2, 0).repeat(2, 1)
    assert np.array_equal(labels, expected)


def test_palettes_that_name_other_numbers(write, look):
    """Number 1 is red in one file and green in another."""
    root = write('label-maps', kind='P')
    path = sorted((root / 'annotations').rglob('*.png'))[0]
    with Image.open(path) as image:
        colours = np.reshape(image.getpalette()[:12], (4, 3))
        turned = Image.fromarray((np.array(image) + 1) % 4)
    turned.putpalette(colours[[3, 0, 1, 2]].ravel().tolist())
    turned.save(path)
    (root / 'classes.txt').unlink()
    found = look(root)
    assert 'colours tell the class' in only(found, 'palettes differ').done
    first = found.data.maps.read(str(path), SIZE)
    reds = found.data.palette.index([200, 30, 30])
    expected = make_scenes(12)[0].label_map == 1
    assert np.array_equal(first == reds, expected)


def test_number_beyond_a_palette(write, look):
    root = write('label-maps', kind='P')
    path = sorted((root / 'annotations').rglob('*.png'))[0]
    with Image.open(path) as image:
        image.putpalette([0, 0, 0, 9, 9, 9])
        image.save(path)
    with Image.open(path) as image:
        if len(image.getpalette()) > 6:
            pytest.skip('this Pillow fills palettes up')
    (root / 'annotations/training/0001.png').unlink()
    found = look(root)
    kinds = found.data.findings.count()
    assert kinds['number beyond the palette'] or kinds['palettes differ']


def test_painted_maps_without_names(write, look):
    root = write('label-maps', kind='RGB')
    (root / 'classes.txt').unlink()
    found = look(root)
    assert '12 of 12' in only(found, 'colours without numbers').what
    assert found.data.classes == [
        'background',
        '#1e1ec8',
        '#1ec81e',
        '#c81e1e',
    ]


def test_photographs_in_the_place_of_maps(write, look):
    root = write('label-maps')
    for path in (root / 'annotations').rglob('*.png'):
        noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3))
        Image.fromarray(noise.astype(np.uint8)).save(path)
    with pytest.raises(UserError, match='colours: a photograph'):
        look(root)


def test_masks_of_0_and_255(write, look):
    root = write('label-maps')
    (root / 'classes.txt').unlink()
    for path in (root / 'annotations').rglob('*.png'):
        with Image.open(path) as image:
            mask = (np.array(image) > 0).astype(np.uint8) * 255
        Image.fromarray(mask).save(path)
    found = look(root)
    assert found.data.classes == ['background', 'foreground']
    assert 'not as ignored' in only(found, 'mask of 0 and 255').done
    assert set(np.unique(found.data.maps.read(str(path), SIZE))) == {0, 1}


def test_number_without_a_name(write, look):
    root = write('label-maps')
    path = sorted((root / 'annotations').rglob('*.png'))[2]
    with Image.open(path) as image:
        labels = np.array(image)
    labels[:5, :5] = 77
    Image.fromarray(labels).save(path)
    found = look(root)
    unknown = only(found, 'value without a name')
    assert unknown.place.file.endswith(path.name)
    assert (found.data.maps.read(str(path), SIZE)[:5, :5] == 255).all()


def test_spaces_and_letters_of_other_scripts(write, look, create):
    root = write('folders')
    (root / 'zero').rename(root / 'Größe 一')
    for path in sorted((root / 'one').iterdir())[:3]:
        path.rename(path.with_name(f'ein Bild {path.stem} é.png'))
    found = look(root)
    assert not found.data.findings
    assert 'Größe 一' in found.data.classes
    from mmpretrain.datasets import CustomDataset

    project = create(root)
    read = CustomDataset(
        data_root=str(root),
        ann_file=str(project / 'labels/train.txt'),
        metainfo=dict(classes=found.data.classes),
    )
    for index in range(len(read)):
        info = read.get_data_info(index)
        assert Path(info['img_path']).is_file()
        label = found.data.classes[info['gt_label']]
        assert Path(info['img_path']).parent.name == label


def test_names_that_no_list_can_hold(write, look):
    root = write('folders')
    first, second, third = sorted((root / 'one').iterdir())[:3]
    first.rename(first.with_name('a\nb.png'))
    second.rename(second.with_name('b.png '))
    os.rename(third, os.fsencode(third.parent) + b'/c\xff.png')
    found = look(root)
    assert found.data.findings.count() == {'name that no list can hold': 3}
    assert len(found.data.samples) == 21


def test_links_to_files_and_folders(write, look, tmp_path):
    root = write('folders')
    target = tmp_path / 'elsewhere.png'
    path = next((root / 'one').iterdir())
    path.rename(target)
    path.symlink_to(target)
    (root / 'two/gone.png').symlink_to(tmp_path / 'gone.png')
    (root / 'zero/loop').symlink_to(root)
    found = look(root)
    kinds = found.data.findings.count()
    assert kinds['symbolic link'] == kinds['broken link'] == 1
    assert kinds['folder linked twice'] == 1
    assert len(found.data.samples) == 24


@pytest.mark.parametrize('name', ['coco', 'label-maps', 'folders'])
def test_read_only_data_stay_as_they_are(write, create, name):
    root = write(name)
    before = {
        path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in root.rglob('*')
    }
    for path in [root, *root.rglob('*')]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        project = create(root)
    finally:
        for path in [root, *root.rglob('*')]:
            path.chmod(0o755)
    after = {
        path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in root.rglob('*')
    }
    assert before == after
    assert (project / 'report/report.md').is_file()


def test_broken_label_files_are_named_with_their_line(write, look):
    root = write('voc')
    path = root / 'Annotations/0001.xml'
    path.write_text('<annotation>\n<object>\n</annotation>\n')
    found = look(root)
    broken = only(found, 'broken label file')
    assert str(broken.place) == 'Annotations/0001.xml:3'
    for path in root.glob('Annotations/*'):
        path.write_text('<annotation')
    with pytest.raises(UserError, match='no labels|usable image'):
        look(root)


def test_coco_that_is_cut_off(coco, look):
    root, path = coco
    path.write_text(path.read_text()[:-400] + '"categories"')
    with pytest.raises(UserError, match=r'instances\.json:\d+'):
        look(root)


def test_lines_of_yolo(write, look):
    root = write('yolo')
    path = root / 'labels/0001.txt'
    lines = path.read_text().splitlines()
    bad = ['0 .5 .5', '0 30 20 10 10', 'zero .5 .5 .1 .1', '9 .5 .5 .1 .1']
    path.write_text('\n'.join([*lines, *bad]))
    found = look(root)
    kinds = found.data.findings.count()
    assert kinds == {'line that is no label': 3, 'unknown class': 1}
    assert [f.place.line for f in found.data.findings] == [3, 4, 5, 6]
    assert len(things(found, 1)) == 2


def test_shapes_of_labelme_that_are_no_area(write, look):
    root = write('labelme')
    path = root / '0004.json'

    def change(content: dict) -> None:
        first, second = content['shapes']
        first.update(shape_type='line', points=[[1, 1], [9, 9]])
        second['points'] = [['a', 1]]

    edit(path, change)
    found = look(root)
    line = only(found, 'shape that is no area').place.line
    assert line_of(path, '"line"') - line in range(4)
    assert only(found, 'broken shape').place.line > line
    circle = dict(
        label='one', shape_type='circle', points=[[40, 30], [50, 30]]
    )
    edit(path, lambda content: content.update(shapes=[circle]))
    found = look(root)
    (thing,) = next(
        s for s in found.data.samples if s.path == '0004.jpg'
    ).things
    assert thing.area == pytest.approx(np.pi * 100, rel=0.05)


def test_rows_of_csv(write, look):
    root = write('csv')
    path = root / 'labels.csv'
    lines = path.read_text().splitlines()
    bad = ['nowhere.png,one,train', 'files/0000_0.png', lines[3]]
    path.write_text('\n'.join([*lines, *bad]))
    found = look(root)
    places = {f.kind: str(f.place) for f in found.data.findings}
    assert places == {
        'labels without image': 'labels.csv:26',
        'line that is no label': 'labels.csv:27',
        'image listed twice': 'labels.csv:28',
    }


def test_sizes_and_orientation(coco, look):
    root, path = coco
    edit(path, lambda c: c['images'][4].update(width=640, height=480))
    with Image.open(root / 'images/0006.jpg') as image:
        exif = image.getexif()
        exif[274] = 6
        image.load()
        image.save(root / 'images/0006.jpg', exif=exif)
    found = look(root)
    wrong = [
        f
        for f in found.data.findings
        if f.kind == 'size that is not of the image'
    ]
    assert '640x480' in wrong[0].what
    assert '64x96' in wrong[1].what
    turned = only(found, 'image turned by its camera')
    assert turned.place.file == 'images/0006.jpg'
    import mmcv

    sample = next(s for s in found.data.samples if '0006' in s.path)
    height, width = mmcv.imread(root / sample.path).shape[:2]
    assert sample.size == (width, height)


def test_masks_asked_of_boxes(write, look):
    root = write('yolo')
    with pytest.raises(UserError, match='boxes alone'):
        look(root, model='mask-rcnn')
    path = root / 'labels/0003.txt'
    path.write_text(f'{path.read_text()}\n0 .1 .1 .2 .1 .2 .2')
    assert look(root).data.task == 'detection'
    found = look(root, model='mask-rcnn')
    assert found.data.findings.count()['object without outline'] == 24
    ((thing,),) = [s.things for s in found.data.samples if s.things]
    assert thing.box == pytest.approx((9.6, 6.4, 9.6, 6.4))


def test_one_class_alone(write, look):
    root = write('folders')
    shutil.rmtree(root / 'one')
    shutil.rmtree(root / 'two')
    with pytest.raises(UserError, match="'zero' alone"):
        look(root)


def test_nothing_usable_is_left(coco, look):
    root, path = coco
    for image in (root / 'images').iterdir():
        image.write_bytes(b'')
    with pytest.raises(
        UserError, match='12 x broken image, first images/0000'
    ):
        look(root)


def test_images_without_any_object(coco, look):
    root, path = coco
    edit(path, lambda content: content.update(annotations=[]))
    with pytest.raises(UserError, match='show no object'):
        look(root)
