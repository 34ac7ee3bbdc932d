"""Variants are trained where that is not done, and what is done is told."""

from __future__ import annotations

import pickle
import runpy
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from PIL import Image

from mmvheat.analysis import comparison, trials
from mmvheat.commands.config import load_config
from mmvheat.errors import UserError
from mmvheat.evaluation.untrained import measure_noisy, measure_opencv

ROOT = Path(__file__).parents[2]
PROPAGATORS = ROOT / 'configs/comparisons/propagators.py'
RESTORERS = ROOT / 'configs/comparisons/restorers.py'


class Process:
    """What runs in another process runs in this one, from a pickle."""

    def __init__(self, target, args):
        self.args = pickle.dumps(args)
        self.target = target

    def start(self):
        try:
            self.target(*pickle.loads(self.args))
        except RuntimeError:
            self.exitcode = 1
        else:
            self.exitcode = 0

    def join(self):
        pass


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Run the tool on a file, into ``out``."""

    def run(path: Path, *args: str) -> None:
        tool = ROOT / 'tools/analysis_tools/compare_variants.py'
        given = [str(tool), str(path), '--out-dir', 'out', *args]
        monkeypatch.setattr(sys, 'argv', given)
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(tool))['main']()

    return run


@pytest.fixture
def tool(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SimpleNamespace:
    """The tool, training nothing in truth.

    ``configs`` are those it trains, ``fails`` whether they do, and ``scores``
    what they reach.
    """
    tool = SimpleNamespace(configs=[], fails=False, scores=iter(range(50, 99)))

    def train() -> None:
        if tool.fails:
            raise RuntimeError('out of luck')

    def build(cfg):
        tool.configs.append(cfg)
        found = {'accuracy/top1': float(next(tool.scores)), 'loss': 0.25}
        return SimpleNamespace(
            train=train, test=lambda: found, model=torch.nn.Linear(1000, 3)
        )

    (tmp_path / 'data/digit_scenes').mkdir(parents=True)
    context = SimpleNamespace(Process=Process, set_forkserver_preload=print)
    processes = SimpleNamespace(
        get_context=lambda _: context, get_all_start_methods=list
    )
    monkeypatch.setattr(trials, 'multiprocessing', processes)
    monkeypatch.setattr(trials.os, 'dup2', lambda *_: None)
    monkeypatch.setattr(trials, 'RUNNERS', SimpleNamespace(build=build))
    tool.run = lambda *args: run(PROPAGATORS, *args)
    return tool


def read_cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_every_variant_is_trained_with_every_seed_once(
    tool: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tool.run('--variants', 'heat', 'wave', '--seeds', '0', '1', '2')
    assert len(tool.configs) == 6
    seeds = sorted(cfg.randomness.seed for cfg in tool.configs)
    assert seeds == [0, 0, 1, 1, 2, 2]
    tool.run('--variants', 'heat', 'wave')
    assert len(tool.configs) == 6  # all was done
    table = (tmp_path / 'out/comparison.md').read_text()
    assert table in capsys.readouterr().out
    _, _, heat, wave = table.splitlines()
    scores = [50, 52, 54]
    assert read_cells(heat)[:-3] == [
        'heat, k predicted from the FVE',
        '3,003',
        f'{statistics.mean(scores):.1f}',
        f'{statistics.stdev(scores):.1f}',
        *('50.0', '54.0', '0.2500'),
    ]
    assert read_cells(heat)[-2] == '3'
    assert 'damped wave' in wave
    picture = Image.open(tmp_path / 'out/comparison.png')
    assert picture.width > 600


def test_runs_of_other_settings_are_repeated_and_not_mixed(
    tool: SimpleNamespace, tmp_path: Path
) -> None:
    tool.run('--variants', 'k1', '--seeds', '0', '1')
    shorter = ['--cfg-options', 'train_cfg.max_epochs=1']
    for _ in range(2):
        tool.run('--variants', 'k1', '--seeds', '0', *shorter)

    assert [cfg.model.backbone.k for cfg in tool.configs] == [1, 1, 1]
    assert [cfg.train_cfg.max_epochs for cfg in tool.configs] == [2, 2, 1]
    *_, k1 = (tmp_path / 'out/comparison.md').read_text().splitlines()
    assert read_cells(k1)[2:6] == ['52.0', '', '', '']
    assert read_cells(k1)[-2] == '1'


def test_failed_runs_are_told_and_not_taken(
    tool: SimpleNamespace, tmp_path: Path
) -> None:
    tool.fails = True
    with pytest.raises(UserError, match='k5, seed 7, .* exit code 1'):
        tool.run('--variants', 'k5', '--seeds', '7')
    assert not (tmp_path / 'out/k5_7/result.json').exists()


def test_table_says_how_long_and_on_what() -> None:
    def make_run(psnr: float, seconds: float, device: str) -> dict:
        return dict(
            metrics=dict(SSIM=0.8, PSNR=psnr),
            parameters=1234,
            seconds=seconds,
            device=device,
        )

    rows = [
        ('OpenCV', [dict(metrics=dict(PSNR=29, SSIM=0.79))]),
        ('heat', [make_run(30.0, 50, 'one'), make_run(31.0, 70, 'two')]),
    ]

    table = comparison.make_scores_table(rows, 'PSNR', digits=2)

    _, _, opencv, heat = map(read_cells, table.splitlines())
    others = ['', '', '', '0.7900', '', '', '']
    assert opencv == ['OpenCV', '', '29.00', *others]
    assert heat == (
        ['heat', '1,234', '30.50', '0.71', '30.00', '31.00', '0.8000']
        + ['60', '2', 'one; two']
    )


def make_configs(path: Path) -> dict:
    return comparison.make_configs(comparison.read_comparison(str(path)), {})


def test_every_law_is_a_config_that_builds() -> None:
    pytest.importorskip('mmpretrain')
    expected = dict(
        fractional='FractionalHeatPropagator',
        tail='TailPropagator',
        wave='DampedWavePropagator',
    )
    cfgs = make_configs(PROPAGATORS)
    assert len(cfgs) == 9
    for name, cfg in cfgs.items():
        backbone = MODELS.build(cfg.model.backbone)
        propagator = type(backbone.layers[0][0].op.propagator).__name__
        assert propagator == expected.get(name, 'HeatPropagator'), name


@pytest.mark.parametrize(
    ('name', 'size'),
    [
        ('heat', 72_321),
        ('flat', 72_321),
        # without the FVE and what predicts k from it
        ('k0', 72_321 - 16 * 16 * 32 - 4 * (32**2 + 32)),
        pytest.param('swin', 72_321, marks=pytest.mark.slow),
        ('dncnn', 72_321),
        ('cnn', 72_321),
    ],
)
def test_networks_are_as_large(name: str, size: int) -> None:
    network = MODELS.build(make_configs(RESTORERS)[name].model.network)

    count = sum(p.numel() for p in network.parameters())
    assert count == pytest.approx(size, rel=0.03)


MINE = """
base = {base!r}
metric = dict(name='accuracy/top1', digits=1, label='top-1 (%)')
data = dict(type='my_functions.make', root='made', text='by a function')
references = [dict(type='my_functions.guess', classes=4)]
settings = {{
    'train_cfg.max_epochs': 1,
    'custom_imports.imports': ['mmvheat.engine', 'my_functions'],
    'custom_hooks': [dict(type='LeaveMark')],
}}
_no_test = dict(test_dataloader=None, test_cfg=None, test_evaluator=None)
variants = dict(
    tested=dict(title='tested'),
    validated=dict(title='validated', options=_no_test),
    broken=dict(title='broken', options={{'model.head.num_classes': 2}}),
)
"""
FUNCTIONS = """
from pathlib import Path
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class LeaveMark(Hook):
    def after_train(self, runner):
        Path(runner.work_dir, 'mark').touch()

