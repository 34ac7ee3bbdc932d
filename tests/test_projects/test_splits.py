"""Images are shared out once, and nothing is in train and val alike."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from scenes import make_scenes, save

from mmvheat.errors import UserError
from mmvheat.projects.records import DataSet, Findings, Place, Sample, Thing
from mmvheat.projects.splits import group_of, split


def data_of(paths: list[str], **kwargs) -> DataSet:
    """A data set of images that all differ."""
    samples = [Sample(path, Place(path), digest=path) for path in paths]
    for sample in samples:
        sample.things = [Thing('a', sample.place)]
    return DataSet('.', '', 'detection', ['a'], samples, Findings(), **kwargs)


def shares(data: DataSet) -> dict[str, set[str]]:
    return {
        name: {sample.path for sample in data.of_split(name)}
        for name in ('train', 'val')
    }


def test_one_image_in_five_the_same_ones_for_a_seed():
    paths = [f'{i:03d}.jpg' for i in range(100)]
    results = []
    for seed in (0, 0, 1):
        data = data_of(paths)
        split(data, seed, {})
        results.append(shares(data))
        assert len(results[-1]['val']) == 20
    assert results[0] == results[1] != results[2]


def test_what_was_known_stays_when_images_are_added():
    data = data_of([f'{i:03d}.jpg' for i in range(50)])
    split(data, 0, {})
    known = {sample.path: sample.split for sample in data.samples}
    more = data_of([f'{i:03d}.jpg' for i in range(100)])
    split(more, 0, known)
    for sample in more.samples:
        assert known.get(sample.path, sample.split) == sample.split
    assert len(more.of_split('val')) == 20


@pytest.mark.parametrize(
    ('path', 'group'),
    [
        ('clip1_0001.jpg', 'clip1_'),
        ('a/clip1_frame_0001.jpg', 'a/clip1_frame_'),
        ('a/0001.jpg', 'a/'),
        ('a/one.jpg', 'a/one'),
    ],
)
def test_group_of_a_frame(path, group):
    assert group_of(path) == group


def test_frames_of_a_video_stay_together():
    paths = [f'clip{c}_{i:04d}.jpg' for c in range(10) for i in range(12)]
    data = data_of(paths)
    sentence, _ = split(data, 3, {})
    assert '10 sequences' in sentence
    found = shares(data)
    clips = {
        name: {path.split('_')[0] for path in some}
        for name, some in found.items()
    }
    assert not clips['train'] & clips['val']
    assert 0.1 <= len(found['val']) / 120 <= 0.3


def test_last_frames_of_a_single_video_are_val():
    data = data_of([f'frame_{i}.jpg' for i in range(50)])
    sentence, _ = split(data, 0, {})
    assert 'one video' in sentence
    assert shares(data)['val'] == {f'frame_{i}.jpg' for i in range(40, 50)}


@pytest.mark.parametrize('kind', ['boxes', 'maps'])
def test_names_of_classes_are_no_sequences(kind):
    """NEU-DET has files like scratches_12.jpg."""
    names = ['crazing', 'inclusion', 'patches', 'pitted_surface', 'scratches']
    data = data_of([f'{name}_{i}.jpg' for name in names for i in range(20)])
    for sample in data.samples:
        sample.things[0].name = sample.path.rsplit('_', 1)[0]
    if kind == 'maps':
        for sample in data.samples:
            sample.label_map, sample.things = sample.things[0].name, []
        pixels = {name: {0: 9, i: 1} for i, name in enumerate(names, 1)}
        data.maps = SimpleNamespace(count_pixels=pixels.get)
    sentence, _ = split(data, 0, {})
    assert 'sequences' not in sentence
    for paths in shares(data).values():
        assert {path.rsplit('_', 1)[0] for path in paths} == set(names)


def test_every_class_is_in_train():
    data = data_of([f'{i}.jpg' for i in range(20)])
    for seed in range(10):
        data = data_of([f'{i}.jpg' for i in range(20)])
        for index, sample in enumerate(data.samples):
            sample.things = [Thing('rare' if index == 7 else 'a', 'x')]
        split(data, seed, {})
        train = {t.name for s in data.of_split('train') for t in s.things}
        assert train == {'rare', 'a'}


def test_every_class_of_images_is_in_both():
    for seed in range(5):
        data = data_of([f'{c}/{i}.jpg' for c in range(10) for i in range(3)])
        for sample in data.samples:
            sample.things, sample.label = [], sample.path[0]
        split(data, seed, {})
        for name in ('train', 'val'):
            count = Counter(s.label for s in data.of_split(name))
            assert len(count) == 10


def test_copies_are_never_in_both():
    data = data_of([f'{i}.jpg' for i in range(40)])
    for index, sample in enumerate(data.samples):
        sample.digest = str(index // 2)
    split(data, 0, {})
    found = shares(data)
    assert len(found['train']) + len(found['val']) == 40
    for index in range(0, 40, 2):
        pair = {f'{index}.jpg', f'{index + 1}.jpg'}
        assert pair <= found['train'] or pair <= found['val']
    assert data.findings.count() == {'same image twice': 20}


def test_sequences_that_share_all_their_images():
    data = data_of([f'clip{c}_{i}.jpg' for c in range(6) for i in range(10)])
    for sample in data.samples:
        sample.digest = sample.path.split('_')[1]
    split(data, 0, {})
    assert len(data.of_split('train')) == 48
    assert len(data.of_split('val')) == 12
    data = data_of(['a.jpg', 'b.jpg'])
    for sample in data.samples:
        sample.digest = 'same'
    with pytest.raises(UserError, match='No image is left for val'):
        split(data, 0, {})


def test_leak_between_the_splits_of_the_user(write, look):
    root = write('label-maps')
    for kind, suffix in (('images', 'jpg'), ('annotations', 'png')):
        shutil.copy(
            root / f'{kind}/training/0000.{suffix}',
            root / f'{kind}/validation/0099.{suffix}',
        )
    found = look(root)
    (leak,) = [
        f for f in found.data.findings if f.kind == 'image in train and val'
    ]
    assert leak.place.file == 'images/training/0000.jpg'
    assert '0099.jpg' in leak.what
    assert len(found.data.of_split('train')) == 8
    assert len(found.data.of_split('val')) == 4


def look_at_lists(root, look, **lists) -> tuple[dict, dict]:
    """The splits by stem that lists of these lines make, and findings."""
    shutil.rmtree(root / 'ImageSets')
    (root / 'ImageSets/Main').mkdir(parents=True)
    for name, lines in lists.items():
        (root / f'ImageSets/Main/{name}.txt').write_text('\n'.join(lines))
    data = look(root).data
    found = {Path(s.path).stem: s.split for s in data.samples}
    return found, data.findings.count()


def test_lists_of_voc(write, look):
    """As in VOC 2007; trainval alone is shared out, test is not."""
    root, names = write('voc'), [f'{i:04d}' for i in range(12)]
    sets = dict(train=names[:6], val=names[6:8], test=names[8:])
    expected = {name: key for key, part in sets.items() for name in part}
    found = look_at_lists(root, look, **sets, trainval=names[:8])
    assert found == (expected, {})
    lists = dict(trainval=names[:7], test=names[8:])
    found, findings = look_at_lists(root, look, **lists)
    assert findings == {'image of no split': 1}
    assert {found[name] for name in names[:7]} == {'train', 'val'}
    assert {found[name] for name in names[8:]} == {'test'}
    lists = dict(train=names[:8], test=names[8:])
    found, findings = look_at_lists(root, look, **lists)
    assert not findings
    assert {found[name] for name in names[:8]} == {'train'}
    assert {found[name] for name in names[8:]} == {'val'}


@pytest.mark.parametrize(
    'form', ['{}', '{}.jpg', 'JPEGImages/{}.JPG', 'my {}', '{}  -1']
)
def test_lines_of_lists(write, look, form):
    root = write('voc')
    if form == 'my {}':
        for path in root.glob('[JA]*/*'):
            if path.suffix == '.xml':
                text = re.sub('<filename>.*</filename>', '', path.read_text())
                path.write_text(text)
            path.rename(path.with_name(f'my {path.name}'))
    lines = [form.format(f'{i:04d}') for i in range(12)]
    lists = dict(train=lines[:8], val=lines[8:])
    found, findings = look_at_lists(root, look, **lists)
    assert not findings
    assert list(Counter(found.values()).items()) == [('train', 8), ('val', 4)]


def test_list_of_other_images(write, look):
    root, names = write('voc'), [f'{i:04d}' for i in range(12)]
    lists = dict(train=names[:8], val=names[8:], test=['a', 'b'])
    found, findings = look_at_lists(root, look, **lists)
    assert findings == {'list that names no image': 1}
    assert set(found.values()) == {'train', 'val'}


def test_train_that_is_val(tmp_path, look):
    for split_name in ('train', 'val'):
        for index, scene in enumerate(make_scenes(4)):
            path = f'{split_name}/{index % 2}/{index}.png'
            save(scene.picture, tmp_path / path)
    with pytest.raises(UserError, match='No image is left for train'):
        look(tmp_path)


def test_test_stands_in_for_val_and_keeps_its_name_beside_it():
    paths = [f'{s}/{i}.jpg' for s in ('train', 'test') for i in range(4)]
    data = data_of(paths)
    for sample in data.samples:
        sample.split = sample.path.split('/')[0]
    assert 'those of test are val' in split(data, 0, {})[0]
    assert len(shares(data)['val']) == 4
    data = data_of([*paths, 'val/0.jpg', 'other.jpg'])
    for sample in data.samples:
        sample.split = sample.path.partition('/')[0] * ('/' in sample.path)
    split(data, 0, {})
    assert len(data.of_split('test')) == 4
    assert data.findings.count() == {'image of no split': 1}


def test_a_single_image():
    with pytest.raises(UserError, match='expected are 2 or more'):
        split(data_of(['a.jpg']), 0, {})
