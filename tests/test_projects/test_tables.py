"""Tables of many tools are read as they were meant, or refused."""

from __future__ import annotations

from collections import Counter

import pytest
from scenes import NAMES, SIZE, make_scenes, save

from mmvheat.errors import UserError


@pytest.fixture
def read_table(tmp_path, read):
    """Read a table beside ten images, ``images/0000.jpg`` and so on."""
    for index, scene in enumerate(make_scenes(10)):
        save(scene.picture, tmp_path / f'images/{index:04d}.jpg')

    def read_table(header: str, form: str, encoding: str = 'utf-8'):
        lines = [
            form.format(
                image=f'{index:04d}.jpg',
                name=NAMES[index % 3],
                number=index + 5,
            )
            for index in range(10)
        ]
        text = '\n'.join([header, *lines] if header else lines)
        (tmp_path / 'table.csv').write_bytes(text.encode(encoding))
        return read(tmp_path)

    return read_table


def test_boxes_without_a_header_as_keras_retinanet_has_them(read_table):
    data = read_table('', 'images/{image},{number},5,40,30,{name}')
    assert data.task == 'detection'
    assert data.classes == sorted(NAMES)
    for index, sample in enumerate(data.samples):
        (thing,) = sample.things
        assert thing.name == NAMES[index % 3]
        assert thing.box == (5 + index, 5, 35 - index, 25)


@pytest.mark.parametrize(
    ('header', 'form', 'message'),
    [
        ('', '{image},0,1,0', 'table.csv has 4 columns without names'),
        ('', '{image},{name},train', 'has 3 columns without names'),
        (
            'filename,label,xmin,ymin,width,height',
            '{image},{name},1,2,9,9',
            'has the columns xmin, ymin, but a box needs',
        ),
    ],
)
def test_columns_that_may_mean_anything(read_table, header, form, message):
    with pytest.raises(UserError, match=message):
        read_table(header, form)


def test_a_table_that_says_too_little_stands_beside_another(
    read_table, tmp_path
):
    (tmp_path / 'sizes.csv').write_text('0000.jpg,40,40\n')
    data = read_table('image,label', '{image},{name}')
    assert data.classes == sorted(NAMES)
    (finding,) = data.findings
    assert finding.kind == 'table that says too little'


def test_semicolons_and_long_cells(read_table):
    for header, form in (
        ('image;label', '{image};{name}'),
        ('image,label,runs', '{image},{name},' + '1 9 ' * 50_000),
    ):
        data = read_table(header, form)
        assert Counter(s.label for s in data.samples) == dict(
            zero=4, one=3, two=3
        )


def test_images_without_an_object(read_table, look, tmp_path):
    lines = ['filename,class,xmin,ymin,xmax,ymax', '0000.jpg,,,,,']
    lines += [f'{index:04d}.jpg,one,5,5,9,9' for index in range(1, 10)]
    (tmp_path / 'table.csv').write_text('\n'.join(lines))
    data = look(tmp_path).data
    assert not data.findings
    assert [len(sample.things) for sample in data.samples] == [0, *[1] * 9]


def test_boxes_in_shares_as_open_images_has_them(read_table, look, tmp_path):
    header = 'ImageID,LabelName,XMin,XMax,YMin,YMax'
    read_table(header, '{image},{name},0.25,0.5,0.5,1')
    for sample in look(tmp_path).data.samples:
        width, height = SIZE
        assert sample.things[0].box == (
            width / 4,
            height / 2,
            width / 4,
            height / 2,
        )


def test_numbers_that_name_classes_are_in_their_order(read_table):
    data = read_table('image,label', '{image},{number}')
    assert data.classes == [str(number) for number in range(5, 15)]


def test_letters_in_another_encoding(read_table):
    data = read_table('image,label', '{image},é{name}', 'cp1252')
    assert data.findings.count() == {'text that is no UTF-8': 1}
    assert str(data.findings[0].place) == 'table.csv:2'
    assert not read_table('image,label', '{image},é{name}').findings


def test_folder_of_a_class_is_no_split(tmp_path, read):
    rows = ['image,label']
    for index, scene in enumerate(make_scenes(6)):
        name = ('test_tube', 'flask')[index % 2]
        save(scene.picture, tmp_path / f'images/{name}/{index}.jpg')
        rows.append(f'images/{name}/{index}.jpg,{name}')
    (tmp_path / 'a.csv').write_text('\n'.join(rows))
    assert {sample.split for sample in read(tmp_path).samples} == {''}
