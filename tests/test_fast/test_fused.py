"""Blocks by fused kernels, in Triton's interpreter, against plain blocks."""

import copy
import warnings

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from mmvheat import fast
from mmvheat.fast.gpu import available
from mmvheat.fast.gpu import block as fused_block
from mmvheat.fast.gpu.block import run_fused
from mmvheat.fast.gpu.norm import fused_norm
from mmvheat.models import HeatBlock

pytest.importorskip('triton')


@pytest.fixture
def make_block():
    def make(**kwargs):
        torch.manual_seed(0)
        block = HeatBlock(12, **kwargs)
        for parameter in block.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        return block

    return make


@pytest.fixture
def fused_blocks(monkeypatch):
    """Collects the blocks that ran by kernels."""
    blocks = []

    def run(block, *args):
        blocks.append(block)
        return run_fused(block, *args)

    monkeypatch.setattr(fused_block, 'run_fused', run)
    return blocks


@pytest.fixture(params=['measured', 'on trial'])
def kernels(request, monkeypatch):
    """Those that are on by default alone, or all."""
    if request.param == 'measured':
        monkeypatch.setattr(
            fused_block, 'has_kernels_on_trial', lambda *_: False
        )


def make_inputs(*size):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, generator=generator).requires_grad_()
        for shape in ((*size, 12), (*size[1:], 12))
    ]


def train(block, *inputs):
    """Output and gradients of inputs and parameters."""
    torch.manual_seed(1)  # of stochastic depth
    out = block(*inputs)
    leaves = [*inputs, *block.parameters()]
    return out, *torch.autograd.grad(out.square().sum(), leaves)


BLOCKS = dict(
    pre_norm={},
    pre_norm_drop_path=dict(drop_path=0.5),
    post_norm=dict(post_norm=True, drop_path=0.5),
    layer_scale=dict(post_norm=True, layer_scale=1.0),
)


@pytest.mark.usefixtures('kernels')
@pytest.mark.parametrize(
    ('kind', 'size'),
    [*((kind, (2, 3, 5)) for kind in BLOCKS), ('pre_norm', (1, 1, 1))],
)
def test_training(make_block, fused_blocks, kind, size):
    block, inputs = make_block(**BLOCKS[kind]), make_inputs(*size)
    with fast.disabled():
        expected = train(block, *inputs)
    with fast.on_trial():
        results = train(block, *inputs)
    assert fused_blocks == [block]
    for got, truth in zip(results, expected):
        assert (got - truth).norm() <= 2e-6 * truth.norm() + 1e-7


