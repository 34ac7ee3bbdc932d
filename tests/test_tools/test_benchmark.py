"""benchmark.py measures in turn and computes what its tables say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'analysis_tools' / 'benchmark.py'
sys.path.insert(0, str(TOOL.parent))

import benchmark  # noqa: E402
import benchmark_models  # noqa: E402
from benchmark_compare import (  # noqa: E402
    add_peers,
    find_peer,
    fit_exponents,
)
from benchmark_measure import (  # noqa: E402
    count_flops,
    make_gemms,
    paired_ratio,
    time_interleaved,
)
from benchmark_memory import (  # noqa: E402
    count_held_bytes,
    measure_memory,
    run_in_child,
)
from benchmark_models import Size, Step, build_network  # noqa: E402
from benchmark_stream import iterate_stream_sizes, run_stream  # noqa: E402

MB = 2**20


@pytest.fixture(scope='module')
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the tool on tiny images."""
    folder = tmp_path_factory.mktemp('run') / 'out'
    args = benchmark.parse_args(
        '--models vheat-n resnet-50 --peer resnet-50 --with-cp --repeats 3 '
        '--sizes 2x32x32 1x64x64 1x96x64 --dtypes fp32 --device cpu '
        f'--out-dir {folder}'.split()
    )
    benchmark.Benchmark(args).run()
    return folder


def test_measures_every_network_in_every_case(finished: Path) -> None:
    report = json.loads((finished / 'benchmark.json').read_text())

    found = [
        (row['mode'], row['size'], row['model']) for row in report['results']
    ]
    sizes = ('2x32x32', '1x64x64', '1x96x64')
    assert found == [
        (mode, size, model)
        for mode, models in (
            ('eval', ['vheat-n', 'resnet-50']),
            ('train', ['vheat-n', 'vheat-n+cp', 'resnet-50']),
        )
        for size in sizes
        for model in models
    ]
    assert all(len(row['seconds']) == 3 for row in report['results'])
    assert {e['model'] for e in report['exponents']} == {
        'vheat-n',
        'vheat-n+cp',
        'resnet-50',
    }


def test_figures_follow_from_the_times(finished: Path) -> None:
    report = json.loads((finished / 'benchmark.json').read_text())
    cases = {(g['mode'], g['size']): g for g in report['gemm']}

    for row in report['results']:
        seconds = sorted(row['seconds'])[1]
        assert row['ms'] == pytest.approx(1e3 * seconds)
        assert row['images_per_s'] == pytest.approx(row['batch'] / seconds)
        rates = cases[row['mode'], row['size']]['flops_per_s']
        assert set(rates) == {'gemm: mm', 'gemm: conv'}
        share = 2 * row['flops'] / seconds / max(rates.values())
        assert row['gemm_share'] == pytest.approx(share)
        assert row['floor_ratio'] == pytest.approx(1 / share)
        assert row['peer'] == 'resnet-50'
        if row['model'] == 'resnet-50':
            assert row['ratio'] == 1


def test_tables_of_a_cpu_have_ratios_and_no_times(finished: Path) -> None:
    text = (finished / 'benchmark.md').read_text()

    assert '## Training, fp32' in text
    assert '| Peer ' in text
    assert 'CPU: ' in text
    assert f'torch {torch.__version__}' in text
    assert 'Command: `python ' in text
    assert 'Images/s' not in text
    assert '| ms' not in text


def test_leaves_pictures_and_nothing_unfinished(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        'benchmark.json',
        'benchmark.md',
        'speed.png',
    }
    assert (finished / 'speed.png').read_bytes().startswith(b'\x89PNG')


def test_every_round_runs_everything_from_another_start() -> None:
    calls = []
    actions = {n: lambda n=n: calls.append(n) for n in 'abc'}

    seconds = time_interleaved(actions, 4, min_seconds=0)

    rounds = [
        ''.join(calls[i : i + 3]) for i in range(len(calls) - 12, 12 + 3, 3)
    ]
    assert rounds == ['abc', 'bca', 'cab', 'abc']
    assert {name: len(times) for name, times in seconds.items()} == {
        'a': 4,
        'b': 4,
        'c': 4,
    }


def test_speed_is_compared_round_by_round() -> None:
    # The machine slowed down in the last two rounds.
    lower, median, upper = paired_ratio([2, 2, 2, 8, 8], [1, 1, 1, 4, 2])

    assert (lower, median, upper) == (2, 2, 2)


def make_row(model: str, seconds: list[float], **fields) -> dict:
    return dict(dict(model=model, seconds=seconds, peak_memory=None), **fields)


def test_relates_speed_and_memory_to_the_peer() -> None:
    rows = [
        make_row('vheat-t', [1.0, 1.0], peak_memory=6),
        make_row('swin-t', [1.5, 1.5], peak_memory=8),
    ]

    add_peers(rows, 'swin-t')

    assert [row['ratio'] for row in rows] == [1.5, 1]
    assert [row['memory_ratio'] for row in rows] == [0.75, 1]


