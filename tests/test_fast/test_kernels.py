"""Triton's kernels, in its interpreter, against torch in double precision."""

import pytest
import torch
import torch.nn.functional as F

from mmvheat.ops import heat_decay

pytest.importorskip('triton')

from mmvheat.fast.gpu.kernels import (  # noqa: E402
    convolution,
    convolve_backward,
    decay,
    differentiate_mlp_branch,
    gate,
    gated_norm_backward,
    means,
    mlp,
    norm,
    norm_backward,
    norm_backward_sum,
    norm_sum,
    post_norm,
    run_mlp_branch,
)

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


def assert_sums_near(parts, expected, dtype, roundings=1):
    """Parts are summed in single precision, from rounded values."""
    largest = max([1.0, *expected.abs().flatten().tolist()])
    atol = roundings * TOLERANCES[dtype] * largest
    torch.testing.assert_close(parts.double(), expected, rtol=0, atol=atol)


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
    weight, bias, shift, more = (make(channels) for _ in range(4))
    scale = make(shape[0])
    for s, t in ((None, None), (scale, shift)):
        total, out = norm.add_norm(
            x, branch, more, s, t, weight, bias, 1e-5, dtype
        )
        factor = 1 if s is None else s.double().view(-1, 1, 1, 1)
        expected = x.double() + (branch.double() + more.double()) * factor
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
    for part, expected in zip(parts.sum((1, 2)), dparams):
        assert_sums_near(part, expected, dtype)


@pytest.mark.parametrize('behind', ['nothing', 'gelu', 'channels first'])
def test_gradients_of_norm_alone(make, shape, dtype, behind):
    gelu, first = behind == 'gelu', behind == 'channels first'
    channels = shape[-1]
    x, grad = make(*shape), make(*shape)
    weight, bias = make(channels), make(channels)
    leaves = exact(x, weight, bias)
    out = normalize(*leaves)
    out = F.gelu(out) if gelu else out
    dx, *dparams = torch.autograd.grad(out, leaves, grad.double())
    grad = grad.permute(0, 3, 1, 2).contiguous() if first else grad
    got, parts = norm.norm_alone_backward(
        grad, x, weight, bias, 1e-5, gelu, first
    )
    assert_near(got, dx)
    for part, expected in zip(parts.sum((1, 2)), dparams):
        assert_sums_near(part, expected, dtype)


@pytest.mark.parametrize('scaled', [False, True])
def test_gradients_of_norm_and_their_sums(make, shape, dtype, scaled):
    """What a block passes on: in its dtype as well, and biases' gradients."""
    channels = shape[-1]
    x, rest, grad = make(*shape).float(), make(*shape).float(), make(*shape)
    weight, bias = make(channels), make(channels)
    scales = [make(shape[0]), make(shape[0])] if scaled else [None, None]
    leaves = exact(x, weight, bias)
    out = normalize(*leaves)
    dx, *expected = torch.autograd.grad(out, leaves, grad.double())
    dx += rest.double()
    got, low, again, parts = norm_backward_sum(
        grad, x, rest, weight, bias, 1e-5, *scales
    )
    assert (got.dtype, again.dtype) == (torch.float32, dtype)
    assert_near(got, dx)
    assert_near(again, out.detach())
    if dtype == torch.float32:
        assert len(low) == 0
    else:
        assert low.dtype == dtype
        assert_near(low, dx)
    for tensor, scale in zip((dx, rest.double()), scales):
        if scaled:
            tensor = tensor * scale.double().view(-1, 1, 1, 1)
        expected.append(tensor.sum((0, 1, 2)))
    for part, truth in zip(parts.sum((1, 2)), expected, strict=True):
        assert_sums_near(part, truth, dtype)


def test_norm_and_its_sum(make, shape, dtype):
    channels = shape[-1]
    x, weight, bias = make(*shape), make(channels), make(channels)
    expected = normalize(*(t.double() for t in (x, weight, bias)))
    out, parts = norm_sum.norm_sum(x, weight, bias, 1e-5, dtype)
    assert_near(out, expected)
    assert_sums_near(parts.sum(1), expected.sum((1, 2)), dtype)


