"""The summary names the image sizes of any pipeline."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from mmvheat.engine.hooks.run_summary_hook import _image_size

MANY = [(480, 1333), (640, 1333), (800, 1333)]


@pytest.mark.parametrize(
    ('pipeline', 'expected'),
    [
        ([dict(type='PackInputs')], 'as in the files'),
        ([dict(type='Resize', scale=(64, 32))], 'Resize (64, 32)'),
        (
            [
                dict(
                    type='RandomChoice',
                    transforms=[
                        [dict(type='RandomChoiceResize', scales=MANY)],
                        [
                            dict(type='RandomCrop', crop_size=(384, 600)),
                            dict(type='RandomChoiceResize', scales=MANY),
                        ],
                    ],
                )
            ],
            'RandomChoiceResize (480, 1333) to (800, 1333), '
            'RandomCrop (384, 600)',
        ),
    ],
)
def test_image_size(pipeline, expected) -> None:
    dataset = dict(type='Any', pipeline=pipeline)
    for wrapped in (dataset, dict(type='RepeatDataset', dataset=dataset)):
        cfg = Config(dict(train_dataloader=dict(dataset=wrapped)))
        assert _image_size(cfg) == expected