@pytest.mark.parametrize(
    ('label', 'peer'),
    [
        ('vheat-t', 'swin-t'),
        ('vheat-t+cp', 'swin-t'),
        ('vheat-t+compile', 'swin-t+compile'),
        ('mask-rcnn_vheat-t_fpn_1x_coco', 'mask-rcnn_swin-t_fpn_1x_coco'),
        ('upernet_vheat-t_8xb2', None),
    ],
)
def test_peer_runs_the_same_way(label: str, peer: str | None) -> None:
    labels = ['vheat-t', 'swin-t', 'swin-t+compile']
    labels += ['mask-rcnn_swin-t_fpn_1x_coco', label]

    assert find_peer(label, labels, 'swin-t') == peer


def test_model_of_timm_can_be_the_peer() -> None:
    labels = ['vheat-t', 'timm:convnext_tiny', 'timm:swin_tiny']

    for label in labels:
        assert find_peer(label, labels, labels[2]) == labels[2]


def test_exponent_is_the_slope_for_batches_of_one() -> None:
    rows = [
        dict(
            model='a',
            mode='eval',
            dtype='fp32',
            batch=batch,
            pixels=pixels,
            ms=factor * pixels**1.25,
        )
        for batch, pixels, factor in [
            (1, 1000, 3),
            (1, 2000, 3),
            (1, 8000, 3),
            (4, 500, 90),
        ]
    ]

    (fit,) = fit_exponents(rows)

    assert fit['exponent'] == pytest.approx(1.25)
    assert fit_exponents(rows[:1]) == []


def test_both_gemms_multiply_the_same_matrices_shapes() -> None:
    gemms = make_gemms(torch.float32, 'cpu', size=16)

    assert gemms['gemm: mm']().numel() == 256
    assert gemms['gemm: conv']().numel() == 256


def test_flops_of_resnet_are_the_published_ones() -> None:
    size = Size(2, 224, 224)

    flops = count_flops('resnet-50', 'eval', size, 'cpu')

    # 4.09 G with a classifier of 2 M, which a backbone has not; norms add.
    assert flops / 2 == pytest.approx(4.1e9, rel=0.02)
    train = count_flops('resnet-50', 'train', size, 'cpu')
    assert train >= 3 * flops * 0.99


def test_one_size_makes_no_picture(tmp_path: Path) -> None:
    args = benchmark.parse_args(
        '--models vheat-n --peer vheat-n --modes eval --repeats 1 --sizes '
        f'1x64x64 --dtypes fp32 --device cpu --out-dir {tmp_path}'.split()
    )
    benchmark.Benchmark(args).run()

    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ['benchmark.json', 'benchmark.md']