def make(root, text):
    Path(root).mkdir()
    Path(root, 'README').write_text(text)

def guess(cfg, metric, classes):
    return f'{cfg.model.type} guesses', {metric: 100 / classes}
"""


def test_variants_of_any_config_are_compared(
    run: Callable,
    configs: Path,
    shapes: Path,
    server: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('SHAPES', str(shapes))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'my_functions.py').write_text(FUNCTIONS)
    mine = tmp_path / 'mine.py'
    mine.write_text(MINE.format(base=str(configs / 'classifier.py')))
    options = ['--seeds', '5', '--jobs', '2']

    run(mine, '--variants', 'tested', 'validated', *options)

    table = (tmp_path / 'out/comparison.md').read_text()
    _, _, guess, tested, validated = map(read_cells, table.splitlines())
    assert guess[:3] == ['ImageClassifier guesses', '', '25.0']
    assert tested[:2] == ['tested', validated[1]]
    assert tested[2] == validated[2]  # on the same images
    assert float(tested[2]) in (0, 20, 40, 60, 80, 100)
    assert (tmp_path / 'made/README').read_text() == 'by a function'
    assert (tmp_path / 'out/validated_5/mark').exists()

    with pytest.raises(UserError, match='broken, seed 5, .* exit code 1 '):
        run(mine, '--variants', 'broken', *options)
    log = (tmp_path / 'out/broken_5/log.txt').read_text()
    assert 'Traceback' in log


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            dict(metric=None),
            'mine.py sets base, variants, expected are base, ',
        ),
        (dict(setting={}), 'sets base, metric, variants, setting, expected'),
        (dict(metric=dict(name='x', digits=1)), 'metric in .* sets name, dig'),
        (dict(variants=dict(a=dict())), 'a in .* sets nothing, .* are title '),
        (dict(variants={}), 'must be a dict from names to titles'),
        (dict(variants=['a']), r"but are \['a'\]"),
        (dict(data=dict(type='x')), 'data in .* sets type, .* are type, root'),
        (dict(base='no.py'), 'no.py does not exist; give the path'),
        (dict(settings={'model.type.x': 1}), "settings {'model.type.x': 1} d"),
        (dict(variants=dict(b=dict(title='b'))), 'mine.py has no variant a; '),
    ],
)
def test_faults_of_a_comparison_are_told(
    run: Callable, tmp_path: Path, change: dict, message: str
) -> None:
    values = dict(
        base=str(
            ROOT / 'configs/quickstart/vheatir-n_graydn25_photographs.py'
        ),
        metric=dict(name='x', digits=1, label='x'),
        variants=dict(a=dict(title='a')),
    )
    lines = [
        f'{name} = {value!r}\n'
        for name, value in {**values, **change}.items()
        if value is not None
    ]
    (tmp_path / 'mine.py').write_text(''.join(lines))

    with pytest.raises(UserError, match=message):
        run(tmp_path / 'mine.py', '--variants', 'a')


def test_a_metric_that_is_not_there_is_told(
    tool: SimpleNamespace, run: Callable, tmp_path: Path
) -> None:
    text = PROPAGATORS.read_text().replace("'..", f"'{ROOT}/configs")
    mine = tmp_path / 'mine.py'
    for name in ('accuracy/top5', 'loss'):
        mine.write_text(text.replace('accuracy/top1', name))
        if name == 'loss':
            run(mine, '--variants', 'heat', '--seeds', '0')
            continue
        with pytest.raises(UserError, match='results of heat: accuracy/top1'):
            run(mine, '--variants', 'heat', '--seeds', '0')

    assert len(tool.configs) == 1  # what had run was not repeated


def test_opencv_is_measured_at_its_best_h(tmp_path: Path) -> None:
    skimage = pytest.importorskip('skimage.metrics')
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:40, :50]
    pairs = []
    for i in range(2):
        clean = 128 + 50 * np.sin(x / (5 + i)) + 40 * (y > 20)
        noisy = clean + generator.normal(0, 20, clean.shape)
        pair = [
            image.clip(0, 255).astype(np.uint8) for image in (clean, noisy)
        ]
        for name, image in zip(('clean', 'noisy'), pair):
            (tmp_path / name).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name / f'{i}.png'), image)
        pairs.append(pair)
    cfg = load_config(comparison.read_comparison(str(RESTORERS))['base'])
    cfg.test_dataloader.dataset.update(
        data_root=str(tmp_path),
        data_prefix=dict(img_path='clean', lq_path='noisy'),
        pipeline=[
            dict(type='LoadPhotograph', color='gray'),
            dict(type='PackRestoration'),
        ],
    )

    def psnr(h: int = 0) -> float:
        return statistics.mean(
            skimage.peak_signal_noise_ratio(
                clean, cv2.fastNlMeansDenoising(noisy, h=h) if h else noisy
            )
            for clean, noisy in pairs
        )

    title, noisy = measure_noisy(cfg, 'test/PSNR')
    assert (title, noisy['clean/PSNR']) == ('noisy', pytest.approx(psnr()))

    strengths = [3, 24, 90]
    title, found = measure_opencv(cfg, 'clean/PSNR', strengths)
    best = max(strengths, key=psnr)
    assert best == 24
    assert title == 'OpenCV, non-local means, h = 24'
    assert found.keys() == {'clean/PSNR', 'clean/SSIM'}
    assert found['clean/PSNR'] == pytest.approx(psnr(24))
