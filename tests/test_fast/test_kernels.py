"""Triton's kernels, in its interpreter, against torch in double precision."""

import pytest
import torch
import torch.nn.functional as F

from mmvheat.ops import heat_decay

pytest.importorskip('triton')

from mmvheat.fast.kernels import decay, gate, mlp, norm, norm_backward  # noqa: E402

# Of the largest value; Triton's interpreter cuts bfloat16 off.
TOLERANCES = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1e-2}


CASES = [
    *(((2, 3, 5, 24), dtype) for dtype in TOLERANCES),
    ((1, 1, 1, 7), torch.float32),
    ((2, 9, 7, 40), torch.float32),  # more than one program
    ((0, 3, 5, 8), torch.float32),
]


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return request.param


@pytest.fixture
def shape(case):
    return case[0]


@pytest.fixture
def dtype(case):
    return case[1]


@pytest.fixture
def make(dtype):
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(shape, generator=generator).to(dtype)


def assert_near(got, expected):
    assert got.shape == expected.shape
    largest = max([1.0, *expected.abs().flatten().tolist()])
    torch.testing.assert_close(
        got.double(), expected, rtol=0, atol=TOLERANCES[got.dtype] * largest
    )


def assert_sums_near(parts, expected, dtype):
    """Parts are summed in single precision, from rounded values."""
    largest = max([1.0, *expected.abs().flatten().tolist()])
    torch.testing.assert_close(
        parts.double(), expected, rtol=0, atol=TOLERANCES[dtype] * largest
    )


def exact(*tensors):
    """Copies in double precision, whose gradients are wanted."""
    return [t.double().requires_grad_() for t in tensors]


def normalize(x, weight, bias):
    return F.layer_norm(x, x.shape[-1:], weight, bias, 1e-5)


def test_norm(make, shape, dtype):
    channels = shape[-1]
    x, weight, bias = make(*shape), make(channels), make(channels)
    expected = normalize(*(t.double() for t in (x, weight, bias)))
    out = norm.norm(x, weight, bias, 1e-5, dtype)
    assert_near(out, expected)
    out = norm.norm(x, weight, bias, 1e-5, torch.float32, gelu=True)
    assert_near(out, F.gelu(expected))
    out = norm.norm(x, weight, bias, 1e-5, dtype, channels_first=True)
    assert_near(out, expected.permute(0, 3, 1, 2))
    assert out.is_contiguous()


@pytest.mark.parametrize('stream', ['same', 'single'])
def test_residual_sum_and_norm(make, shape, dtype, stream):
    """Under autocast the residual stream is in single precision."""
    channels = shape[-1]
    x, branch = make(*shape), make(*shape)
    if stream == 'single':
        x = x.float() + 1e-4
    weight, bias, shift = (make(channels) for _ in range(3))
    scale = make(shape[0])
    for s, t in ((None, None), (scale, shift)):
        total, out = norm.add_norm(x, branch, s, t, weight, bias, 1e-5, dtype)
        factor = 1 if s is None else s.double().view(-1, 1, 1, 1)
        expected = x.double() + branch.double() * factor
        shifted = expected if t is None else expected + t.double()
        assert total.dtype == x.dtype and out.dtype == dtype
        assert_near(total, shifted)
        # What is normalised is the sum as it is stored.
        expected = expected.to(x.dtype).double()
        if dtype == torch.float32 or x.dtype == torch.float32:
            assert_near(
                out, normalize(expected, weight.double(), bias.double())
            )


def test_gradients_of_norm(make, shape, dtype):
    channels = shape[-1]
    x, rest, grad = (make(*shape) for _ in range(3))
    weight, bias = make(channels), make(channels)
    leaves = exact(x, weight, bias)
    out = normalize(*leaves)
    dx, *dparams = torch.autograd.grad(out, leaves, grad.double())
    got, again, parts = norm_backward(grad, x, rest, weight, bias, 1e-5)
    assert_near(got, dx + rest.double())
    assert_near(again, out.detach())
    for part, expected in zip(parts.sum(1), dparams):
        assert_sums_near(part, expected, dtype)