def test_flops_of_a_whole_model_are_those_of_its_backbone_and_more() -> None:
    size = Size(1, 64, 64)
    config = ROOT / 'configs/quickstart/vheat-n_16e_digit-crops-64x64.py'

    backbone = count_flops('vheat-n', 'eval', size, 'cpu')
    whole = count_flops(str(config), 'eval', size, 'cpu')

    # The head comes on top. The named backbone resizes frequencies of a
    # larger grid, and normalises the output of each stage.
    grids = [(128 // 2**i, 16 // 2**i) for i in range(4)]
    resized = sum(
        old * new * (old + new) * 32 * 2**i
        for i, (old, new) in enumerate(grids)
    )
    same = sum(2 * new**3 * 32 * 2**i for i, (_, new) in enumerate(grids))
    norms = sum(5 * new**2 * 32 * 2**i for i, (_, new) in enumerate(grids[:3]))
    alone = backbone - resized + same - norms
    assert alone < whole < 1.1 * alone


def test_training_step_computes_gradients_and_drops_them() -> None:
    network = build_network('vheat-n')
    step = Step(network, 'train', torch.float32, Size(1, 32, 32))
    step.prepare()
    seen = []
    weight = next(network.parameters())
    weight.register_post_accumulate_grad_hook(
        lambda p: seen.append(p.grad.abs().sum().item())
    )

    step()

    assert network.training
    assert seen[0] > 0
    assert weight.grad is None


@pytest.mark.parametrize('mode', ['eval', 'train'])
@pytest.mark.parametrize('name', ['mask_rcnn', 'upernet', 'classifier'])
def test_whole_models_run_in_bfloat16(
    name: str, mode: str, configs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('SHAPES', 'nowhere')
    network = build_network(str(configs / f'{name}.py'))
    step = Step(network, mode, torch.bfloat16, Size(1, 64, 64))
    step.prepare()

    result = step.forward()

    if mode == 'eval':
        assert len(result) == 1
    else:
        assert result.isfinite()
        assert result.requires_grad


def test_peak_memory_is_that_of_the_step() -> None:
    code = (
        'import sys\n'
        f'sys.path.insert(0, {str(TOOL.parent)!r})\n'
        'import torch\n'
        'from benchmark_memory import _peak_resident\n'
        'torch.ones(200 * 2**18)  # an earlier, higher peak\n'
        'def step():\n'
        '    kept = torch.ones(96 * 2**18)\n'
        '    torch.ones(32 * 2**18)\n'
        'print(_peak_resident(step))\n'
    )

    run = run_python(code)

    # 96 and 32 MB alive at once, beside what was there before.
    assert 120 * MB < int(run.stdout) < 150 * MB, run.stderr


def test_memory_is_measured_in_a_fresh_process() -> None:
    assert run_in_child(os.getpid) != os.getpid()
    assert run_in_child(torch.get_num_threads) == torch.get_num_threads()

    evaluation, training = (
        run_in_child(
            measure_memory, 'vheat-n', mode, 'fp32', Size(1, 256, 256)
        )
        for mode in ('eval', 'train')
    )

    # Gradients alone, besides activations.
    weights = sum(p.numel() for p in build_network('vheat-n').parameters())
    assert training > evaluation + 4 * weights / 2


def test_killed_process_is_told_from_a_measurement() -> None:
    with pytest.raises(MemoryError, match='killed'):
        run_in_child(os._exit, 9)


def test_held_bytes_are_those_of_living_tensors() -> None:
    before = count_held_bytes()
    tensor = torch.ones(1000)
    view = tensor[10:]

    assert count_held_bytes() - before == 4000
    del tensor, view
    assert count_held_bytes() == before


def test_stream_is_the_same_everywhere_and_like_coco() -> None:
    sizes = list(islice(iterate_stream_sizes(), 50))

    assert sizes == list(islice(iterate_stream_sizes(), 50))
    assert len(set(sizes)) == 50
    for size in sizes:
        sides = sorted((size.height, size.width))
        assert sides[0] <= 800
        assert 800 <= sides[1] <= 1344
        assert size.height % 32 == size.width % 32 == 0
    landscape = sum(size.width > size.height for size in sizes)
    assert 20 < landscape < 40


def test_stream_shows_that_the_caches_stay_bounded() -> None:
    sizes = list(islice(iterate_stream_sizes(64, 107, 8), 15))

    run = run_stream('vheat-n', 'fp32', sizes, Size(1, 64, 112))

    assert run['ratio'] > 0
    assert len(run['held']) == 16
    # The decays of two sizes at once, beside the small bases.
    assert 0 < run['held'][1] <= max(run['held'][:3])
    assert max(run['held']) < 2 * max(run['held'][:3])


def test_missing_library_costs_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    find_spec = benchmark_models.importlib.util.find_spec
    monkeypatch.setattr(
        'benchmark_models.importlib.util.find_spec',
        lambda name: None if name == 'timm' else find_spec(name),
    )

    run = benchmark.Benchmark(
        benchmark.parse_args(
            ['--models', 'vheat-n', 'timm:swin', '--out-dir', str(tmp_path)]
        )
    )

    assert list(run.networks) == ['vheat-n']
    assert 'left out: timm:swin (timm is not installed)\n' in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--models', 'vheat-x'], ["no model 'vheat-x'", 'vheat-t, vheat-s']),
        (['--models', 'swin-t+cp'], ['unknown option +cp; swin-t takes']),
        (['--models', 'no.py'], ['config no.py does not exist']),
        (['--models', 'vheat-n', '--peer', 'swin-b'], ['not among']),
        (['--models'], ['No model is left']),
        (['--models', 'vheat-n', '--out-dir', __file__], ['cannot be made']),
    ],
)
def test_bad_input_ends_in_one_sentence(
    arguments: list[str], expected: list[str]
) -> None:
    with pytest.raises(benchmark.UserError) as error:
        benchmark.Benchmark(benchmark.parse_args(arguments))

    assert '\n' not in str(error.value)
    assert all(part in str(error.value) for part in expected)


def test_run_without_any_result_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, 'supports', lambda dtype, device: False)
    options = '--models vheat-n --dtypes fp16 --sizes 1x32x32 --out-dir'
    args = benchmark.parse_args([*options.split(), str(tmp_path)])

    with pytest.raises(benchmark.UserError, match='No model could be'):
        benchmark.Benchmark(args).run()


@pytest.mark.parametrize('size', ['224', '0x32x32', '1x32', 'axbxc'])
def test_bad_size_is_told(size: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        benchmark.parse_args(['--sizes', size])

    assert 'is not batch x height x width' in capsys.readouterr().err


def test_vheat_needs_no_downstream_library(tmp_path: Path) -> None:
    code = (
        'import runpy, sys\n'
        'for name in ("mmdet", "mmseg", "mmpretrain", "timm", '
        '"torchvision", "mmcv.ops"):\n'
        '    sys.modules[name] = None\n'
        f'sys.path.insert(0, {str(TOOL.parent)!r})\n'
        'sys.argv = ["benchmark.py", *sys.argv[1:]]\n'
        f'runpy.run_path({str(TOOL)!r}, run_name="__main__")\n'
    )
    options = '--models vheat-n --sizes 1x32x32 --repeats 1 --dtypes fp32'

    run = run_python(code, *options.split(), '--out-dir', str(tmp_path))

    assert run.returncode == 0, run.stderr
    assert 'train fp32 1x32x32 vheat-n' in run.stdout


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-c', code, *arguments],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            'PYTHONPATH': str(ROOT),
            'CUDA_VISIBLE_DEVICES': '',
        },
    )
