"""Heat conduction against scipy, in every precision."""

import numpy as np
import pytest
import scipy.fft
import torch
from torch._subclasses import FakeTensorMode

from mmvheat.ops import conduct_heat, get_compute_dtype, heat_decay

SIZES = [(1, 1), (1, 5), (7, 1), (8, 8), (3, 4), (13, 31), (25, 42), (56, 56)]
BOUNDS = {torch.bfloat16: 2e-2, torch.float16: 4e-3}


def conduct_heat_slowly(x, k):
    """Conduct heat with scipy in double precision."""
    height, width, _ = k.shape
    n = np.arange(height)[:, None, None] * np.pi / height
    m = np.arange(width)[None, :, None] * np.pi / width
    decay = np.exp(-k.double().numpy() * (n**2 + m**2))
    spectrum = scipy.fft.dctn(x.double().numpy(), axes=(1, 2), norm='ortho')
    u = scipy.fft.idctn(spectrum * decay, axes=(1, 2), norm='ortho')
    return torch.from_numpy(u)


def make_input(height, width, *, channels=5, batch=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(height * 1000 + width)
    x = torch.randn(batch, height, width, channels, generator=generator)
    k = torch.rand(height, width, channels, generator=generator) * 3
    return x.to(dtype), k.to(dtype)


@pytest.mark.parametrize('size', SIZES)
def test_equals_scipy(size):
    x, k = make_input(*size)
    error = conduct_heat(x, k) - conduct_heat_slowly(x, k)
    assert error.abs().max() <= 1e-10


@pytest.mark.parametrize('size', SIZES)
def test_without_diffusivity_nothing_moves(size):
    x, k = make_input(*size)
    torch.testing.assert_close(
        conduct_heat(x, torch.zeros_like(k)), x, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize('size', SIZES)
def test_times_add_up(size):
    x, first = make_input(*size)
    second = make_input(*size)[1].flip(0)
    torch.testing.assert_close(
        conduct_heat(conduct_heat(x, first), second),
        conduct_heat(x, first + second),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize('size', SIZES)
def test_heat_is_conserved(size):
    x, k = make_input(*size)
    torch.testing.assert_close(
        conduct_heat(x, k).mean((1, 2)), x.mean((1, 2)), rtol=0, atol=1e-12
    )


def test_long_conduction_leaves_the_mean():
    x, k = make_input(9, 12)
    u = conduct_heat(x, torch.full_like(k, 1e4))
    torch.testing.assert_close(u, x.mean((1, 2), keepdim=True).expand_as(u))


@pytest.mark.parametrize('limit', [float('inf'), 1e38])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
def test_infinite_diffusivity_leaves_the_mean(dtype, limit):
    x, k = make_input(9, 12, dtype=dtype)
    k = torch.full_like(k, limit).requires_grad_()
    u = conduct_heat(x, k)
    torch.testing.assert_close(u, x.mean((1, 2), keepdim=True).expand_as(u))
    u.square().sum().backward()
    assert k.grad.isfinite().all()


def test_diffusivity_beyond_half_precision_leaves_the_mean():
    x, k = make_input(30, 40, dtype=torch.float32)
    k = torch.full_like(k, 1e5).half()  # infinite there
    u = conduct_heat(x, k)
    torch.testing.assert_close(u, x.mean((1, 2), keepdim=True).expand_as(u))


def test_gradients_are_exact():
    x, k = make_input(3, 4, channels=2, batch=1)
    inputs = x.requires_grad_(), k.requires_grad_()
    assert torch.autograd.gradcheck(
        conduct_heat, inputs, check_forward_ad=True
    )
    assert torch.autograd.gradgradcheck(conduct_heat, inputs)


def test_batches_may_be_mapped():
    x, k = make_input(6, 7)
    mapped = torch.func.vmap(conduct_heat, in_dims=(0, None))(x[:, None], k)
    torch.testing.assert_close(mapped[:, 0], conduct_heat(x, k))


def test_rounded_factors_keep_the_signal(monkeypatch):
    """As TF32 does on a GPU: 10 bits of mantissa in all factors."""
    matmul = torch.matmul

    def round_factor(t):
        bits = t.contiguous().view(torch.int32)
        return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)

    monkeypatch.setattr(
        torch, 'matmul', lambda a, b: matmul(round_factor(a), round_factor(b))
    )
    x, k = make_input(200, 336, channels=1, dtype=torch.float32)
    x = x + 10
    u = conduct_heat(x, k)
    expected = conduct_heat_slowly(x, k)
    signal = expected - expected.mean((1, 2), keepdim=True)
    assert (u - expected).abs().max() <= 4e-3 * signal.abs().max()


def test_decay_is_at_least_single_precision():
    k = torch.rand(6, 5, 2)
    for dtype in (torch.bfloat16, torch.float16):
        decay = heat_decay(k.to(dtype))
        assert decay.dtype == torch.float32
        assert decay.equal(heat_decay(k.to(dtype).float()))
    assert heat_decay(k.double()).dtype == torch.float64


@pytest.mark.parametrize('dtype', BOUNDS, ids=str)
@pytest.mark.parametrize('input_dtype', ['single', 'half'])
@pytest.mark.parametrize('size', [(7, 11), (56, 56), (200, 336)])
@pytest.mark.parametrize('mean', [0, 10])
@pytest.mark.parametrize('smooth', [False, True])
@pytest.mark.parametrize('strength', [0.0, 0.5, 5.0])
def test_half_precision_keeps_the_signal(
    dtype, input_dtype, size, mean, smooth, strength
):
    """Autocast errs by little of the signal around the mean.

    Both the Euclidean norm and the maximum of the error are relative to
    those of the *output* without its mean, the least of the signals around.
    ``mean`` counts standard deviations of the input. The reference gets the
    input as rounded.
    """
    channels = 2 if size == (200, 336) else 6
    x, k = make_input(*size, channels=channels, batch=1, dtype=torch.float32)
    if smooth:
        x = conduct_heat_slowly(x, torch.full_like(k, 2.0)).float()
    x = (x - x.mean((1, 2), keepdim=True)) / x.std() + mean
    k = k / 3 * strength
    if input_dtype == 'half':
        x = x.to(dtype)

    with torch.autocast('cpu', dtype=dtype):
        u = conduct_heat(x, k)

    assert u.dtype == torch.float32
    expected = conduct_heat_slowly(x, k)
    signal = expected - expected.mean((1, 2), keepdim=True)
    error = u.double() - expected
    assert error.norm() <= BOUNDS[dtype] * signal.norm()
    assert error.abs().max() <= BOUNDS[dtype] * signal.abs().max()


@pytest.mark.parametrize('dtype', BOUNDS, ids=str)
def test_half_models_keep_the_signal_beside_a_large_mean(dtype):
    # Without autocast the result itself is in half precision, so the bound
    # is relative to the input, whose spread is 1.
    x, k = make_input(56, 84, batch=1)
    x, k = (x + 10).to(dtype), k.to(dtype)
    u = conduct_heat(x, k)
    assert u.dtype == dtype
    error = u.double() - conduct_heat_slowly(x, k)
    spread = x.double() - x.double().mean((1, 2), keepdim=True)
    assert error.norm() <= BOUNDS[dtype] * spread.norm()


@pytest.mark.parametrize('dtype', BOUNDS, ids=str)
def test_gradients_survive_autocast(dtype):
    x, k = make_input(20, 30, dtype=torch.float32)
    x = (x + 10).requires_grad_()
    k.requires_grad_()
    weight = torch.randn_like(x)

    with torch.autocast('cpu', dtype=dtype):
        loss = (conduct_heat(x, k) * weight).sum()
    gradients = torch.autograd.grad(loss, (x, k))

    exact = (x.detach().double().requires_grad_(), k.detach().double())
    exact[1].requires_grad_()
    loss = (conduct_heat(*exact) * weight.double()).sum()
    for gradient, expected in zip(gradients, torch.autograd.grad(loss, exact)):
        error = (gradient.double() - expected).norm() / expected.norm()
        assert error <= BOUNDS[dtype]


@pytest.mark.parametrize('input_dtype', [torch.float32, torch.float16])
@pytest.mark.parametrize('autocast', [True, False])
def test_large_means_do_not_overflow(input_dtype, autocast):
    # The orthonormal coefficient of this mean is 259 * 1000 > 65504.
    x, k = make_input(200, 336, channels=1, dtype=torch.float32)
    x = (x + 1000).to(input_dtype)
    with torch.autocast('cpu', dtype=torch.float16, enabled=autocast):
        u = conduct_heat(x, k)
    assert u.isfinite().all()
    error = (u.double() - conduct_heat_slowly(x, k)).abs().max()
    # Half the distance of neighbouring numbers near 1000 in half precision.
    assert error <= (0.26 if u.dtype == torch.float16 else 0.01)


def test_compute_dtype_follows_autocast():
    x = torch.ones(1, 2, 2, 2)
    assert get_compute_dtype(x) == torch.float32
    assert get_compute_dtype(x.half()) == torch.float16
    assert get_compute_dtype(x.to('meta')) == torch.float32
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert get_compute_dtype(x) == torch.bfloat16
        assert get_compute_dtype(x.half()) == torch.bfloat16
        # Double precision is left alone, as by torch's own products.
        assert get_compute_dtype(x.double()) == (x.double() @ x.double()).dtype
        assert get_compute_dtype(x.to('meta')) == torch.float32


def test_training_goes_on_after_inference_mode():
    x, k = make_input(11, 10)
    with torch.inference_mode():
        conduct_heat(x, k)
    conduct_heat(x.requires_grad_(), k).sum().backward()
    assert x.grad.isfinite().all()


def test_fake_tensors_have_shapes():
    x, k = make_input(17, 18)
    with FakeTensorMode() as mode:
        u = conduct_heat(mode.from_tensor(x), mode.from_tensor(k))
    assert u.shape == x.shape


@pytest.mark.parametrize(
    'shape', [(3, 4), (3, 4, 2, 1), (4, 3, 2), (3, 4, 3), (1, 3, 4, 2)]
)
def test_shapes_that_do_not_fit_are_named(shape):
    with pytest.raises(ValueError, match=r'\(1, 3, 4, 2\) and \(\d'):
        conduct_heat(torch.ones(1, 3, 4, 2), torch.ones(shape))


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int64, torch.bool])
def test_integers_are_refused(dtype):
    x = torch.ones(1, 4, 5, 3).to(dtype)
    with pytest.raises(TypeError, match=f'but got {dtype}; take x.float'):
        conduct_heat(x, torch.ones(4, 5, 3))


def test_complex_features_are_two_plates():
    x, k = make_input(4, 5)
    parts = conduct_heat(x, k), conduct_heat(x.flip(1), k)
    whole = conduct_heat(torch.complex(x, x.flip(1)), k)
    torch.testing.assert_close(whole, torch.complex(*parts))
