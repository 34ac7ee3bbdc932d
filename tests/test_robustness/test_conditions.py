"""Options become tests; what decides on a result marks it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, TRANSFORMS

import mmvheat.robustness  # noqa: F401
from mmvheat.commands.config import enable_test_amp
from mmvheat.datasets.imagenet_variants import class_indices
from mmvheat.errors import UserError
from mmvheat.ops.versions import get_autocast_dtype, set_autocast_dtype
from mmvheat.robustness.conditions import fingerprint, list_conditions
from mmvheat.robustness.transforms import BENCHMARK, SEVERITIES


def make_config(library: str, *steps: str | type) -> Config:
    """A config that tests, with a pipeline of these steps."""
    pipeline = [dict(type=step) for step in steps]
    dataset = dict(type='Data', data_root='own', pipeline=pipeline)
    return Config(
        dict(
            default_scope=library,
            model=dict(type='Model'),
            test_dataloader=dict(dataset=dataset),
            test_evaluator=dict(type='Own'),
            test_cfg=dict(),
        )
    )


CLASSIFIER = ('LoadImageFromFile', 'ResizeEdge', 'CenterCrop', 'PackInputs')
DETECTOR = ('LoadImageFromFile', 'Resize', 'LoadAnnotations', 'PackDetInputs')
SPEC = dict(conditions='corruptions')
FILTERED = dict(conditions='filters', radii=(1, 2))
FOLDERS = dict(
    conditions='folders',
    dataset=dict(type='Files', data_root='c', pipeline=[]),
    evaluator=dict(type='Theirs'),
)


def make_data(**spec) -> Config:
    return Config(spec, filename=__file__)


def steps_of(condition) -> list[str]:
    return [s['type'] for s in condition.loader.dataset.pipeline]


def test_clean_comes_first_and_the_fifteen_follow_at_all_severities() -> None:
    cfg = make_config('mmpretrain', *CLASSIFIER)
    conditions = list_conditions(cfg, make_data(**SPEC))
    pairs = [(c.name, c.severity) for c in conditions]

    assert pairs[0] == ('clean', 0)
    assert pairs[1:] == [(n, s) for n in BENCHMARK for s in SEVERITIES]
    assert steps_of(conditions[0]) == list(CLASSIFIER)


@pytest.mark.parametrize(
    ('library', 'steps', 'place'),
    [('mmpretrain', CLASSIFIER, 3), ('mmdet', DETECTOR, 1)],
)
def test_images_are_corrupted_where_papers_do_it(
    library: str, steps: tuple, place: int
) -> None:
    cfg = make_config(library, *steps)
    *_, last = list_conditions(
        cfg, make_data(**SPEC), corruptions=['weather'], severities=[2.0]
    )

    step = last.loader.dataset.pipeline[place]
    assert step == dict(
        type='CorruptImage', corruption='brightness', severity=2
    )
    rest = steps_of(last)
    del rest[place]
    assert rest == list(steps)


def test_types_may_be_classes_as_in_configs_in_python() -> None:
    class PackInputs: ...

    cfg = make_config('mmpretrain', 'mmcv.transforms.Resize', PackInputs)
    *_, last = list_conditions(cfg, make_data(**SPEC))

    *_, step, packed = last.loader.dataset.pipeline
    assert (step.type, packed.type) == ('CorruptImage', PackInputs)


def test_files_are_read_by_corruption_and_severity() -> None:
    cfg = make_config('mmpretrain', *CLASSIFIER)
    clean, *others = list_conditions(
        cfg, make_data(**FOLDERS), 'else', ['fog', 'snow'], [1, 5]
    )

    roots = [c.loader.dataset.data_root for c in others]
    assert roots == ['else/fog/1', 'else/fog/5', 'else/snow/1', 'else/snow/5']
    assert clean.loader.dataset.data_root == 'own'
    assert clean.evaluator.type == 'Own'
    assert others[0].evaluator.type == 'Theirs'


def test_another_data_set_keeps_the_pipeline_of_the_model() -> None:
    cfg = make_config('mmpretrain', *CLASSIFIER)
    data = make_data(
        conditions='clean',
        dataset=dict(type='Sketch', data_root='s'),
        evaluator=dict(type='Theirs'),
        after_loading=[dict(type='CropBorder', width=2)],
    )
    (condition,) = list_conditions(cfg, data)

    assert condition.loader.dataset.type == 'Sketch'
    assert steps_of(condition) == [
        *('LoadImageFromFile', 'CropBorder'),
        *CLASSIFIER[1:],
    ]
    assert steps_of(list_conditions(cfg, make_data(**SPEC))[0]) == [
        *CLASSIFIER
    ]


def test_radii_of_filters_are_free() -> None:
    cfg = make_config('mmdet', *DETECTOR)
    data = make_data(**FILTERED)
    _, *conditions = list_conditions(cfg, data)

    keys = [c.key for c in conditions]
    assert keys == ['low_pass_1', 'low_pass_2', 'high_pass_1', 'high_pass_2']
    *_, last = list_conditions(cfg, data, severities=[12.5])
    assert last.loader.dataset.pipeline[1].radius == 12.5


@pytest.mark.parametrize(
    ('spec', 'options', 'sentence'),
    [
        (SPEC, dict(corruptions=['fogg']), 'fogg is not known; .*weather'),
        (SPEC, dict(severities=[0, 6]), '--severities 0 6 is not among'),
        (FILTERED, dict(severities=[0, 4]), '--severities 0 is no radius'),
        (SPEC, dict(data_root='x'), 'takes the test images of the config'),
        (dict(SPEC, library='mmseg'), {}, 'tests models of mmseg, but'),
    ],
)
def test_what_does_not_fit_is_told(spec, options, sentence) -> None:
    cfg = make_config('mmdet', *DETECTOR)
    with pytest.raises(UserError, match=sentence):
        list_conditions(cfg, make_data(**spec), **options)


def test_a_result_is_marked_by_weights_model_and_images() -> None:
    cfg = make_config('mmpretrain', *CLASSIFIER)
    first, second, *_ = list_conditions(cfg, make_data(**SPEC))
    mark = fingerprint(cfg, first, 'abc')

    assert mark == fingerprint(copy.deepcopy(cfg), first, 'abc')
    assert mark != fingerprint(cfg, second, 'abc')
    assert mark != fingerprint(cfg, first, 'abd')
    first.loader.batch_size = 7  # changes nothing that is measured
    assert mark == fingerprint(cfg, first, 'abc')
    cfg.model.depth = 3
    assert mark != fingerprint(cfg, first, 'abc')


def test_a_result_is_marked_by_its_precision(monkeypatch) -> None:
    cfg = make_config('mmpretrain', *CLASSIFIER)
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    first, *_ = list_conditions(cfg, make_data(**SPEC))
    marks = {fingerprint(cfg, first, 'abc')}
    before = get_autocast_dtype('cuda')
    try:
        for dtype in ('bf16', 'fp16'):
            enable_test_amp(cfg, dtype)
            marks.add(fingerprint(cfg, first, 'abc'))
    finally:
        set_autocast_dtype('cuda', before)
    assert len(marks) == 3


FILES = sorted(
    Path(__file__).parents[2].glob('configs/robustness/datasets/*.py')
)


@pytest.mark.parametrize('path', FILES, ids=[path.stem for path in FILES])
def test_every_data_config_gives_tests_that_can_be_built(path: Path) -> None:
    data = Config.fromfile(path)
    cfg = make_config(data.get('library', 'mmpretrain'), *CLASSIFIER)
    conditions = list_conditions(cfg, data)

    number = dict(clean=1, corruptions=76, folders=76, filters=15)
    assert len(conditions) == number[data.conditions]
    last = conditions[-1]
    if 'dataset' in data:
        assert last.loader.dataset.data_root.startswith(f'data/{path.stem}')
        assert DATASETS.get(last.loader.dataset.type)
        METRICS.build(last.evaluator)
        assert class_indices(last.loader.dataset.variant)
    for step in last.loader.dataset.pipeline:
        if step.type not in CLASSIFIER:
            TRANSFORMS.build(step)
