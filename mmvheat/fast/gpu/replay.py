"""Forward and backward of a module replayed as CUDA graphs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from mmvheat.ops.versions import get_autocast_dtype, is_autocast_enabled


class Replay:
    """A forward method that replays graphs once after each :meth:`arm`.

    Graphs have one place for what a backward pass needs, so that a second
    replay would spoil the first. Copies of the module have its plain forward.

    Args:
        module (nn.Module): Takes one tensor; its forward is replaced.
        images (Tensor): An input. It becomes a part of the graphs.
        context (Callable): Gives the context of the forward pass, such as
            autocast; the backward pass runs outside of it, as ever.
        warn (Callable): Takes the message that something else runs plainly,
            once. Defaults to warnings.warn.
    """

    def __init__(
        self,
        module: nn.Module,
        images: Tensor,
        context: Callable[[], AbstractContextManager],
        warn: Callable[[str], None] = warnings.warn,
    ) -> None:
        self.module, self.plain = module, module.forward
        self.armed, self.warn = False, warn
        names, self.parameters = zip(*module.named_parameters())

        def forward(images: Tensor, *values: Tensor) -> object:
            weights = dict(zip(names, values))
            with context():
                self.state = _get_state(images)
                # Casts that autocast keeps would lie outside of the graphs.
                with torch.autocast(*self.state[-3:], cache_enabled=False):
                    return torch.func.functional_call(module, weights, images)

        # Other leaves on the same memory: DDP has tied those of the module
        # to the default stream, which may not take part in a recording.
        leaves = [
            parameter.detach().requires_grad_(parameter.requires_grad)
            for parameter in self.parameters
        ]
        buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            self.graphed = torch.cuda.make_graphed_callables(
                forward, (images, *leaves), allow_unused_input=True
            )
        for buffer, before in buffers:
            buffer.copy_(before)
        module.forward = self

    def __reduce__(self) -> tuple:
        # A copy of the module has no attributes yet: this is its class's.
        return getattr, (self.module, 'forward')

    def arm(self) -> None:
        """Allow one replay, which will write over gradients of the last."""
        self.armed = True
        for parameter in self.parameters:
            if parameter.grad is not None:  # in memory of a graph, perhaps
                parameter.grad = parameter.grad.clone()

    def __call__(self, *args: Tensor, **kwargs: object) -> object:
        if not self.module.training or not torch.is_grad_enabled():
            return self.plain(*args, **kwargs)
        fits = (
            len(args) == 1 and not kwargs and _get_state(*args) == self.state
        )
        if self.armed and fits:
            self.armed = False
            return self.graphed(*args, *self.parameters)
        if self.warn:
            self.warn(
                'CUDAGraphHook replays one batch of shape '
                f'{tuple(self.state[0])} an iteration; others run plainly, as '
                f'now one of {[tuple(x.shape) for x in args]}.'
            )
            self.warn = None
        return self.plain(*args, **kwargs)


def _get_state(x: Tensor) -> tuple:
    """Describe all that a recording depends on."""
    device = x.device.type
    dtype = get_autocast_dtype(device)
    enabled = is_autocast_enabled(device)
    return x.shape, x.dtype, x.requires_grad, device, dtype, enabled