def test_gated_norm_and_its_gradients(make, shape, dtype):
    images, height, width, channels = shape
    rest, grad = make(*shape), make(*shape)
    mean, scale = make(images, 1, 1, channels), make(images)
    z = make(images, height, width, 2 * channels)[..., channels:]
    weight, bias = make(channels), make(channels)
    leaves = exact(rest, z, weight, bias)
    x, gate_in, *params = leaves
    out = normalize(x + mean.double(), *params) * F.silu(gate_in)
    args = rest, mean, z, weight, bias, 1e-5
    assert_near(gate.gated_norm(*args), out.detach())

    scaled = out * scale.double().view(-1, 1, 1, 1)
    expected = torch.autograd.grad(scaled, leaves, grad.double())
    drest, dz, again, parts = gate.gated_norm_backward(grad, scale, *args)
    assert_near(again, scaled.detach())
    assert_near(drest, expected[0])
    assert_near(dz, expected[1])
    for part, truth in zip(parts.sum(1), expected[2:]):
        assert_sums_near(part, truth, dtype)


def test_decay_and_its_gradients(make, shape):
    spectrum, grad, k = make(*shape), make(*shape), make(*shape[1:])
    leaves = exact(spectrum, k)
    out = leaves[0] * heat_decay(leaves[1].relu())
    assert_near(decay.decay(spectrum, k), out.detach())
    expected = torch.autograd.grad(out, leaves, grad.double())
    for got, truth in zip(decay.decay_backward(grad, spectrum, k), expected):
        assert_near(got, truth)


def test_infinite_k_leaves_the_mean():
    spectrum = torch.ones(1, 3, 4, 2)
    out = decay.decay(spectrum, torch.full((3, 4, 2), torch.inf))
    assert out[0, 0, 0].tolist() == [1, 1]
    assert out.sum() == 2


def test_linear_gelu_and_its_gradients(make, shape, dtype):
    images, *_, channels = shape
    hidden_channels = 3 * channels + 1
    x, grad, scale = make(*shape), make(*shape), make(images)
    weight, bias = make(hidden_channels, channels), make(hidden_channels)
    hidden = F.linear(*(t.double() for t in (x, weight, bias)))
    assert_near(mlp.linear_gelu(x, weight, bias), F.gelu(hidden))
    kept, out = mlp.linear_gelu_keep(x, weight, bias)
    assert_near(kept, hidden)
    assert_near(out, F.gelu(kept.double()))

    weight = make(channels, hidden_channels)
    (leaf,) = exact(kept)
    active = F.gelu(leaf) * scale.double().view(-1, 1, 1, 1)
    out = F.linear(active, weight.double())
    (expected,) = torch.autograd.grad(out, leaf, grad.double())
    dhidden, again, parts = mlp.linear_gelu_backward(grad, scale, weight, kept)
    assert_near(again, active.detach())
    assert_near(dhidden, expected)
    assert_sums_near(parts.sum(0), expected.sum((0, 1, 2)), dtype)


@pytest.mark.parametrize('name', ['norm', 'gated_norm', 'decay'])
def test_shapes_on_the_meta_device(name):
    """So that they can be counted and compiled without being run."""
    x, vector = torch.randn(2, 3, 4, 8), torch.randn(8)
    cases = dict(
        norm=(norm.norm, (x, vector, vector, 1e-5, torch.float16)),
        gated_norm=(
            gate.gated_norm, (x, x[:, :1, :1], x, vector, vector, 1e-5)
        ),
        decay=(decay.decay, (x, x[0])),
    )  # fmt: skip
    function, args = cases[name]
    real = function(*args)
    meta = function(
        *(a.to('meta') if isinstance(a, torch.Tensor) else a for a in args)
    )
    assert meta.is_meta
    assert (meta.shape, meta.dtype) == (real.shape, real.dtype)
