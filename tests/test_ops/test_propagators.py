"""Responses of the laws against mpmath, and what physics demands of them."""

import math

import mpmath
import numpy as np
import pytest
import scipy.fft
import torch

from mmvheat.ops import (
    fractional_response,
    heat_response,
    propagate,
    squared_frequencies,
    tail_response,
    wave_response,
)

SIZES = [(7,), (1,), (6, 5), (12, 9), (3, 4, 5)]


@pytest.fixture(autouse=True)
def both_states():
    """Pure functions have one state."""


@pytest.fixture(autouse=True)
def forty_digits():
    with mpmath.workdps(40):
        yield


def evaluate(formula, *arguments):
    """Evaluate a formula of mpmath over arrays that broadcast."""
    arrays = np.broadcast_arrays(*arguments)
    values = [
        float(formula(*map(mpmath.mpf, map(float, point))))
        for point in zip(*(array.ravel() for array in arrays))
    ]
    return torch.tensor(values, dtype=torch.float64).reshape(arrays[0].shape)


def draw(rng, size, low, high, *, log=False):
    values = rng.uniform(low, high, size)
    return torch.from_numpy(10**values if log else values)


def fractional(s, k, alpha):
    return mpmath.exp(-k * s ** (alpha / 2))


def tail(s, k1, k2, gate):
    cauchy = mpmath.exp(-k2 * mpmath.sqrt(s))
    return gate * mpmath.exp(-k1 * s) + (1 - gate) * cauchy


def wave(s, t, v, alpha, r):
    """The textbook's solution, by complex numbers."""
    omega = mpmath.sqrt(v**2 * s - (alpha / 2) ** 2)
    sine = mpmath.sin(omega * t) / omega if omega else t
    value = mpmath.cos(omega * t) + (r + alpha / 2) * sine
    return mpmath.re(mpmath.exp(-alpha * t / 2) * value)


@pytest.mark.parametrize('sizes', SIZES, ids=str)
@pytest.mark.parametrize('seed', range(3))
class TestAgainstMpmath:
    """Random parameters of every frequency and channel."""

    @pytest.fixture
    def rng(self, seed, sizes):
        return np.random.default_rng([seed, *sizes])

    @pytest.fixture
    def s(self, sizes):
        s = squared_frequencies(sizes, dtype=torch.float64)
        s = s.expand(*sizes, 2)
        grid = np.meshgrid(
            *((np.arange(n) * math.pi / n) ** 2 for n in sizes),
            indexing='ij',
        )
        np.testing.assert_allclose(s[..., 0], sum(grid), rtol=1e-14)
        return s

    def test_heat(self, s, rng):
        k = draw(rng, s.shape, -3, 2, log=True)
        expected = evaluate(lambda s, k: mpmath.exp(-k * s), s, k)
        assert (heat_response(s, k) - expected).abs().max() <= 1e-12

    def test_fractional(self, s, rng):
        k = draw(rng, s.shape, -3, 2, log=True)
        alpha = draw(rng, s.shape, 0.05, 2)
        got = fractional_response(s, k, alpha)
        expected = evaluate(fractional, s, k, alpha)
        assert (got - expected).abs().max() <= 1e-12

    def test_tail(self, s, rng):
        k1, k2 = (draw(rng, s.shape, -3, 2, log=True) for _ in range(2))
        gate = draw(rng, s.shape, 0, 1)
        got = tail_response(s, k1, k2, gate)
        expected = evaluate(tail, s, k1, k2, gate)
        assert (got - expected).abs().max() <= 1e-12

    def test_wave(self, s, rng):
        t = draw(rng, s.shape, 0, 10)
        v = draw(rng, s.shape, 0, 3)
        alpha = draw(rng, s.shape, -3, 4, log=True)
        r = draw(rng, s.shape, -2, 2)
        got = wave_response(s, t, v, alpha, r)
        expected = evaluate(wave, s, t, v, alpha, r)
        scale = expected.abs().clamp(min=1)
        assert ((got - expected).abs() / scale).max() <= 1e-9


@pytest.mark.parametrize('distance', [0, 1e-14, 1e-9, 1e-4, 1e-2, 0.3])
@pytest.mark.parametrize('sign', [1, -1])
def test_wave_is_smooth_where_it_stops_swinging(distance, sign):
    alpha = torch.tensor([0.1, 1.0, 7.0], dtype=torch.float64)
    s = (alpha / 2).square() * (1 + sign * distance)
    got = wave_response(s, 3.0, 1.0, alpha, 0.5)
    expected = evaluate(wave, s, 3.0, 1.0, alpha, 0.5)
    assert (got - expected).abs().max() <= 1e-12


