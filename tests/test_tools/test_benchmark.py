"""The benchmark measures in turn and computes what its tables say."""

from __future__ import annotations

import json
import runpy
import sys
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'analysis_tools' / 'benchmark'
sys.path.insert(0, str(TOOL.parent))

from benchmark import against, cli, run, timing  # noqa: E402
from benchmark.networks import build  # noqa: E402
from benchmark.report import make_markdown  # noqa: E402
from benchmark.step import Size, Step  # noqa: E402
from benchmark.timing import (  # noqa: E402
    compare_speed,
    time_interleaved,
)

from mmvheat.errors import UserError  # noqa: E402


@pytest.fixture(scope='module')
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the tool on tiny images."""
    folder = tmp_path_factory.mktemp('run') / 'out'
    args = cli.parse_args(
        '--models vheat-n resnet-50 --peer resnet-50 --repeats 3 '
        '--sizes 2x32x32 1x64x64 --dtypes fp32 --device cpu '
        f'--out-dir {folder}'.split()
    )
    with pytest.MonkeyPatch.context() as patch:
        quick = partial(time_interleaved, min_seconds=0)
        patch.setattr(timing, 'time_interleaved', quick)
        run.Benchmark(args).run()
    return folder


@pytest.fixture
def report(finished: Path) -> dict:
    """What that run measured."""
    return json.loads((finished / 'benchmark.json').read_text())


def test_measures_every_network_in_every_case(report: dict) -> None:
    found = [(r['mode'], r['size'], r['model']) for r in report['results']]

    models = ('vheat-n', 'resnet-50')
    sizes = ('2x32x32', '1x64x64')
    assert found == list(product(('eval', 'train'), sizes, models))
    assert all(len(row['seconds']) == 3 for row in report['results'])


def test_figures_follow_from_the_times(report: dict) -> None:
    first, second = report['results'][:2]

    assert first['ms'] == pytest.approx(1e3 * sorted(first['seconds'])[1])
    ratios = [b / a for a, b in zip(first['seconds'], second['seconds'])]
    assert first['speed'][1] == pytest.approx(sorted(ratios)[1])
    assert second['speed'] == [1, 1, 1]


def test_tables_of_a_cpu_have_ratios_and_no_times(finished: Path) -> None:
    text = (finished / 'benchmark.md').read_text()

    assert '## Training, fp32' in text
    assert '| Peer ' in text
    assert 'CPU: ' in text
    assert 'family' in text
    assert f'torch {torch.__version__}' in text
    assert 'Command: `python ' in text
    assert 'Images/s' not in text
    assert '| ms' not in text


def test_tables_of_a_gpu_have_times_and_memory(report: dict) -> None:
    for row in report['results']:
        row.update(ms=20.0, memory=3e9)

    text = make_markdown(dict(report, device='cuda'))

    row = next(line for line in text.splitlines() if '| 2x32x32' in line)
    cells = [cell.strip() for cell in row.split('|')]
    assert cells[6:9] == ['20', '100', '3.00']


def test_leaves_a_picture_and_nothing_unfinished(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        'benchmark.json',
        'benchmark.md',
        'speed.png',
    }
    assert (finished / 'speed.png').read_bytes().startswith(b'\x89PNG')


def test_every_round_runs_everything_from_another_start() -> None:
    calls = []

    def make_timer(name: str, seconds: float):
        def time(count: int) -> float:
            calls.append((name, count))
            return seconds

        return time

    timers = {n: make_timer(n, s) for n, s in zip('abc', (0.3, 1, 2))}

    seconds = time_interleaved(timers, 4, min_seconds=1)

    assert calls[:3] == [('a', 1), ('b', 1), ('c', 1)]
    order = ''.join(name for name, _ in calls[3:])
    assert order == 'abc' + 'bca' + 'cab' + 'abc'
    assert dict(calls[3:]) == {'a': 4, 'b': 1, 'c': 1}
    assert seconds == {'a': [0.3] * 4, 'b': [1] * 4, 'c': [2] * 4}


def test_speed_is_compared_round_by_round() -> None:
    # The machine slowed down in the last two rounds.
    assert compare_speed([1, 1, 1, 4, 2], [2, 2, 2, 8, 8]) == (2, 2, 2)


@pytest.mark.parametrize(
    ('label', 'peer'),
    [
        ('vheat-t', 'swin-t'),
        ('vheat-t+compile', 'swin-t+compile'),
        ('mask-rcnn_vheat-t_fpn_1x_coco', 'mask-rcnn_swin-t_fpn_1x_coco'),
        ('upernet_vheat-t_8xb2', None),
    ],
)
def test_peer_runs_the_same_way(label: str, peer: str | None) -> None:
    labels = ['vheat-t', 'swin-t', 'swin-t+compile']
    labels += ['mask-rcnn_swin-t_fpn_1x_coco', label]

    assert run.find_peer(label, labels, 'swin-t') == peer


def test_peer_may_be_a_variant() -> None:
    labels = ['vheat-t', 'vheat-t+plain']
    assert run.find_peer('vheat-t', labels, 'vheat-t+plain') == labels[1]


def test_training_step_computes_gradients_and_drops_them() -> None:
    network = build('vheat-n')
    step = Step(network, 'train', 'fp32', Size(1, 32, 32))
    seen = []
    weight = next(network.parameters())
    weight.register_post_accumulate_grad_hook(
        lambda p: seen.append(p.grad.abs().sum().item())
    )

    step()

    assert network.training
    assert seen[0] > 0
    assert weight.grad is None


def test_half_precision_of_weights_or_by_autocast() -> None:
    network = build('vheat-n')
    for dtype, weights in (
        ('bf16-weights', torch.bfloat16),
        ('bf16', torch.float32),
    ):
        step = Step(network, 'eval', dtype, Size(1, 32, 32))
        assert {p.dtype for p in network.parameters()} == {weights}
        with torch.no_grad():
            assert step.forward()[0].dtype == weights


@pytest.mark.parametrize('name', ['mask_rcnn', 'upernet', 'classifier'])
def test_whole_models_run_in_bfloat16(
    name: str, configs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('SHAPES', 'nowhere')
    network = build(str(configs / f'{name}.py'))

    loss = Step(network, 'train', 'bf16', Size(1, 64, 64)).forward()
    assert loss.isfinite()
    assert loss.requires_grad
    with torch.no_grad():
        results = Step(network, 'eval', 'bf16', Size(1, 64, 64)).forward()
    assert len(results) == 1


def test_missing_library_costs_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, 'mmpretrain.models', None)

    benchmark = run.Benchmark(
        cli.parse_args(
            ['--models', 'vheat-n', 'convnext-t', '--out-dir', str(tmp_path)]
        )
    )

    assert list(benchmark.networks) == ['vheat-n']
    assert 'left out: convnext-t (mmpretrain cannot be imported: ' in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--models', 'vheat-x'], ["no model 'vheat-x'", 'vheat-n, ']),
        (['--models', 'no.py'], ['config no.py does not exist']),
        (['--models', 'vheat-n', '--peer', 'swin-x'], ["no model 'swin-x'"]),
        (['--models', 'vheat-n', '--out-dir', __file__], ['cannot be made']),
    ],
)
def test_bad_input_ends_in_one_sentence(
    arguments: list[str], expected: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        run.Benchmark(cli.parse_args(arguments))

    assert '\n' not in str(error.value)
    assert all(part in str(error.value) for part in expected)


def test_run_without_any_result_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, 'supports', lambda dtype, device: False)
    options = '--models vheat-n --dtypes fp16 --out-dir'
    args = cli.parse_args([*options.split(), str(tmp_path)])

    with pytest.raises(UserError, match='No model could be'):
        run.Benchmark(args).run()


@pytest.mark.parametrize('size', ['224', '0x32x32', '1x32', 'axbxc'])
def test_bad_size_is_told(size: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        cli.parse_args(['--sizes', size])

    assert 'is not batch x height x width' in capsys.readouterr().err


def test_vheat_needs_no_downstream_library(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    for name in [*sys.modules]:
        if name.split('.')[0] == 'benchmark':  # to be imported again
            monkeypatch.delitem(sys.modules, name)
    for name in ('mmdet', 'mmseg', 'mmpretrain', 'torchvision', 'mmcv.ops'):
        monkeypatch.setitem(sys.modules, name, None)
    options = '--models vheat-n --sizes 1x32x32 --modes train --dtypes fp32 '
    options += f'--device cpu --out-dir {tmp_path}'
    monkeypatch.setattr(sys, 'argv', ['benchmark', *options.split()])

    runpy.run_path(str(TOOL), run_name='__main__')

    assert 'train fp32 1x32x32 vheat-n' in capsys.readouterr().out
    # One size makes no picture.
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ['benchmark.json', 'benchmark.md']


STAND_IN = """
from torch import nn

