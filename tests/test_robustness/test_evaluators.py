"""Classifiers are judged by the classes that count."""

from __future__ import annotations

import pytest
import torch

from mmvheat.errors import UserError
from mmvheat.robustness import ShapeBias, SubsetAccuracy


def make_sample(label=(0,), path: str = '', **scores: float) -> dict:
    """A prediction; ``c404=0.9`` is the score of class 404."""
    pred = torch.zeros(1000)
    for name, score in scores.items():
        pred[int(name[1:])] = score
    return dict(
        pred_score=pred, gt_label=torch.tensor(label), img_path=f'x/{path}'
    )


def test_classes_outside_the_subset_do_not_count() -> None:
    metric = SubsetAccuracy('a')
    # 6 and 11 are the first classes of ImageNet-A; 0 is none of them
    samples = [
        make_sample((6,), c0=0.9, c6=0.5, c11=0.4),  # right but for class 0
        make_sample((6,), c6=0.5, c11=0.6),  # wrong
    ]
    metric.process(None, samples)

    assert metric.evaluate(2) == {'accuracy/top1': 50.0}


def test_any_class_of_an_object_is_right() -> None:
    metric = SubsetAccuracy('objectnet')
    # an alarm clock is an analog (409) or a digital (530) clock
    samples = [make_sample((409, 530), **{f'c{i}': 1}) for i in (409, 530)]
    samples += [make_sample((409, 530), c954=1)]
    metric.process(None, samples)

    assert metric.evaluate(3)['accuracy/top1'] == pytest.approx(200 / 3)


def test_shape_bias_counts_decisions_for_one_of_the_cues() -> None:
    metric = ShapeBias()
    airplane, oven, cat = 'c404', 'c766', 'c281'
    samples = [
        make_sample(path='airplane1-oven2.png', **{airplane: 0.9}),
        make_sample(path='airplane2-oven1.png', **{airplane: 0.9}),
        make_sample(path='oven1-airplane3.png', **{oven: 0.9}),
        make_sample(path='oven7-airplane10.png', **{airplane: 0.9}),
        make_sample(path='oven7-airplane2.png', **{cat: 0.9}),  # neither
        make_sample(path='oven7-oven2.png', **{oven: 0.9}),  # no conflict
    ]
    metric.process(None, samples)

    # 3 for the shape, 1 for the texture, of 5 conflicts
    assert metric.evaluate(6) == pytest.approx(
        dict(shape_bias=75.0, shape_decisions=60.0, texture_decisions=20.0)
    )


def test_a_class_is_as_likely_as_the_mean_of_its_parts() -> None:
    metric = ShapeBias()
    # one elephant of two at 0.6 is less than the one airplane at 0.4
    sample = make_sample(path='airplane1-elephant1.png', c385=0.6, c404=0.4)
    metric.process(None, [sample])

    assert metric.evaluate(1)['shape_bias'] == 100


def test_a_name_without_cues_is_told() -> None:
    with pytest.raises(UserError, match='dog3.png does not name its shape'):
        ShapeBias().process(None, [make_sample(path='dog3.png')])