LAWS = {
    'heat': (heat_response, (0.7,)),
    'fractional': (fractional_response, (0.7, 1.3)),
    'tail': (tail_response, (0.7, 0.4, 0.3)),
    'wave': (wave_response, (2.0, 1.0, 0.8, -0.4)),
    'wave that creeps': (wave_response, (2.0, 0.5, 9.0, 0.4)),
    'wave at the border': (wave_response, (1.5, 1.0, 2.0, 0.3)),
}


@pytest.mark.parametrize('law', LAWS)
def test_gradients_are_exact(law):
    response, values = LAWS[law]
    # Frequency 0, the border of the last wave at 1, and on both sides.
    s = torch.tensor([0, 0.4, 1, 1 + 1e-7, 3, 18], dtype=torch.float64)
    parameters = [
        torch.tensor(v, dtype=torch.float64, requires_grad=True)
        for v in values
    ]
    assert torch.autograd.gradcheck(
        lambda *p: response(s, *p), parameters, check_forward_ad=True
    )
    assert torch.autograd.gradgradcheck(lambda *p: response(s, *p), parameters)


@pytest.mark.parametrize('law', LAWS)
def test_numbers_keep_the_precision_of_s(law):
    response, values = LAWS[law]
    s = torch.linspace(0, 9, 7, dtype=torch.float64)
    exact = response(s, *torch.tensor(values, dtype=torch.float64))
    assert response(s, *values).equal(exact)
    single = response(s.float(), *values)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=2e-6)


@pytest.mark.parametrize('alpha', [0.3, 1.0, 2.0])
def test_times_of_fractional_diffusion_add_up(alpha):
    s = torch.linspace(0, 20, 50, dtype=torch.float64)
    both = fractional_response(s, 0.3, alpha) * fractional_response(
        s, 1.1, alpha
    )
    torch.testing.assert_close(
        both, fractional_response(s, 1.4, alpha), rtol=1e-12, atol=0
    )


def test_two_is_heat_and_a_gate_of_one_too():
    s = torch.linspace(0, 20, 50, dtype=torch.float64)
    heat = torch.exp(-0.7 * s)
    torch.testing.assert_close(fractional_response(s, 0.7, 2.0), heat)
    torch.testing.assert_close(tail_response(s, 0.7, 0.2, 1.0), heat)


@pytest.mark.parametrize('alpha', [1e4, 1e6, 1e8])
def test_strong_damping_makes_heat_of_the_wave(alpha):
    s = torch.linspace(0, 20, 50, dtype=torch.float64)
    k = 0.3
    wave = wave_response(s, 1.0, math.sqrt(k * alpha), alpha)
    heat = torch.exp(-k * s)
    # The next term of the expansion is of order 1 / alpha.
    assert (wave - heat).abs().max() <= 20 / alpha


@pytest.mark.parametrize('alpha', [0.0, 1e-9, 0.2, 40.0])
def test_wave_moves_the_mean_by_its_velocity(alpha):
    zero = torch.zeros(1, dtype=torch.float64)
    t, r = 3.0, 0.7
    velocity = t if alpha == 0 else -math.expm1(-alpha * t) / alpha
    got = wave_response(zero, t, 1.3, alpha, r).item()
    assert got == pytest.approx(1 + r * velocity, abs=1e-12)
    assert wave_response(zero, t, 1.3, alpha).item() == pytest.approx(1)


@pytest.mark.parametrize(
    ('name', 'parameters'), [('heat', ()), ('fractional', (0.6,))]
)
def test_infinity_leaves_the_mean(name, parameters):
    k = torch.tensor(math.inf, requires_grad=True)
    s = torch.tensor([0.0, 1e-3, 5.0])
    h = LAWS[name][0](s, k, *parameters)
    assert h.tolist() == [1, 0, 0]
    h.sum().backward()
    assert k.grad.isfinite()


# --- fields ---------------------------------------------------------------


def make_field(sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *sizes, 3, generator=generator, dtype=torch.float64)


def propagate_slowly(x, response):
    """Apply a response with scipy."""
    axes = tuple(range(1, x.dim() - 1))
    spectrum = scipy.fft.dctn(x.numpy(), axes=axes, norm='ortho')
    spectrum *= response.numpy()
    return torch.from_numpy(scipy.fft.idctn(spectrum, axes=axes, norm='ortho'))