class vHeat(nn.Conv2d):
    def __init__(self, **options):
        super().__init__(3, 1, 1)

    def forward(self, x):
        with open({log!r}, 'a') as file:
            file.write({name!r})
        return [super().forward(x)]
"""


def test_two_checkouts_are_timed_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / 'log'
    for name in 'ab':
        package = tmp_path / name / 'mmvheat'
        package.mkdir(parents=True)
        (package / '__init__.py').touch()
        code = STAND_IN.format(log=str(log), name=name)
        (package / 'models.py').write_text(code)
    monkeypatch.setattr(against, 'ROOT', tmp_path / 'a')
    quick = partial(time_interleaved, min_seconds=0)
    monkeypatch.setattr(against, 'time_interleaved', quick)
    options = '--modes eval --dtypes fp32 --sizes 1x8x8 --repeats 3 '
    options += f'--device cpu --against {tmp_path / "b"}'

    text = against.compare_checkouts(cli.parse_args(options.split()))

    # Once to warm up and once to see how long it takes; then three rounds.
    assert log.read_text() == 'aabb' + 'ab' + 'ba' + 'ab'
    assert f'vHeat-T of {tmp_path / "a"} (no commit) relative' in text
    assert '| eval fp32 1x8x8 |' in text


def test_folder_without_a_checkout_is_told(tmp_path: Path) -> None:
    args = cli.parse_args(['--against', str(tmp_path)])

    with pytest.raises(UserError, match='has no folder mmvheat'):
        against.compare_checkouts(args)
