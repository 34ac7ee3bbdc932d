"""The benchmark counts what a step costs a GPU, without one."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmvheat import fast
from mmvheat.analysis.counting import CARDS, count_step
from mmvheat.analysis.counting.autocast import CudaAutocast
from mmvheat.analysis.counting.step import saved_activations
from mmvheat.fast.gpu import block as fused_block
from mmvheat.models import vHeat

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools/analysis_tools'))

from benchmark import cli  # noqa: E402
from benchmark.networks import build  # noqa: E402


class Two(nn.Module):
    """A layer whose costs are known by hand, and a function behind it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 16)

    def forward(self, x):
        return (F.gelu(self.layer(x.flatten(1)[:, :8])).relu(),)


class Packed(nn.Linear):
    """The same layer with its output in a tuple, as of a backbone."""

    def __init__(self):
        super().__init__(16, 8)

    def forward(self, x):
        return (super().forward(x),)


@pytest.mark.parametrize(
    ('groups', 'expected'),
    [(1, 2 * 8 * 8 * 4), (2, 2 * 8 * 4 * 4), (8, 2 * 8 * 1 * 4)],
)
def test_transposed_convolution_by_hand(groups, expected):
    network = nn.Sequential(
        nn.Conv2d(8, 8, 1), nn.ConvTranspose2d(8, 8, 2, 2, groups=groups)
    )
    step = count_step(network, (1, 8, 16, 16), 'train', 'fp32')
    first = 2 * 8 * 8  # whose images need no gradient
    found = step.operators['convolution_backward'].flops
    assert found == 256 * (first + 2 * expected)


def test_attention_is_cast():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.MultiheadAttention(64, 4, batch_first=True)

        def forward(self, x):
            return self.layer(x, x, x)[0]

    single, half = (
        count_step(Attention(), (8, 64, 64), 'train', dtype).total.bytes
        for dtype in ('fp32', 'bf16')
    )
    assert half < 0.6 * single


def test_frozen_stages_have_no_backward_pass():
    arch = dict(embed_dims=8, depths=(1, 1, 1, 1), post_norm=True)
    arch['layer_scale'] = None
    whole, frozen = (
        count_step(
            vHeat(arch, img_size=64, frozen_stages=stages),
            *((1, 3, 64, 64), 'train', 'fp32'),
        )
        for stages in (-1, 2)
    )
    assert 0 < frozen.saved < 0.6 * whole.saved


@pytest.mark.parametrize('change', [dict(mode='training'), dict(dtype='int8')])
def test_unknown_steps_are_refused(change):
    given = dict(dict(mode='train', dtype='fp32'), **change)
    with pytest.raises(ValueError, match='is counted in mode'):
        count_step(nn.Linear(8, 8), (1, 8), **given)


def test_evaluation_by_hand():
    step = count_step(Two(), (4, 2, 2, 2), 'eval', 'fp32')
    product = 4 * (4 * 8 + 8 * 16 + 16 + 4 * 16)  # with the bias
    function = 4 * (2 * 4 * 16)
    assert step.total.kernels == 3
    assert step.total.bytes == product + 2 * function
    assert step.total.floor == product
    assert step.total.flops == 2 * 4 * 8 * 16
    assert step.kinds['elementwise'].bytes == 2 * function
    seconds = (product + 2 * function) / (1e9 * CARDS['H100'].bandwidth)
    assert step.total.seconds['H100'] == pytest.approx(seconds)


def test_network_with_one_output():
    alone, packed = (
        count_step(network, (4, 16), 'train', 'fp32').total
        for network in (nn.Linear(16, 8), Packed())
    )
    assert alone == packed


def test_training_by_hand():
    step = count_step(Two(), (4, 2, 2, 2), 'train', 'fp32')
    # Forward as above. Backward: that of ReLU, of GELU, of weight and bias.
    assert step.total.flops == 2 * (2 * 4 * 8 * 16)
    assert step.total.kernels == 3 + 4
    # The input, what GELU takes, and what ReLU returns.
    assert step.saved == 4 * (4 * 8 + 4 * 16 + 4 * 16)


def test_autocast_is_that_of_cuda():
    """Products in half precision; layer norm in single precision."""
    network = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    network.forward = lambda x: (nn.Sequential.forward(network, x),)
    step = count_step(network, (2, 8, 4, 8), 'eval', 'bf16')
    assert step.operators['addmm'].bytes == 2 * (64 * 8 * 2 + 72)
    assert step.operators['native_layer_norm'].bytes >= 4 * (64 * 8 * 2)
    # Image, weight and bias become half, the input of the norm single.
    assert step.operators['_to_copy'].kernels == 4


def test_autocast_stands_in_recomputation():
    """Checkpointing enters autocast again, which asks for a GPU."""
    network = build('vheat-n')
    for stage in network.layers:
        stage.with_cp = True
    recomputed = count_step(network, (2, 3, 128, 96), 'train', 'bf16')
    kept = count_step(build('vheat-n'), (2, 3, 128, 96), 'train', 'bf16')
    assert recomputed.saved < kept.saved
    assert recomputed.total.flops > kept.total.flops


