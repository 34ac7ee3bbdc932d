"""What the page shows, without a browser."""

from __future__ import annotations

import io
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvheat.visualization.layers import (
    PictureError,
)
from mmvheat.visualization.networks import (
    load_network,
)

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'tests/test_tools/configs'
RESTORER = ROOT / 'configs/quickstart/vheatir-n_graydn25_photographs.py'
TASKS = ('classifier', 'mask_rcnn', 'upernet')


def write(size=(60, 40), kind='PNG', **options) -> bytes:
    buffer = io.BytesIO()
    Image.new('RGB', size, (200, 30, 60)).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope='module')
def networks():
    found = {task: load_network(str(CONFIGS / f'{task}.py')) for task in TASKS}
    return found | {'restorer': load_network(str(RESTORER))}


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'GIF', 'BMP', 'WEBP'])
def test_images_are_decoded(exhibit, kind):
    image = exhibit.decode(write(kind=kind))
    assert image.shape == (40, 60, 3)
    assert np.abs(image[20, 30].astype(int) - (200, 30, 60)).max() < 12


def test_sixteen_bits_are_made_eight_and_transparency_is_left_out(exhibit):
    ramp = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, 'PNG')
    np.testing.assert_array_equal(
        exhibit.decode(buffer.getvalue()),
        (ramp // 256).astype(np.uint8)[..., None].repeat(3, -1),
    )
    buffer = io.BytesIO()
    Image.new('RGBA', (32, 32), (200, 30, 60, 0)).save(buffer, 'PNG')
    assert (exhibit.decode(buffer.getvalue()) == (200, 30, 60)).all()


def test_tiny_images_are_refused(exhibit):
    with pytest.raises(PictureError, match='too small, 1x40 pixels'):
        exhibit.decode(write((1, 40)))


def test_restorers_get_the_middle_of_large_images(exhibit):
    pixels = np.random.default_rng(0).integers(0, 255, (300, 900, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    side = exhibit.RESTORED_SIDE
    np.testing.assert_array_equal(
        exhibit.decode(buffer.getvalue(), is_cropped=True),
        pixels[(300 - side) // 2 :, (900 - side) // 2 :][:side, :side],
    )


def test_images_are_turned_the_way_the_camera_was(exhibit):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert exhibit.decode(write(kind='JPEG', exif=exif)).shape[:2] == (60, 40)


def test_large_images_are_made_smaller(exhibit):
    image = exhibit.decode(write((3000, 1500), 'JPEG'))
    assert image.shape[:2] == (320, 640)


def test_huge_images_are_refused_before_they_are_decoded(exhibit, monkeypatch):
    monkeypatch.setattr(exhibit, 'MAX_PIXELS', 1_000_000)
    with pytest.raises(PictureError, match='at most 1 million pixels'):
        exhibit.decode(write((1001, 1000)))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(PictureError, match='too large'):
        exhibit.decode(write())


@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'no image',
        b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n',
        b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        write()[:60],
        write(kind='PPM'),  # an image, but of a format that is not taken
    ],
)
def test_files_that_are_no_image_are_refused(exhibit, data):
    with pytest.raises(PictureError, match='upload a whole file of BMP'):
        exhibit.decode(data)


@pytest.mark.parametrize('task', TASKS)
def test_every_task_is_shown(exhibit, networks, task):
    shown = exhibit.Exhibit(networks[task])
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    view = shown.look(picture)
    assert view.sentence.endswith('.')
    assert view.prediction.std() > 0
    assert exhibit.show(view).shape == (512, 512, 3)
    spread = [shown.draw_heat(view, (0.5, 0.25), t, 1, 1, 0) for t in (0, 1)]
    assert spread[0].shape == spread[1].shape
    assert (spread[0] != spread[1]).any()
    # what does not exist is the last that does
    assert shown.draw_heat(view, (1, 1), 1, 9, 9, 999).std() > 0


def test_restoration_is_shown(exhibit, networks):
    shown = exhibit.Exhibit(networks['restorer'])
    picture = np.random.default_rng(0).integers(0, 255, (40, 48, 3), np.uint8)
    four = shown.look(picture)
    assert 'dB, SSIM' in four.sentence
    three = shown.look(picture, is_degraded=True)
    assert 'no clean image' in three.sentence
    assert three.prediction.shape[1] < 0.8 * four.prediction.shape[1]
    # taken as it is, and with noise
    gray = three.sample.picture.astype(float)
    noise = np.abs(four.sample.picture - gray).mean()
    assert np.abs(gray - picture.mean(-1, keepdims=True)).mean() < 60 > noise
    assert noise > 10
    assert exhibit.show(four).shape == (400, 480, 3)
    heat = [shown.draw_heat(four, (0.9, 0.5), 1, i, 1, 0) for i in (1, 2)]
    assert heat[0].std() > 0 and (heat[0] != heat[1]).any()
    assert shown.draw_field(four, 2).std() > 0


def test_features_and_field_are_shown(exhibit, networks):
    shown = exhibit.Exhibit(networks['mask_rcnn'])
    view = shown.look(np.zeros((40, 64, 3), np.uint8))
    assert shown.draw_features(view).std() > 0
    assert shown.draw_field(view, 2).std() > 0


def test_network_without_heat_says_so(exhibit, tmp_path):
    config = tmp_path / 'resnet.py'
    config.write_text(
        f"_base_ = '{CONFIGS}/classifier.py'\n"
        'model = dict(backbone=dict(_delete_=True, '
        "type='ResNet', depth=18), head=dict(in_channels=512))\n"
    )
    shown = exhibit.Exhibit(load_network(str(config)))
    view = shown.look(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(PictureError, match='no heat spreads'):
        shown.draw_heat(view, (0, 0), 1, 1, 1, 0)


def test_two_visitors_at_once_get_their_own(exhibit, networks):
    shown = exhibit.Exhibit(networks['classifier'])
    pictures = [np.full((64, 64, 3), v, np.uint8) for v in (10, 240)]
    alone = [shown.look(picture).sample.inputs for picture in pictures]
    found: dict[int, list] = {0: [], 1: []}

    def visit(visitor: int) -> None:
        for _ in range(3):
            view = shown.look(pictures[visitor])
            found[visitor].append(view.sample.inputs)

    threads = [threading.Thread(target=visit, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for visitor, views in found.items():
        assert len(views) == 3
        assert all((inputs == alone[visitor]).all() for inputs in views)


def test_page_without_gradio_says_how_to_get_it(app, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    monkeypatch.delitem(sys.modules, 'page', raising=False)
    with pytest.raises(app.UserError, match='make demo'):
        app.import_page()


def test_page_listens_on_this_machine_alone(app, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['app.py'])
    assert app.parse_args().host == '127.0.0.1'


def test_quickstart_is_trained_only_if_it_is_not_there(
    app, monkeypatch, tmp_path
):
    monkeypatch.setattr(app, 'ROOT', tmp_path)
    monkeypatch.setattr(sys, 'argv', ['app.py'])
    calls = []

    def train(command, cwd):
        calls.append(command[1])
        for _, run, _ in app.QUICKSTART.values():
            folder = tmp_path / 'work_dirs' / run
            folder.mkdir(parents=True)
            (folder / 'epoch_1.pth').touch()
            # the folder was moved since
            (folder / 'last_checkpoint').write_text('/gone/epoch_1.pth')
        return type('Done', (), dict(returncode=0))

    monkeypatch.setattr(app.subprocess, 'run', train)
    for _ in range(2):
        models = app.find_models(app.parse_args())
        assert len(models) == 3
        for config, checkpoint, _ in models.values():
            assert (RESTORER.parent / Path(config).name).is_file()
            assert Path(checkpoint).is_file()
    assert calls == [str(tmp_path / 'tools/quickstart.py')]
    run = tmp_path / 'work_dirs/vheatir-n_graydn25_photographs'
    run.mkdir()
    (run / 'iter_1.pth').touch()
    (run / 'last_checkpoint').write_text('iter_1.pth')
    models = app.find_models(app.parse_args())
    assert len(models) == 4
    assert Path(models.popitem()[1][0]).name == RESTORER.name
    monkeypatch.setattr(
        app.subprocess, 'run', lambda *_, **__: type('', (), {'returncode': 1})
    )
    (tmp_path / 'work_dirs/quickstart/upernet/epoch_1.pth').unlink()
    with pytest.raises(app.UserError, match='quickstart failed'):
        app.find_models(app.parse_args())
