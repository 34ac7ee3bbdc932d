"""A project is written whole or not at all, and updates keep edits."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from scenes import make_scenes, write_coco, write_folders

from mmvheat.errors import UserError
from mmvheat.projects import command, project
from mmvheat.projects.painting import make_sheet
from mmvheat.projects.splits import read_splits


@pytest.fixture
def new(monkeypatch, capsys, tmp_path):
    """Run ``mmvheat new`` with arguments; what it printed."""
    monkeypatch.chdir(tmp_path)

    def new(*arguments: str | Path) -> str:
        monkeypatch.setattr(sys, 'argv', ['mmvheat new', *map(str, arguments)])
        command.main()
        return capsys.readouterr().out

    return new


def config_of(folder: Path) -> Path:
    (config,) = folder.glob('*vheat-t_*.py')
    return config


def test_report_says_what_was_found(write, new, tmp_path):
    root = write('coco')
    (root / 'images/0003.jpg').write_bytes(b'')
    shutil.copy(root / 'images/0004.jpg', root / 'images/0005.jpg')
    printed = new(root, '--out', 'mine')
    assert 'COCO json (annotations/instances.json)' in printed
    assert 'mmvheat train mask-rcnn_vheat-t_data.py' in printed
    report = (tmp_path / 'mine/report/report.md').read_text()
    for words in ('broken image', 'same image twice', '96x64', '| zero'):
        assert words in report
        assert words.strip('| ') in printed
    assert len(report.splitlines()) < 70  # a page
    for name in ('samples_train.jpg', 'samples_val.jpg'):
        assert f'![{name}]({name})' in report
        picture = cv2.imread(str(tmp_path / 'mine/report' / name))
        assert min(picture.shape[:2]) > 200
        assert picture.std() > 10
    with open(tmp_path / 'mine/report/findings.csv') as file:
        rows = list(csv.DictReader(file))
    assert {row['kind'] for row in rows} == {
        'broken image',
        'same image twice',
    }
    assert rows[0]['file'] == 'images/0003.jpg'


@pytest.mark.parametrize('name', ['label-maps', 'folders'])
def test_samples_of_the_other_tasks_are_painted(write, new, tmp_path, name):
    new(write(name), '--out', 'mine')
    sheet = cv2.imread(str(tmp_path / 'mine/report/samples_val.jpg'))
    assert sheet.shape[1] > 3 * 400  # three columns
    # What the report shows is coloured, unlike the grey noise below.
    assert (sheet.max(-1) - sheet.min(-1)).max() > 100


def test_existing_target_and_target_in_the_data(write, new, quick, tmp_path):
    root = write('folders')
    (tmp_path / 'mine').mkdir()
    with pytest.raises(UserError, match='exists and is not overwritten'):
        new(root, '--out', 'mine')
    assert not list((tmp_path / 'mine').iterdir())
    with pytest.raises(UserError, match='lies in your data'):
        new(root, '--out', root / 'project')
    images = root / 'Annotations'
    (root / 'one').rename(images)
    (images / 'a.csv').write_text('image,label\n')
    with pytest.raises(UserError, match='lies in your data'):
        new(images / 'a.csv', '--out', root / 'project')
    with pytest.raises(UserError, match='holds a quote'):
        new(root, '--out', "it's")
    assert sorted(p.name for p in tmp_path.iterdir()) == ['data', 'mine']


def test_nothing_is_left_of_a_failure(write, new, monkeypatch, tmp_path):
    root = write('folders')
    monkeypatch.setattr(project, 'paint_samples', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        new(root, '--out', 'deep/mine')
    assert not list((tmp_path / 'deep').iterdir())


def test_update_adds_a_class_and_keeps_edits(write, new, quick, tmp_path):
    root = write('folders')
    new(root, '--out', 'mine')
    config = config_of(tmp_path / 'mine')
    edited = config.read_text().replace(
        'randomness = dict(seed=0)', 'randomness = dict(seed=7)'
    )
    config.write_text(edited + 'find_unused_parameters = True\n')
    splits = (tmp_path / 'mine/labels/splits.csv').read_text().splitlines()
    write_folders(root, make_scenes(8, 4)[2:], ('zero', 'one', 'two', 'new'))
    printed = new('--update', '--out', 'mine')
    assert "+metainfo = dict(classes=('new', 'one', 'two', 'zero'))" in printed
    assert 'conflict' not in printed
    cfg = Config.fromfile(config)
    assert cfg.model.head.num_classes == 4
    assert cfg.randomness.seed == 7
    assert cfg.find_unused_parameters
    after = (tmp_path / 'mine/labels/splits.csv').read_text().splitlines()
    assert set(splits) < set(after)
    printed = new('--update', '--out', 'mine')
    assert f'{config.name}: no change' in printed
    assert Config.fromfile(config).randomness.seed == 7


def test_update_says_conflicts_and_keeps_the_lines_of_the_user(
    write, new, quick, tmp_path, capsys
):
    root = write('folders')
    new(root, '--out', 'mine')
    config = config_of(tmp_path / 'mine')
    ours = "metainfo = dict(classes=('eins', 'zwei', 'null'))"
    text = config.read_text()
    config.write_text(
        text.replace("metainfo = dict(classes=('one', 'two', 'zero'))", ours)
    )
    write_folders(root, make_scenes(8, 4)[2:], ('zero', 'one', 'two', 'new'))
    with pytest.raises(SystemExit) as stop:
        new('--update', '--out', 'mine')
    assert stop.value.code == 1
    printed = capsys.readouterr().out
    assert f'yours | {ours}' in printed
    assert "now | metainfo = dict(classes=('new'" in printed
    assert ours in config.read_text()
    assert 'num_classes=4' in config.read_text()


def test_an_edited_split_is_taken(write, new, quick, tmp_path):
    root = write('coco')
    new(root, '--out', 'mine')
    path = tmp_path / 'mine/labels/splits.csv'
    text = path.read_text()
    path.write_text(text.replace(',train', ',val', 3))
    new('--update', '--out', 'mine')
    content = json.loads((tmp_path / 'mine/labels/val.json').read_text())
    assert len(content['images']) == 5


def test_shares_drawn_once_do_not_outlive_a_split_of_the_data(
    write, new, quick, tmp_path
):
    root = write('folders')
    new(root, '--out', 'mine')
    assert (tmp_path / 'mine/labels/splits.csv').exists()
    for name in ('zero', 'one', 'two'):
        for index, path in enumerate(sorted((root / name).iterdir())):
            split = root / ('val' if index == 0 else 'train') / name
            split.mkdir(parents=True, exist_ok=True)
            path.rename(split / path.name)
        (root / name).rmdir()
    new('--update', '--out', 'mine')
    assert not (tmp_path / 'mine/labels/splits.csv').exists()


@pytest.mark.parametrize('word', ['valid', 'Val', ' val '])
def test_words_for_val_in_an_edited_split(write, create, look, tmp_path, word):
    project = create(write('coco', 5))
    path = project / 'labels/splits.csv'
    text = path.read_text().replace(',train', f',{word}', 2)
    path.write_bytes(b'\xef\xbb\xbf' + text.encode())  # as Excel saves it
    known = read_splits(path)
    assert sorted(known.values()) == ['train'] * 2 + ['val'] * 3
    assert len(look(tmp_path / 'data', known).data.samples) == 5


def test_another_word_in_an_edited_split(tmp_path):
    path = tmp_path / 'splits.csv'
    path.write_text('image,split\na.jpg,train\nb.jpg,\nc.jpg,vall\n')
    with pytest.raises(UserError, match="csv:4 names the split 'vall'"):
        read_splits(path)


def test_files_of_the_user_stay(write, new, quick, tmp_path):
    root = write('folders')
    new(root, '--out', 'mine')
    for name in ('labels/test.txt', 'report/notes.md'):
        (tmp_path / 'mine' / name).write_text('mine')
    before = (tmp_path / 'mine/labels/train.txt').read_text()
    shutil.rmtree(root / 'two')
    new('--update', '--out', 'mine')
    assert (tmp_path / 'mine/labels/train.txt').read_text() != before
    for name in ('labels/test.txt', 'report/notes.md'):
        assert (tmp_path / 'mine' / name).read_text() == 'mine'
    assert sorted(p.name for p in (tmp_path / 'mine').iterdir()) == sorted(
        ['README.md', 'import_mmvheat.py', 'labels', 'project.json', 'report']
        + [config_of(tmp_path / 'mine').name]
    )


def test_data_that_moved(write, new, quick, tmp_path):
    root = write('coco')
    new(root, '--out', 'mine')
    config = config_of(tmp_path / 'mine')
    root.rename(tmp_path / 'elsewhere')
    new(tmp_path / 'elsewhere', '--update', '--out', 'mine')
    assert config_of(tmp_path / 'mine') == config
    assert Config.fromfile(config).data_root == f'{tmp_path}/elsewhere/'


def test_update_of_what_is_no_project(new, tmp_path):
    with pytest.raises(UserError, match='holds no project to update'):
        new('--update', '--out', tmp_path)


def test_written_json_has_no_gaps_and_no_strays(tmp_path, new, quick):
    (tmp_path / 'data').mkdir()
    path = write_coco(tmp_path / 'data', make_scenes(12))
    content = json.loads(path.read_text())
    for entry in content['annotations']:
        entry['id'] *= 3
    path.write_text(json.dumps(content))
    new(tmp_path / 'data', '--out', 'mine')
    for name in ('train', 'val'):
        file = tmp_path / f'mine/labels/{name}.json'
        written = json.loads(file.read_text())
        images = [image['id'] for image in written['images']]
        assert images == list(range(1, len(images) + 1))
        numbers = [entry['id'] for entry in written['annotations']]
        assert numbers == list(range(1, len(numbers) + 1))
        for entry in written['annotations']:
            assert 1 <= entry['category_id'] <= 3
            assert entry['image_id'] in images
            assert entry['segmentation']


def test_ten_thousand_entries(tmp_path, new, quick):
    """Links to a few files, so that this tests the entries alone."""
    scenes = make_scenes(10)
    (tmp_path / 'data').mkdir()
    path = write_coco(tmp_path / 'data', scenes)
    content = json.loads(path.read_text())
    images, annotations = content['images'], content['annotations']
    for copy in range(1, 1000):
        for image in content['images'][:10]:
            number = copy * 10 + image['id']
            name = f'{number:05d}.jpg'
            source = tmp_path / 'data/images' / image['file_name']
            (tmp_path / 'data/images' / name).hardlink_to(source)
            images.append(dict(image, id=number, file_name=name))
        for entry in content['annotations'][:20]:
            annotations.append(
                dict(
                    entry,
                    id=copy * 20 + entry['id'],
                    image_id=copy * 10 + entry['image_id'],
                )
            )
    path.write_text(json.dumps(content))
    new(tmp_path / 'data', '--out', 'mine')
    counts = {}
    for name in ('train', 'val'):
        file = tmp_path / f'mine/labels/{name}.json'
        counts[name] = len(json.loads(file.read_text())['images'])
    assert sum(counts.values()) == 10_000
    with open(tmp_path / 'mine/report/findings.csv') as file:
        kinds = [row['kind'] for row in csv.DictReader(file)]
    assert kinds == ['same image twice'] * 9_990
    assert len((tmp_path / 'mine/report/report.md').read_text()) < 10_000


def test_sheet_shows_every_picture_whole():
    pictures = [np.full((h, w, 3), 10, 'u1') for h, w in ((90, 60), (50, 300))]
    sheet = make_sheet(pictures)
    dark = sheet[..., 0] == 10
    half = dark.shape[1] // 2
    side = dark[:, :half].any(1).sum()
    assert side == 400
    assert dark[:, :half].any(0).sum() == round(side * 60 / 90)
    assert dark[:, half:].any(0).sum() == side
    assert dark[:, half:].any(1).sum() == round(side * 50 / 300)