@pytest.mark.parametrize('device', ['cpu', 'meta'])
def test_saved_activations_count_once(device):
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(8, 5, 1),
        nn.Flatten(),  # a view
        nn.ReLU(),
    ).to(device)
    pixels = 2 * 10 * 20
    with saved_activations(network) as count:
        network(torch.zeros(2, 3, 10, 20, device=device))
    # The image, GELU's input and output, and ReLU's output.
    assert count() == 4 * pixels * (3 + 8 + 8 + 5)


@pytest.mark.parametrize('name', ['vheat-n', 'vheat-n+all'])
def test_kernels_compute_the_same_products(monkeypatch, name):
    """Beside plain code that keeps its cosine bases as well."""
    pytest.importorskip('triton')
    shape = 1, 3, 512, 512
    modules = build('vheat-n').modules()
    widths = [m.op.linear.in_features for m in modules if hasattr(m, 'op')]
    assert len(widths) == 5
    for mode in ('eval', 'train'):
        fused = count_step(build(name), shape, mode, 'fp32').total
        with monkeypatch.context() as patch:
            patch.setattr(fused_block, 'can_fuse', lambda *_: False)
            plain = count_step(build('vheat-n'), shape, mode, 'fp32').total
        # In training also sums of gradients (2 * C) times the mean (C).
        more = 4 * sum(c**2 for c in widths) if mode == 'train' else 0
        assert fused.flops - more == pytest.approx(plain.flops, rel=1e-6)
        assert fused.kernels < plain.kernels


BUDGETS = {
    # Bytes (GiB) and kernels of one step.
    ('vheat-t', 'eval', 'bf16-weights'): (10, 212),
    ('vheat-t', 'train', 'bf16-weights'): (34, 850),
    ('vheat-t+all', 'eval', 'fp32'): (14, 180),
    ('vheat-t+all', 'train', 'fp32'): (51.5, 730),
    ('vheat-t+all', 'eval', 'bf16'): (8.6, 218),
    ('vheat-t+all', 'train', 'bf16'): (31.5, 870),
}


@pytest.mark.parametrize('case', BUDGETS, ids='-'.join)
def test_budgets_of_kernels(case):
    pytest.importorskip('triton')
    shape = 4, 3, 800, 1344
    name, *case_of_name = case
    total = count_step(build(name), shape, *case_of_name).total
    gib, kernels = BUDGETS[case]
    assert total.bytes <= gib * 2**30
    assert total.kernels <= kernels


def count_saved(name, dtype='fp32', with_cp=False):
    """Activations saved at 1x800x1344, in GiB."""
    network = build(name).to('meta')
    network.train()
    for stage in getattr(network, 'layers', []):
        stage.with_cp = with_cp
    autocast = nullcontext()
    if dtype == 'bf16':
        autocast = CudaAutocast(torch.bfloat16)
    images = torch.empty(1, 3, 800, 1344, device='meta')
    with autocast, saved_activations(network) as count:
        network(images)
    return count() / 2**30


@pytest.mark.parametrize('size', 'tsb')
def test_saved_activations_beside_swin(size):
    for dtype, limit in (('fp32', 0.70), ('bf16', 0.65)):
        swin = count_saved(f'swin-{size}', dtype)
        assert count_saved(f'vheat-{size}', dtype) <= limit * swin
    if size == 't':
        assert swin == pytest.approx(1.52, abs=0.01)


def test_checkpointed_blocks_save_little():
    assert count_saved('vheat-t', with_cp=True) <= 0.35 * count_saved('swin-t')


def run(monkeypatch, *words):
    monkeypatch.setattr('sys.argv', ['benchmark', *words])
    cli.main()


def test_command_writes_tables(monkeypatch, tmp_path, capsys):
    run(
        monkeypatch, '--device', 'meta', '--models', 'vheat-n',
        'resnet-50', '--sizes', '2x128x96', '--dtypes', 'fp16-weights',
        '--out-dir', str(tmp_path),
    )  # fmt: skip
    text = (tmp_path / 'counts.md').read_text()
    assert text.startswith('# Counted, not measured')
    assert '## Training, fp16-weights, 2x128x96' in text
    rows = json.loads((tmp_path / 'counts.json').read_text())
    assert len(rows) == 2 * 2
    for row in rows:
        kinds = sum(kind['bytes'] for kind in row['kinds'].values())
        blocks = sum(block['bytes'] for block in row['blocks'].values())
        assert kinds == blocks == row['total']['bytes'] > 0
    assert 'resnet-50' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--models', 'vheat-x'], "no model 'vheat-x'"),
        (['--models', 'vheat-t+fast'], "no variant 'fast'"),
        (['--models', 'vheat-t+compile'], 'not compiled'),
        (['--models', 'x.py'], 'does not exist'),
    ],
)
def test_bad_names_are_explained(monkeypatch, words, message):
    with pytest.raises(Exception, match=message):
        run(monkeypatch, '--device', 'meta', *words)


def test_variants_are_those_of_the_switch():
    class Seen(Exception):
        """Ends the forward pass: the interpreter takes long for all of it."""

    def note(*_):
        raise Seen(fast.is_enabled(), fast.is_on_trial())

    seen = []
    for name in ('vheat-n', 'vheat-n+plain', 'vheat-n+all'):
        network = build(name)
        network.patch_embed.register_forward_pre_hook(note)
        with pytest.raises(Seen) as error:
            network(torch.zeros(1, 3, 64, 64))
        seen.append(error.value.args)
    assert seen == [(True, False), (False, False), (True, True)]
