"""What a propagator is, and the paper's: heat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmvheat.fast import accelerated
from mmvheat.ops import heat_response, propagate, squared_frequencies


class Propagator(nn.Module):
    """A law by which features spread, given by its response to a frequency.

    A law of your own is a subclass with two members, ``keeps_mean`` and
    :meth:`response`; see docs/propagators.md.

    Attributes:
        keeps_mean (bool): The mean rule: whether the response is 1 at s = 0,
            whatever the parameters. The mean of an image then passes by the
            transforms, in full precision; else it is multiplied by the
            response.
        uses_input (bool): Whether the response depends on the features.

    Args:
        dims (int): Channels C.

    Raises:
        TypeError: A subclass has no mean rule.
    """

    keeps_mean: bool | None = None
    uses_input = False

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        if cls.keeps_mean is None:
            raise TypeError(
                f'{cls.__name__} needs a mean rule: set keeps_mean = True if '
                'its response is 1 at s = 0 for all parameters, else '
                'keeps_mean = False'
            )

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor, k: Tensor) -> Tensor:
        """Let features spread.

        Args:
            x (Tensor): Shape (B, H, W, C), or with one size or three.
            k (Tensor): Strength, (H, W, C) for every frequency and channel,
                (B, 1, 1, C) for every image and channel, or a scalar or
                (C,); non-negative.

        Returns:
            Tensor: In the shape of ``x``.
        """
        return propagate(x, self.respond(x, k), keeps_mean=self.keeps_mean)

    @accelerated
    def respond(self, x: Tensor, k: Tensor) -> Tensor:
        """Compute the response to the frequencies of features.

        Args:
            x (Tensor): Shape (B, H, W, C), or with one size or three.
            k (Tensor): As :meth:`forward` takes it.

        Returns:
            Tensor: Broadcasts against (B, H, W, C).
        """
        s = squared_frequencies(x.shape[1:-1], dtype=x.dtype, device=x.device)
        return self.response(s, k, x)

    def response(self, s: Tensor, k: Tensor, x: Tensor) -> Tensor:
        """Compute how much of every frequency is left.

        Args:
            s (Tensor): Squared frequencies in (radians per cell) squared,
                shape (H, W, 1), or with one size or three.
            k (Tensor): As :meth:`forward` takes it.
            x (Tensor): The features, for laws that depend on them.

        Returns:
            Tensor: Broadcasts against (B, H, W, C).
        """
        raise NotImplementedError


class HeatPropagator(Propagator):
    """Heat conduction, the law of vHeat: exp(-k s), equation (6).

    k is diffusivity times time, in cells squared.
    """

    keeps_mean = True

    def response(self, s: Tensor, k: Tensor, x: Tensor) -> Tensor:
        """Compute the decay of every frequency."""
        return heat_response(s, k)


def check_propagator(propagator: Propagator) -> Propagator:
    """Check what a block is given as its propagator.

    Raises:
        TypeError: It is no propagator.
        ValueError: Its mean rule is wrong.
    """
    if not isinstance(propagator, Propagator):
        raise TypeError(
            'a propagator must be an instance of mmvheat.nn.Propagator, but '
            f'got {propagator!r}'
        )
    like = next(propagator.parameters(), torch.empty(0))
    modes = {module: module.training for module in propagator.modules()}
    propagator.eval()  # one value a channel is too few for a batch norm
    with torch.no_grad():
        k = like.new_ones(propagator.dims)
        s, x = like.new_zeros(1, 1, 1), k[None, None, None]
        mean = propagator.response(s, k, x)
    for module, training in modes.items():
        module.training = training
    if (
        propagator.keeps_mean
        and mean.device.type != 'meta'
        and (mean - 1).abs().max() > 1e-3
    ):
        raise ValueError(
            f'{type(propagator).__name__} says keeps_mean = True, but its '
            f'response at s = 0 is {mean.flatten()[0].item():.3g}; set '
            'keeps_mean = False'
        )
    return propagator