def test_gated_norm_and_its_gradients(make, shape, dtype):
    images, height, width, channels = shape
    rest, grad = make(*shape), make(*shape)
    means, scale = make(images, 2 * channels).float(), make(images)
    z = make(images, height, width, 2 * channels)[..., channels:]
    weight, bias = make(channels), make(channels)
    leaves = exact(rest, z, weight, bias)
    x, gate_in, *params = leaves
    mean, shift = means.double()[:, None, None].chunk(2, -1)
    out = normalize(x + mean, *params) * F.silu(gate_in + shift)
    args = rest, means, z, weight, bias, 1e-5
    assert_near(gate.gated_norm(*args), out.detach())

    scaled = out * scale.double().view(-1, 1, 1, 1)
    expected = torch.autograd.grad(scaled, leaves, grad.double())
    drest, duz, again, parts = gated_norm_backward(grad, scale, *args)
    assert_near(again, scaled.detach())
    assert_near(drest, expected[0])
    assert_near(duz[..., channels:], expected[1])
    expected = *expected[2:], expected[1].sum((0, 1, 2))
    for part, truth in zip(parts.sum((1, 2)), expected):
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


def test_linear_gelu(make, shape, dtype):
    channels, hidden_channels = shape[-1], 3 * shape[-1] + 1
    x, weight = make(*shape), make(hidden_channels, channels)
    bias = make(hidden_channels)
    expected = F.gelu(F.linear(*(t.double() for t in (x, weight, bias))))
    assert_near(mlp.linear_gelu(x, weight, bias), expected)


def test_gelu_is_exact_far_from_zero():
    x = torch.linspace(-30, 30, 4001).view(1, 1, 1, -1)
    one = torch.ones(1, 1, 1, 1)
    out = mlp.linear_gelu(one, x.view(-1, 1), torch.zeros(x.numel()))
    torch.testing.assert_close(
        out.double(), F.gelu(x.double()), rtol=0, atol=4e-7
    )


def test_gradients_of_gelu(make, shape, dtype):
    hidden, grad, scale = make(*shape), make(*shape), make(shape[0])
    bias = make(shape[-1])
    (leaf,) = exact(hidden)
    active = F.gelu(leaf + bias.double())
    assert_near(mlp.bias_gelu(hidden, bias), active.detach())
    active = active * scale.double().view(-1, 1, 1, 1)
    (expected,) = torch.autograd.grad(active, leaf, grad.double())
    dhidden, again, parts = mlp.gelu_backward(grad, scale, hidden, bias)
    assert_near(again, active.detach())
    assert_near(dhidden, expected)
    assert_sums_near(parts.sum((0, 1, 2)), expected.sum((0, 1, 2)), dtype)


@pytest.mark.parametrize('scaled', [False, True])
def test_mlp_branch_and_its_gradients(make, shape, dtype, scaled):
    images, *_, channels = shape
    width = 3 * channels + 1
    x, branch, grad = make(*shape).float(), make(*shape), make(*shape).float()
    more, norm_weight, norm_bias, bias2 = (make(channels) for _ in range(4))
    # Of the size that layers have, so that rounding does not add up.
    weight1, bias1 = make(width, channels) / 4, make(width)
    weight2 = make(channels, width) / 4
    scales = [make(images), make(images)] if scaled else [None, None]
    factors = [
        torch.ones(()).double() if s is None else s.double()[:, None, None]
        for s in scales
    ]
    factors = [f[..., None] if scaled else f for f in factors]

    def run(total, norm_weight, norm_bias, weight1, bias1, weight2, bias2):
        hidden = F.linear(normalize(total, norm_weight, norm_bias), weight1)
        out = F.linear(F.gelu(hidden + bias1), weight2, bias2)
        return total + factors[1] * out, hidden

    norm = norm_weight, norm_bias, 1e-5
    out, total, hidden = run_mlp_branch(
        x, branch, more, scales[0], *norm, weight1, bias1, weight2, bias2,
        scales[1], True,
    )  # fmt: skip
    assert (out.dtype, total.dtype, hidden.dtype) == (x.dtype, x.dtype, dtype)
    branch, more, x = exact(branch, more, x)
    expected = x + factors[0] * (branch + more)
    assert_near(total, expected.detach())
    leaves = [expected, *exact(norm_weight, norm_bias, weight1, bias1)]
    leaves += exact(weight2, bias2)
    truth, product = run(*leaves)
    assert_sums_near(hidden, product.detach(), dtype)
    # The norm is rounded, then what is active.
    assert_sums_near(out, truth.detach(), dtype, roundings=2)
    wanted = [more, *leaves]
    expected = torch.autograd.grad(truth, wanted, grad.double())
    dmore, dtotal, dnorm_weight, dnorm_bias, dweight1, dbias1 = expected[:6]

    dx, low, below, dhidden, active, parts, width_parts = (
        differentiate_mlp_branch(
            grad, total, hidden, *norm, weight1, bias1, weight2, *scales
        )
    )
    assert_sums_near(dx, dtotal, dtype, 2)
    if dtype == torch.float32:
        assert len(low) == 0
    else:
        assert low.dtype == dtype
        assert_sums_near(low, dtotal, dtype, 2)
    sums = dnorm_weight, dnorm_bias, dmore, expected[-1]
    for part, truth in zip(parts.sum((1, 2)), sums, strict=True):
        assert_sums_near(part, truth, dtype, 2)
    assert_sums_near(width_parts.sum((0, 1, 2)), dbias1, dtype, 2)
    # The gradients of the weights are products that torch computes.
    for left, right, truth in (
        (dhidden, below, dweight1), (grad, active, expected[-2])
    ):  # fmt: skip
        got = left.double().flatten(0, 2).t() @ right.double().flatten(0, 2)
        assert_sums_near(got, truth, dtype, 2)


