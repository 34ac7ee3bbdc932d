"""``mmvheat infer`` keeps what it has found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmvheat.commands import infer
from mmvheat.errors import UserError

CONFIG = (
    Path(__file__).parents[2]
    / 'configs/quickstart/mask-rcnn_vheat-n_fpn_2e_digit-scenes.py'
)


@pytest.fixture
def draw(tmp_path, monkeypatch):
    """Run it on three images, on one of which a predictor fails."""
    for name in ('a.png', 'b.png', 'c.png'):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / 'weights.pth').write_bytes(b'')

    def draw(failure: BaseException, out: str = 'out') -> dict:
        def predict(path: str) -> tuple[np.ndarray, dict]:
            if path.endswith('b.png'):
                raise failure
            return np.zeros((8, 8, 3), np.uint8), dict(labels=[])

        monkeypatch.setattr(infer, 'make_predictor', lambda *a, **k: predict)
        arguments = ['infer', tmp_path, '--config', CONFIG, '--checkpoint']
        arguments += [tmp_path / 'weights.pth', '--out-dir', tmp_path / out]
        monkeypatch.setattr(sys, 'argv', list(map(str, arguments)))
        infer.main()

    return draw


def test_predictions_of_an_interrupted_run_are_written(draw, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        draw(KeyboardInterrupt())
    predictions = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert list(predictions) == ['a.png']


def test_image_that_cannot_be_resized_is_left_out(draw, tmp_path) -> None:
    pixels = np.zeros((9000, 1, 3), np.uint8)
    with pytest.raises(cv2.error) as failure:  # what imrescale asks for
        cv2.resize(pixels, (0, 192))
    with pytest.raises(UserError, match=r'1 of 3 images .*b\.png'):
        draw(failure.value)
    predictions = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert list(predictions) == ['a.png', 'c.png']


def test_other_errors_of_opencv_keep_their_traceback(draw) -> None:
    with pytest.raises(cv2.error) as failure:
        cv2.cvtColor(np.zeros((8, 8), np.uint8), cv2.COLOR_RGB2GRAY)
    with pytest.raises(cv2.error):
        draw(failure.value)


def test_out_dir_that_is_a_file(draw, tmp_path) -> None:
    with pytest.raises(UserError, match='--out-dir'):
        draw(AssertionError('nothing is to be predicted'), 'weights.pth')