@pytest.mark.parametrize('sizes', SIZES, ids=str)
@pytest.mark.parametrize('mean', [0.0, 10.0])
@pytest.mark.parametrize('per_image', [False, True])
def test_propagation_equals_scipy(sizes, mean, per_image):
    x = make_field(sizes) + mean
    t = 2 + make_field(sizes, seed=1).tanh()
    if not per_image:
        t = t[0]
    response = wave_response(
        squared_frequencies(x.shape[1:-1], dtype=x.dtype), t, 1.0, 0.3, r=0.5
    )
    u = propagate(x, response, keeps_mean=False)
    expected = propagate_slowly(x, response)
    assert (u - expected).abs().max() <= 1e-10


def test_gradients_of_a_moving_mean_are_exact():
    x = (make_field((3, 4))[:1] + 5).requires_grad_()
    response = 0.5 + make_field((3, 4), seed=1)[0]
    assert torch.autograd.gradcheck(
        lambda x, h: propagate(x, h, keeps_mean=False),
        (x, response.requires_grad_()),
    )


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_moving_means_are_exact_under_autocast(dtype):
    x = make_field((30, 40)).float() + 100
    response = wave_response(
        squared_frequencies(x.shape[1:-1], dtype=x.dtype), 1.5, 1.0, 0.1, 0.3
    )
    with torch.autocast('cpu', dtype):
        u = propagate(x, response, keeps_mean=False)
    assert u.dtype == torch.float32
    expected = propagate_slowly(x.double(), response.double())
    signal = expected - expected.mean((1, 2), keepdim=True)
    assert (u - expected).norm() <= 2e-2 * signal.norm()


@pytest.mark.parametrize('sizes', [(9,), (6, 5), (4, 3, 5)], ids=str)
@pytest.mark.parametrize('alpha', [0.0, 0.3, 5.0])
def test_wave_obeys_its_equation(sizes, alpha):
    """u'' + alpha u' = v^2 Lu, by finite differences in time."""
    x, v, r, t, step = make_field(sizes), 1.2, 0.4, 1.7, 1e-3
    s = squared_frequencies(x.shape[1:-1], dtype=x.dtype)

    def field(time):
        response = wave_response(s, time, v, alpha, r)
        return propagate(x, response, keeps_mean=False)

    before, now, after = (field(t + d) for d in (-step, 0, step))
    acceleration = (after - 2 * now + before) / step**2
    velocity = (after - before) / (2 * step)
    force = -(v**2) * propagate_slowly(now, s)
    residual = acceleration + alpha * velocity - force
    assert residual.abs().max() <= 1e-4 * force.abs().max()
    torch.testing.assert_close(field(0.0), x)
    start = (field(step) - field(0.0)) / step
    assert (start - r * x).abs().max() <= 0.05 * force.abs().max()


@pytest.mark.parametrize('alpha', [0.0, 0.3, 5.0])
def test_energy_of_the_wave_only_falls(alpha):
    s, v = torch.linspace(0, 18, 40, dtype=torch.float64), 1.3
    times = torch.linspace(0.01, 6, 120, dtype=torch.float64)[:, None]
    h, velocity = torch.func.jvp(
        lambda t: wave_response(s, t, v, alpha, 0.5),
        (times,),
        (torch.ones_like(times),),
    )
    energy = velocity.square() + v**2 * s * h.square()
    change = energy.diff(dim=0)
    assert change.max() <= 1e-9
    if alpha == 0:
        assert change.abs().max() <= 1e-9
    else:
        assert (energy[-1] < 0.8 * energy[0]).all()


@pytest.mark.parametrize(
    'response',
    [
        lambda s: fractional_response(s, 0.5, 1.0),
        lambda s: tail_response(s, 0.5, 0.3, 0.4),
    ],
    ids=['fractional', 'tail'],
)
def test_energy_of_diffusion_falls_and_the_mean_stays(response):
    x = make_field((8, 6))
    u = propagate(
        x, response(squared_frequencies(x.shape[1:-1], dtype=x.dtype))
    )
    assert u.square().sum() < x.square().sum()
    torch.testing.assert_close(u.mean((1, 2)), x.mean((1, 2)))


def test_tails_reach_farther_than_heat():
    """What comes from a spot 20 cells away, far from the borders."""
    x = torch.zeros(1, 801, 1, dtype=torch.float64)
    x[:, 400] = 1
    s = squared_frequencies(x.shape[1:-1], dtype=x.dtype)
    heat = propagate(x, heat_response(s, 2.0))[0, :, 0]
    cauchy = propagate(x, fractional_response(s, 2.0, 1.0))[0, :, 0]
    assert heat[420] < 1e-10
    # The density of Cauchy's distribution of scale 2.
    density = 2 / (math.pi * (2**2 + 20**2))
    assert cauchy[420].item() == pytest.approx(density, rel=0.05)
