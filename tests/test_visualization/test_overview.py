"""One picture of what a vHeat has learned."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmvheat.visualization import heat, overview
from mmvheat.visualization.receptive_field import Field

CONFIGS = Path(__file__).parents[1] / 'test_tools/configs'


def test_curves_are_those_before_and_after_training():
    before, after = (
        [heat.compute_spectrum(np.full((8, 8, 2), k))] for k in (0.01, 0.5)
    )
    source = heat.place_point((9, 9), (64, 64), (8, 8))
    picture = np.full((64, 64, 3), 90, np.uint8)
    figure = overview.draw_overview(
        picture,
        source,
        source,
        'stage 1',
        (before, after),
        {name: Field(np.ones((16, 16))) for name in ('one', 'other')},
    )
    texts = [text.get_text() for text in figure.findobj() if _is_text(text)]
    assert {'one', 'other', 'stage 1', 'after training'} <= set(texts)
    (plot,) = (
        axes for axes in figure.findobj() if getattr(axes, 'lines', None)
    )
    dashed, solid = (line.get_ydata() for line in plot.lines)
    np.testing.assert_allclose(dashed, before[0].decay_rings[0])
    np.testing.assert_allclose(solid, after[0].decay_rings[0])


def _is_text(artist: object) -> bool:
    return hasattr(artist, 'get_text')


def test_command_names_every_field(run, checkpoint, image) -> None:
    config = CONFIGS / 'mask_rcnn.py'
    job = run(
        'vis_overview', config, checkpoint('mask_rcnn'), image,
        '--beside', CONFIGS / 'upernet.py', 'none', '--random', 1,
    )  # fmt: skip
    assert job.code == 0, job
    assert cv2.imread(str(job.out / 'overview.png')).std() > 10
    assert 'before training' in job.printed


@pytest.mark.parametrize(
    ('config', 'arguments', 'words'),
    [
        ('mask_rcnn', [], 'Give an image'),
        ('classifier', ['IMAGE'], 'does not return stage 2, but stage 4'),
    ],
)
def test_command_with_bad_input(run, image, config, arguments, words) -> None:
    arguments = [image for _ in arguments]
    job = run('vis_overview', CONFIGS / f'{config}.py', 'none', *arguments)
    assert words in job.error
    assert not job.out.exists()
