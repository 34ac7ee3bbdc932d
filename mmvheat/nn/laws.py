"""Laws of propagation other than heat; their formulas are in mmvheat.ops."""

from __future__ import annotations

from numbers import Real

import torch
from torch import Tensor, nn

from mmvheat.ops import fractional_response, tail_response, wave_response

from .init import init_linear_layers
from .propagator import Propagator
from .sources import make_source


class FractionalHeatPropagator(Propagator):
    """Heat with heavy tails, exp(-k s^(alpha/2)): TailProp, eqs. (1), (5)-(7).

    Args:
        dims (int): Channels C.
        alpha (float): In (0, 2]; 2 is heat, 1 spreads as Cauchy's
            distribution. Defaults to 1.0.

    Raises:
        ValueError: ``alpha`` is out of its range.
    """

    keeps_mean = True

    def __init__(self, dims: int, alpha: float = 1.0) -> None:
        super().__init__(dims)
        _check(self, 'alpha', alpha, 0 < alpha <= 2, 'in (0, 2]')
        self.alpha = alpha

    def response(self, s: Tensor, k: Tensor, x: Tensor) -> Tensor:
        """Compute the decay of every frequency."""
        return fractional_response(s, k, self.alpha)


class TailPropagator(Propagator):
    """A gated mix of heat and of a heavy tail: TailProp, equation (8).

    l exp(-k s) + (1 - l) exp(-k2 sqrt(s)), l = sigmoid(MLP(GAP(x))) for every
    image and channel. The MLP has C / 4 hidden channels.

    Args:
        dims (int): Channels C.
        k2 (str | float): Where the scale of the tail comes from: 'scalar' or
            'vector' learns one, or one a channel; a number keeps it. In
            cells. Defaults to 'vector'.

    Raises:
        ValueError: ``k2`` is none of these, or negative.
    """

    keeps_mean = True
    uses_input = True

    def __init__(self, dims: int, k2: str | float = 'vector') -> None:
        super().__init__(dims)
        learned = k2 in ('scalar', 'vector')
        _check(
            self,
            'k2',
            k2,
            learned or (isinstance(k2, Real) and k2 >= 0),
            "'scalar', 'vector' or a number of at least 0",
        )
        self.to_k2 = make_source(k2, dims)
        hidden = max(dims // 4, 1)
        self.to_gate = nn.Sequential(
            nn.Linear(dims, hidden), nn.GELU(), nn.Linear(hidden, dims)
        )
        init_linear_layers(self.to_gate)

    def response(self, s: Tensor, k: Tensor, x: Tensor) -> Tensor:
        """Compute what is left of every frequency of every image."""
        means = x.mean(tuple(range(1, x.dim() - 1)), keepdim=True)
        gate = torch.sigmoid(self.to_gate(means))
        return tail_response(s, k, self.to_k2(x), gate)


class DampedWavePropagator(Propagator):
    """A damped wave: WaveFormer, equations (6) and (7).

    What takes the place of k is the time t. See
    :func:`mmvheat.ops.wave_response`.

    Args:
        dims (int): Channels C.
        v (float): Speed, in cells per time, non-negative. Defaults to 1.0.
        alpha (float): Damping per time, non-negative. Defaults to 0.1.
        r (float): Initial velocity, as a multiple of the initial value. If
            it is not 0, the mean of an image moves. Defaults to 0.0.

    Raises:
        ValueError: ``v`` or ``alpha`` is negative.
    """

    def __init__(
        self,
        dims: int,
        v: float = 1.0,
        alpha: float = 0.1,
        r: float = 0.0,
    ) -> None:
        super().__init__(dims)
        _check(self, 'v', v, v >= 0, 'at least 0')
        _check(self, 'alpha', alpha, alpha >= 0, 'at least 0')
        self.v, self.alpha, self.r = v, alpha, r

    @property
    def keeps_mean(self) -> bool:
        """Whether the mean stays: without an initial velocity."""
        return self.r == 0

    def response(self, s: Tensor, k: Tensor, x: Tensor) -> Tensor:
        """Compute what is left of every frequency at the times k."""
        return wave_response(s, k, self.v, self.alpha, self.r)


def _check(
    law: Propagator, name: str, value: object, fits: bool, domain: str
) -> None:
    if not fits:
        raise ValueError(
            f'{name} of {type(law).__name__} must be {domain}, but got '
            f'{value!r}'
        )