@pytest.mark.usefixtures('kernels')
def test_no_images(make_block, fused_blocks):
    block, inputs = make_block(), make_inputs(0, 3, 5)
    with fast.on_trial():
        out, *gradients = train(block, *inputs)
    assert fused_blocks == [block]
    assert out.shape == (0, 3, 5, 12)
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.usefixtures('kernels')
@pytest.mark.parametrize('post_norm', [False, True])
@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize(
    'dtype',
    [
        torch.bfloat16,
        pytest.param(torch.float16, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_autocast(make_block, fused_blocks, dtype, training, post_norm):
    """As near to single precision as the plain block, and the same dtypes."""
    block, inputs = make_block(post_norm=post_norm), make_inputs(2, 3, 5)
    with fast.disabled():
        truth = train(block, *inputs)
        with torch.autocast('cpu', dtype):
            plain = train(block, *inputs)
    with (
        fast.on_trial(),
        torch.autocast('cpu', dtype),
        torch.set_grad_enabled(training),
    ):
        got = train(block, *inputs) if training else (block(*inputs),)
    assert fused_blocks == [block]
    for ours, theirs, exact in zip(got, plain, truth):
        assert ours.dtype == theirs.dtype
        error, bound = ((x - exact).norm() for x in (ours, theirs))
        # Triton's interpreter cuts bfloat16 off instead of rounding.
        assert error <= 3 * bound + 1e-2 * exact.norm()


@pytest.mark.usefixtures('kernels')
@pytest.mark.parametrize(
    'dtype',
    [
        pytest.param(torch.float32, marks=pytest.mark.slow),
        torch.float16,
    ],
    ids=str,
)
def test_evaluation_of_a_model_in_one_dtype(build, fused_blocks, dtype):
    model = build(out_indices=(0, 1)).eval().to(dtype)
    image = torch.randn(1, 3, 16, 32, dtype=dtype)
    with torch.no_grad(), fast.disabled():
        expected = model(image)
    with torch.no_grad(), fast.on_trial():
        outputs = model(image)
    assert len(fused_blocks) == 3
    for got, truth in zip(outputs, expected):
        assert got.is_contiguous() and got.dtype == dtype
        bound = 2e-5 if dtype == torch.float32 else 2e-2
        assert (got - truth).abs().max() <= bound * truth.abs().max()


@pytest.mark.usefixtures('kernels')
@pytest.mark.parametrize('post_norm', [False, True])
def test_keeps_ten_values_a_channel(make_block, post_norm):
    """Eleven, where norms stand behind branches."""
    block, (x, freq_embed) = (
        make_block(post_norm=post_norm),
        make_inputs(4, 4, 6),
    )
    own = {p.untyped_storage()._cdata for p in block.parameters()}
    saved = {}

    def note(t):
        if t.untyped_storage()._cdata not in own:
            saved[t.untyped_storage()._cdata] = t
        return t

    with fast.on_trial(), torch.autograd.graph.saved_tensors_hooks(note, note):
        block(x, freq_embed)
    sizes = [t.numel() / x.numel() for t in saved.values()]
    # Those of one image for all: k and its FVE; the mean of an image.
    assert sum(size for size in sizes if size >= 1) == 10 + post_norm
    assert sum(size for size in sizes if size < 1) < 3 / 4


@pytest.mark.filterwarnings('ignore:Input #')
def test_numerical_gradients(make_block):
    """Kernels compute in single precision, whatever comes in."""
    block, (x, freq_embed) = make_block(), make_inputs(1, 3, 2)
    with fast.on_trial():
        assert torch.autograd.gradcheck(
            block, (x, freq_embed), eps=1e-2, atol=2e-2, rtol=2e-2,
            nondet_tol=1e-5, fast_mode=True,
        )  # fmt: skip


@pytest.mark.parametrize('kind', ['pre_norm_drop_path', 'post_norm'])
def test_second_derivatives(make_block, fused_blocks, kind):
    block, inputs = make_block(**BLOCKS[kind]), make_inputs(2, 3, 4)
    results = []
    for context in (fast.disabled, fast.on_trial):
        torch.manual_seed(1)
        with context():
            out = block(*inputs).square().sum()
            grads = torch.autograd.grad(out, inputs, create_graph=True)
            penalty = sum(g.square().sum() for g in grads)
            leaves = [*inputs, *block.parameters()]
            results.append(torch.autograd.grad(penalty, leaves))
    assert fused_blocks
    for got, truth in zip(*reversed(results)):
        assert (got - truth).norm() <= 1e-5 * truth.norm() + 1e-6


@pytest.mark.parametrize('behind', ['nothing', 'gelu', 'channels first'])
def test_gradients_of_norms(behind):
    """The first by kernels, the second by torch's operators."""
    options = dict(gelu=behind == 'gelu')
    options['channels_first'] = behind == 'channels first'

    def run_plainly(norm, x, gelu, channels_first):
        x = norm(x)
        x = torch.nn.functional.gelu(x) if gelu else x
        return x.permute(0, 3, 1, 2) if channels_first else x

    norm, (x, _) = torch.nn.LayerNorm(12), make_inputs(2, 3, 4)
    torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
    leaves, results = [x, norm.weight, norm.bias], []
    for run in (run_plainly, fused_norm):
        with fast.on_trial():
            out = run(norm, x, **options)
            loss = out.pow(3).sum()
            first = torch.autograd.grad(loss, leaves, retain_graph=True)
            grads = torch.autograd.grad(loss, leaves, create_graph=True)
            penalty = sum(grad.square().sum() for grad in grads)
            second = torch.autograd.grad(penalty, leaves)
        results.append([out, *first, *second])
    for got, truth in zip(*reversed(results)):
        assert (got - truth).norm() <= 1e-5 * truth.norm()


@pytest.mark.parametrize('post_norm', [False, True])
def test_gradients_lie_in_memory_as_parameters(make_block, post_norm):
    """Else DDP copies each into its bucket."""
    block, inputs = make_block(post_norm=post_norm), make_inputs(1, 3, 4)
    with fast.on_trial(), torch.autocast('cpu', torch.bfloat16):
        grads = torch.autograd.grad(
            block(*inputs).square().sum(), list(block.parameters())
        )
    for grad, parameter in zip(grads, block.parameters()):
        assert grad.stride() == parameter.stride()
        assert grad.dtype == parameter.dtype


class Recomputed(torch.nn.Module):
    """Does what ``with_cp`` does for a block."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, *args):
        return checkpoint(self.block, *args, use_reentrant=False)


def test_checkpointing(make_block, fused_blocks):
    block, inputs = make_block(), make_inputs(2, 3, 4)
    with fast.on_trial():
        expected = train(block, *inputs)
        results = train(Recomputed(block), *inputs)
    assert len(fused_blocks) == 3
    for got, truth in zip(results, expected):
        torch.testing.assert_close(got, truth)


def change_layer(block):
    block.mlp.fc2.register_forward_hook(lambda *_: None)


def scale_channels(block):
    block.gamma1 = block.gamma2 = torch.nn.Parameter(torch.ones(12))


def widen_convolution(block):
    block.op.dwconv = type(block.op.dwconv)(12, 12, 5, 1, 2, groups=12)


def drop_bias(block):
    block.op.linear.bias = None


def change_law(block):
    block.op.propagator.response = lambda s, k, x: torch.exp(-3 * k * s)


def deepen_k(block):
    layers = torch.nn.Linear(12, 12), torch.nn.ReLU()
    block.op.to_k = torch.nn.Sequential(*block.op.to_k, *layers)


def drop_bias_of_k(block):
    block.op.to_k[0].bias = None


def make_linear(block):
    block.mlp.fc1, block.mlp.fc2 = (
        torch.nn.Linear(*sizes) for sizes in ((12, 48), (48, 12))
    )


@pytest.mark.parametrize('learns', [False, True])
@pytest.mark.parametrize(
    'change',
    [
        change_layer,
        scale_channels,
        widen_convolution,
        drop_bias,
        change_law,
        deepen_k,
        drop_bias_of_k,
        make_linear,
    ],
)
def test_declines_what_has_no_kernel(make_block, fused_blocks, change, learns):
    block, inputs = make_block().eval(), make_inputs(2, 3, 4)
    change(block)
    with torch.set_grad_enabled(learns):
        with fast.on_trial():
            got = block(*inputs)
        by_default = block(*inputs)
        with fast.disabled():
            expected = block(*inputs)
    torch.testing.assert_close(by_default, expected, rtol=0, atol=1e-5)
    assert not fused_blocks
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_is_off_on_a_cpu_unless_asked_for(make_block, fused_blocks):
    block, inputs = make_block(), make_inputs(2, 3, 4)
    block(*inputs)
    with fast.on_trial(), fast.disabled():
        block(*inputs)
    assert not fused_blocks


def test_what_cannot_be_compiled_is_left_with_one_warning(
    make_block, fused_blocks, monkeypatch
):
    def fail(*_):
        raise RuntimeError('no C compiler')

    from mmvheat.fast.gpu import kernels

    monkeypatch.setattr(kernels, 'run_all', fail)
    available._compile.cache_clear()
    block, inputs = make_block(), make_inputs(2, 3, 4)
    try:
        with fast.on_trial():
            with pytest.warns(UserWarning, match='no C compiler'):
                block(*inputs)
            with warnings.catch_warnings():
                warnings.simplefilter('error')
                copy.deepcopy(block)(*inputs)
    finally:
        available._compile.cache_clear()
    assert not fused_blocks
