"""tools/infer.py draws images of any task."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
import torch

CHECKPOINTS = dict(
    classifier='epoch_2.pth', mask_rcnn='epoch_1.pth', upernet='iter_6.pth'
)


@pytest.fixture
def infer(run_tool, trained, configs, tmp_path):
    """Run it on a path with the trained model of a config."""

    def run(name: str, source, *options: str):
        return run_tool(
            'infer.py',
            source,
            '--config',
            configs / f'{name}.py',
            '--checkpoint',
            trained(name).work_dir / CHECKPOINTS[name],
            '--out-dir',
            tmp_path / 'out',
            '--score-thr',
            '0.01',
            *options,
        )

    return run


@pytest.mark.parametrize('name', CHECKPOINTS)
def test_folder_is_drawn_with_its_sub_folders(
    infer, shapes, tmp_path, name
) -> None:
    images = tmp_path / 'images'
    (images / 'more').mkdir(parents=True)
    shutil.copy(shapes / 'val' / '000.jpg', images / 'first.jpg')
    shutil.copy(shapes / 'val' / '001.jpg', images / 'more' / 'second.JPG')
    (images / 'notes.txt').write_text('no image')
    job = infer(name, images)
    assert job.exit_code == 0, job.output
    out = tmp_path / 'out'
    drawn = cv2.imread(str(out / 'vis' / 'first.png'))
    assert drawn.std() > 0
    assert (out / 'vis' / 'more' / 'second.png').is_file()
    if name == 'upernet':
        labels = cv2.imread(str(out / 'label_maps' / 'first.png'), -1)
        assert labels.shape == (64, 64)
        assert labels.max() < 4
        return
    predictions = json.loads((out / 'predictions.json').read_text())
    assert sorted(predictions) == ['first.jpg', 'more/second.JPG']
    if name == 'classifier':
        prediction = predictions['first.jpg']
        assert prediction['pred_class'] in ('box', 'disc', 'stripe')
        assert prediction['pred_score'] == max(prediction['pred_scores'])
    else:
        boxes = np.array(predictions['first.jpg']['bboxes'])
        assert boxes.shape[1] == 4


def test_equal_stems_and_pictures_of_an_earlier_run(
    infer, shapes, tmp_path
) -> None:
    image = cv2.imread(str(shapes / 'val' / '000.jpg'))
    for name in ('a.jpg', 'a.png'):
        cv2.imwrite(str(tmp_path / name), image)
    for _ in range(2):
        job = infer('classifier', tmp_path)
        assert job.exit_code == 0, job.output
        assert '2 images drawn' in job.output
    drawn = {path.name for path in (tmp_path / 'out/vis').iterdir()}
    assert drawn == {'a.jpg.png', 'a.png.png'}
    job = infer('classifier', tmp_path / 'out/vis')  # as was asked for
    assert '2 images drawn' in job.output
    for name in ('a.jpg', 'a.png'):
        (tmp_path / name).unlink()
    job = infer('classifier', tmp_path)
    assert job.exit_code == 1
    assert 'no image but those drawn into' in job.output


def test_detector_without_masks(infer, shapes, tmp_path) -> None:
    job = infer(
        'mask_rcnn',
        shapes / 'val',
        '--cfg-options',
        'model.roi_head.mask_head=None',
        'model.roi_head.mask_roi_extractor=None',
    )
    assert job.exit_code == 0, job.output
    assert '5/5' in job.output  # the progress bar
    predictions = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert len(predictions) == 5
    assert all('masks' not in value for value in predictions.values())
    photo = cv2.imread(str(shapes / 'val' / '000.jpg'))
    drawn = cv2.imread(str(tmp_path / 'out' / 'vis' / '000.png'))
    assert drawn.shape == photo.shape
    assert not np.array_equal(drawn, photo)


def test_checkpoint_that_is_none(infer, shapes, tmp_path) -> None:
    junk = tmp_path / 'junk.pth'
    junk.write_text('no checkpoint')
    job = infer('upernet', shapes / 'val', '--checkpoint', junk)
    assert 'junk.pth' in job.error
    assert not (tmp_path / 'out').exists()


def test_single_image(infer, shapes, tmp_path) -> None:
    job = infer('upernet', shapes / 'val' / '002.jpg')
    assert job.exit_code == 0, job.output
    assert (tmp_path / 'out' / 'vis' / '002.png').is_file()


def test_unreadable_image_is_left_out_and_named(
    infer, shapes, tmp_path
) -> None:
    images = tmp_path / 'images'
    images.mkdir()
    shutil.copy(shapes / 'val' / '000.jpg', images)
    (images / 'broken.png').write_bytes(b'')
    job = infer('upernet', images)
    assert '1 of 2 images' in job.error
    assert 'broken.png' in job.error
    assert (tmp_path / 'out' / 'vis' / '000.png').is_file()


@pytest.mark.parametrize('kind', ['missing', 'empty'])
def test_no_image_at_all(infer, tmp_path, kind) -> None:
    if kind == 'empty':
        (tmp_path / kind).mkdir()
    assert str(tmp_path / kind) in infer('upernet', tmp_path / kind).error


def test_checkpoint_of_other_classes(infer, shapes) -> None:
    option = 'model.decode_head.num_classes=7'
    job = infer('upernet', shapes / 'val', '--cfg-options', option)
    assert 'size mismatch for decode_head.conv_seg.weight' in job.error


def test_label_map_of_many_classes(infer, trained, shapes, tmp_path) -> None:
    path = trained('upernet').work_dir / CHECKPOINTS['upernet']
    content = torch.load(path, weights_only=False)
    for name, value in content['state_dict'].items():
        if 'conv_seg' in name:  # class 299 has the largest bias
            shape = (300, *value.shape[1:])
            content['state_dict'][name] = torch.zeros(shape)
    content['state_dict']['decode_head.conv_seg.bias'][299] = 1
    torch.save(content, tmp_path / 'many.pth')
    job = infer(
        *('upernet', shapes / 'val' / '000.jpg'),
        *('--checkpoint', tmp_path / 'many.pth', '--cfg-options'),
        'model.decode_head.num_classes=300',
        'model.auxiliary_head.num_classes=300',
    )
    assert job.exit_code == 0, job.output
    labels = cv2.imread(str(tmp_path / 'out/label_maps/000.png'), -1)
    assert (labels == 299).all()


def test_device_that_is_not_there(infer, shapes) -> None:
    job = infer('upernet', shapes / 'val', '--device', 'cuda:99')
    assert job.exit_code == 2
    assert 'cuda:99 is no device of this machine' in job.output
