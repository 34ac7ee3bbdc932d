"""What stands for CUDA graphs on a CPU.

It keeps inputs, what the backward pass needs, outputs and gradients in one
place each, as they do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmvheat.ops.versions import is_autocast_enabled


class Recorder:
    """Stands for ``torch.cuda.make_graphed_callables``.

    Args:
        module (nn.Module): What is recorded; its code is not run by replays.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.replays = 0

    def __call__(
        self, function: Callable, inputs: tuple, allow_unused_input: bool
    ) -> Callable:
        assert self.module.training
        assert not is_autocast_enabled('cpu')
        wanted = [x for x in inputs if x.requires_grad]

        def run() -> tuple:
            forward = vars(self.module).pop('forward', None)
            with torch.enable_grad():
                outputs = function(*inputs)
            if forward is not None:
                self.module.forward = forward
            return outputs

        def differentiate(outputs: tuple, gradients: tuple) -> list:
            found = torch.autograd.grad(
                outputs, wanted, gradients, allow_unused=allow_unused_input
            )
            found = iter(found)
            return [next(found) if x.requires_grad else None for x in inputs]

        for _ in range(4):
            live = list(run())
            places = [output.detach().clone() for output in live]
            found = differentiate(live, places)

        class Graphed(torch.autograd.Function):
            @staticmethod
            def forward(ctx: object, *values: Tensor) -> tuple:
                self.replays += 1
                for own, value in zip(inputs, values):
                    if own.data_ptr() != value.data_ptr():
                        own.copy_(value)
                live[:] = run()
                for place, output in zip(places, live):
                    place.copy_(output)
                return tuple(place.detach() for place in places)

            @staticmethod
            @once_differentiable
            def backward(ctx: object, *gradients: Tensor) -> tuple:
                for place, new in zip(found, differentiate(live, gradients)):
                    if place is not None:
                        place.copy_(new)
                return tuple(x if x is None else x.detach() for x in found)

        return Graphed.apply