@pytest.mark.parametrize('scaled', [False, True])
def test_post_norm_and_its_gradients(make, shape, dtype, scaled):
    channels = shape[-1]
    branch, grad, x = make(*shape), make(*shape), make(*shape).float()
    weight, bias = make(channels), make(channels)
    scale = make(shape[0]) if scaled else None
    leaves = exact(branch, weight, bias)
    out = normalize(*leaves)
    if scaled:
        out = out * scale.double().view(-1, 1, 1, 1)
    args = branch, x, scale, weight, bias, 1e-5
    total, low = post_norm.norm_add(*args, True)
    assert (total.dtype, low.dtype) == (torch.float32, dtype)
    expected = x.double() + out.detach()
    assert_near(total, expected)
    assert_near(low, expected)
    dbranch, *dparams = torch.autograd.grad(out, leaves, grad.double())
    got, parts = post_norm.norm_add_backward(grad, branch, scale, weight, 1e-5)
    assert_near(got, dbranch)
    dparams.append(dbranch.sum((0, 1, 2)))
    for part, truth in zip(parts.sum((1, 2)), dparams, strict=True):
        assert_sums_near(part, truth, dtype)


def test_means_of_images(make, shape, dtype):
    images, height, width, channels = shape
    x = 5 + make(*shape)
    parts = means.sum_cells(x)
    assert_sums_near(parts.sum(1), x.double().sum((1, 2)), dtype)
    conv, conv_bias = make(channels, 1, 3, 3), make(channels)
    weight, bias = make(2 * channels, channels), make(2 * channels)
    args = conv, conv_bias, weight, bias
    got = means.propagate_means(parts, height * width, *args)
    # Of an image that is the same everywhere, and has no border.
    conv, conv_bias, weight, bias = (t.double() for t in args)
    mean = x.double().mean((1, 2)) * conv.sum((1, 2, 3)) + conv_bias
    assert_sums_near(got[0], mean, dtype)
    assert_sums_near(got[1], F.linear(mean, weight, bias), dtype)


def test_convolution_and_its_gradients(make, shape, dtype):
    images, height, width, channels = shape
    channels = min(channels, 20)  # of two tiles
    shape = images, min(height, 3), min(2 * width, 6), channels
    x, grad = make(*shape), make(*shape)
    weight, bias = make(channels, 1, 3, 3), make(channels)
    leaves = exact(x, weight, bias)
    out = F.conv2d(
        leaves[0].permute(0, 3, 1, 2), *leaves[1:], padding=1, groups=channels
    ).permute(0, 2, 3, 1)
    expected = torch.autograd.grad(out, leaves, grad.double())
    mean = make(images, channels).float()
    convolved = convolution.convolve(x, weight, bias, mean)
    assert_near(convolved, out.detach() - mean.double()[:, None, None])
    assert_near(convolution.convolve_back(grad, weight), expected[0])
    parts = convolve_backward(grad, x).sum(0)
    assert_sums_near(parts[:, :9].view_as(weight), expected[1], dtype)
    assert_sums_near(parts[:, 9], expected[2], dtype)


@pytest.mark.parametrize('name', ['norm', 'gated_norm', 'decay'])
def test_shapes_on_the_meta_device(name):
    """So that they can be counted and compiled without being run."""
    x, vector = torch.randn(2, 3, 4, 8), torch.randn(8)
    cases = dict(
        norm=(norm.norm, (x, vector, vector, 1e-5, torch.float16)),
        gated_norm=(
            gate.gated_norm,
            (x, torch.zeros(2, 16), x, vector, vector, 1e-5),
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
