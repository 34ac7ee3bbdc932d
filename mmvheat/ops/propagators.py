r"""How much of every frequency is left: the family of propagators.

On an insulated plate every linear, isotropic and stationary law of
propagation multiplies each cosine by a number that depends on its frequency
alone, its response h:

.. math::
    u = IDCT(h(s) \, DCT(u_0)), \quad s = \sum_d \omega_d^2, \quad
    \omega_d = n_d \pi / N_d,

in one, two, three or more dimensions d. The functions here are such h. They
are pure, take numbers, or tensors that broadcast against s, and are
differentiable in all parameters; :func:`mmvheat.ops.squared_frequencies`
gives s and :func:`mmvheat.ops.propagate` applies h.

==============================  ===========================  =============
law                             equation of motion           h(0)
==============================  ===========================  =============
:func:`heat_response`           u' = k Lu                    1
:func:`fractional_response`     u' = -k (-L)^(a/2) u         1
:func:`tail_response`           mix of a = 2 and a = 1       1
:func:`wave_response`           u'' + a u' = v^2 Lu          1 if r = 0
==============================  ===========================  =============

L is the Laplace operator with insulated borders; its eigenvalues are -s.
Sources: vHeat (arXiv 2405.16555) equation (6); TailProp equations (1), (5) to
(7) for fractional, (8) for the mix; WaveFormer (AAAI 2026, arXiv 2601.08602)
equations (6) and (7). The code published with WaveFormer computes another
function: results of that paper are none of this one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .heat import heat_response

_BORDER = 1e-2
"""Where (omega t)^2 is less, swinging and creeping are one power series."""


def fractional_response(
    s: Tensor, k: Tensor | float, alpha: Tensor | float
) -> Tensor:
    r"""Compute :math:`e^{-k s^{\alpha/2}}`: spreading with heavy tails.

    In space it is a stable distribution: alpha = 2 is heat (Gauss), alpha = 1
    Cauchy's. The smaller alpha, the farther single cells reach.

    Args:
        s (Tensor): Squared frequencies, non-negative.
        k (Tensor | float): Strength, non-negative, in cells^alpha.
        alpha (Tensor | float): In (0, 2].

    Returns:
        Tensor: In [0, 1], 1 at s = 0.

    Example:
        >>> s = torch.tensor([0.0, 1.0, 4.0])
        >>> fractional_response(s, 1.0, alpha=1.0)
        tensor([1.0000, 0.3679, 0.1353])
    """
    # The derivative by alpha holds log s, which has no value at 0.
    spreads = s > 0
    power = torch.where(spreads, s, torch.ones_like(s)) ** (alpha / 2)
    return heat_response(torch.where(spreads, power, 0), k)


def tail_response(
    s: Tensor,
    k1: Tensor | float,
    k2: Tensor | float,
    gate: Tensor | float,
) -> Tensor:
    r"""Compute :math:`\lambda e^{-k_1 s} + (1 - \lambda) e^{-k_2 \sqrt s}`.

    A mix of heat and of the heavy-tailed fractional law with alpha = 1.

    Args:
        s (Tensor): Squared frequencies, non-negative.
        k1 (Tensor | float): Diffusivity times time of heat, non-negative.
        k2 (Tensor | float): Scale of the tail, in cells, non-negative.
        gate (Tensor | float): lambda in [0, 1]; TailProp predicts one for
            every image and channel.

    Returns:
        Tensor: In [0, 1], 1 at s = 0.
    """
    heat, cauchy = heat_response(s, k1), fractional_response(s, k2, 1.0)
    return cauchy + gate * (heat - cauchy)


def wave_response(
    s: Tensor,
    t: Tensor | float,
    v: Tensor | float = 1.0,
    alpha: Tensor | float = 0.0,
    r: Tensor | float = 0.0,
) -> Tensor:
    r"""Compute what a damped wave leaves of every frequency.

    The solution at time t of :math:`h'' + \alpha h' + v^2 s h = 0` with
    :math:`h(0) = 1, h'(0) = r`,

    .. math::
        h = e^{-\alpha t/2} \left(\cos \omega t + (r + \alpha/2)
        \frac{\sin \omega t}{\omega}\right), \quad
        \omega^2 = v^2 s - (\alpha/2)^2 .

    Low frequencies, :math:`\omega^2 < 0`, creep: cosh and sinh, computed
    from two decaying exponentials that neither overflow nor cancel. Around
    :math:`\omega = 0` both are one power series, so that gradients exist. With
    r = 0 and alpha to infinity, :math:`v^2/\alpha = k`, it becomes heat.

    Args:
        s (Tensor): Squared frequencies, non-negative.
        t (Tensor | float): Time, non-negative and finite.
        v (Tensor | float): Speed of the wave in cells per time,
            non-negative. Defaults to 1.0.
        alpha (Tensor | float): Damping per time, non-negative.
            Defaults to 0.0.
        r (Tensor | float): Initial velocity as a multiple of the initial
            value. Defaults to 0.0.

    Returns:
        Tensor: The response; at s = 0 it is 1 for r = 0, else
        1 + r (1 - exp(-alpha t)) / alpha.
    """
    t, v, alpha, r = (
        p.to(torch.promote_types(s.dtype, p.dtype))
        if isinstance(p, Tensor)
        else s.new_full((), p)
        for p in (t, v, alpha, r)
    )
    half = alpha / 2
    squared = v.square() * s - half.square()  # omega^2
    phase = squared * t.square()
    near, swings = phase.abs() < _BORDER, phase > 0
    # Where a branch is not taken its argument is 1: no NaN in its gradient.
    one = torch.ones_like(phase)

    omega = torch.where(swings & ~near, squared, one).sqrt()
    swing = torch.exp(-half * t) * (
        torch.cos(omega * t) + (r + half) * torch.sin(omega * t) / omega
    )

    kappa = torch.where(~swings & ~near, -squared, one).sqrt()
    fast = half + kappa
    # half - kappa without the cancellation, but where it does not creep.
    slow = torch.where(swings | near, one, v.square() * s / fast)
    gap = torch.expm1(-2 * kappa * t)
    creep = torch.exp(-slow * t) * (
        1 + gap / 2 - (r + half) * gap / (2 * kappa)
    )

    cosine, sine = _sum_series(torch.where(near, phase, 0))
    border = torch.exp(-half * t) * (cosine + (r + half) * t * sine)
    return torch.where(near, border, torch.where(swings, swing, creep))


def _sum_series(phase: Tensor) -> tuple[Tensor, Tensor]:
    """Sum cos(x) and sin(x) / x for a small x^2, to double precision."""
    cosine = sine = torch.ones_like(phase)
    for n in (8, 6, 4, 2):
        cosine = 1 - phase * cosine / (n * (n - 1))
        sine = 1 - phase * sine / (n * (n + 1))
    return cosine, sine
