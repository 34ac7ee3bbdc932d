"""Train with a backbone that is replayed as a CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from mmvheat.errors import UserError
from mmvheat.models.arch import parse_img_size
from mmvheat.ops import autocast_state


@HOOKS.register_module()
class CUDAGraphHook(Hook):
    """Record training of the backbone once, and replay it as CUDA graphs.

    Only whole training batches of one size are replayed, see
    docs/training.md.

    Args:
        size (int | Sequence[int]): Height and width in pixels of the images
            that the backbone gets in training.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = parse_img_size(size)
        self.replay: Replay | None = None

    def before_train(self, runner: Runner) -> None:
        """Record, before threads of the data loader call CUDA.

        Raises:
            UserError: The run has what a recording would spoil.
            RuntimeError: The backbone cannot be recorded.
        """
        if not torch.cuda.is_available():
            runner.logger.warning('CUDAGraphHook does nothing without CUDA.')
            return
        backbone = find_backbone(runner)
        batch = runner.train_dataloader.batch_sampler.batch_size
        device = next(backbone.parameters()).device
        images = torch.zeros(batch, 3, *self.size, device=device)
        runner.model.train()
        try:
            self.replay = Replay(
                backbone,
                images,
                lambda: runner.optim_wrapper.optim_context(runner.model),
            )
        except Exception as error:
            raise RuntimeError(
                'Training of the backbone cannot be recorded as CUDA graphs '
                f'at {tuple(images.shape)}, for the reason above; take '
                'CUDAGraphHook out of the config to train without them.'
            ) from error

    def before_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Allow one replay in the iteration."""
        if self.replay is not None:
            self.replay.arm()

    def after_train(self, runner: Runner) -> None:
        """Put the plain forward back."""
        if self.replay is not None:
            del self.replay.module.forward
            self.replay = None


class Replay:
    """A forward method that replays graphs once after each :meth:`arm`.

    Graphs have one place for what a backward pass needs, so that a second
    replay would spoil the first. Copies of the module have its plain forward.

    Args:
        module (nn.Module): Takes one tensor; its forward is replaced.
        images (Tensor): An input. It becomes a part of the graphs.
        context (Callable): Gives the context of the forward pass, such as
            autocast; the backward pass runs outside of it, as ever.
    """

    def __init__(
        self,
        module: nn.Module,
        images: Tensor,
        context: Callable[[], AbstractContextManager],
    ) -> None:
        self.module, self.plain = module, module.forward
        self.armed = self.told = False
        names, self.parameters = zip(*module.named_parameters())

        def forward(images: Tensor, *values: Tensor) -> object:
            weights = dict(zip(names, values))
            with context():
                self.state = _get_state(images)
                # Casts that autocast keeps would lie outside of the graphs.
                amp = autocast_state(images, cache_enabled=False)
                with torch.autocast(**amp):
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
        if not self.told:
            self.told = True
            print_log(
                'CUDAGraphHook replays one batch of shape '
                f'{tuple(self.state[0])} an iteration; others run plainly, as '
                f'now one of {[tuple(x.shape) for x in args]}.',
                'current',
                logging.WARNING,
            )
        return self.plain(*args, **kwargs)


def _get_state(x: Tensor) -> tuple:
    """Describe all that a recording depends on."""
    return x.shape, x.dtype, x.requires_grad, autocast_state(x)


def find_backbone(runner: Runner) -> nn.Module:
    """Find the backbone of a run that can be recorded.

    Raises:
        UserError: There is none, or it cannot.
    """
    model, cfg = runner.model, runner.cfg
    if isinstance(model, MMDistributedDataParallel):
        model = model.module
    backbone = getattr(model, 'backbone', None)
    layers = [] if backbone is None else list(backbone.modules())
    recomputed = any(getattr(layer, 'with_cp', False) for layer in layers)
    hooked = any(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or 'forward' in vars(layer)
        for layer in layers
    )
    obstacles = {
        'FlexibleRunner': hasattr(runner, 'strategy'),
        type(model).__name__: is_model_wrapper(model),  # sharded
        'a model without a backbone': backbone is None,
        'compile': cfg.get('compile', False) not in (None, False),
        # It would draw other random numbers on the way back.
        'activation checkpointing (with_cp)': recomputed
        or cfg.get('activation_checkpointing'),
        'hooks in the backbone, which a replay would not call': hooked,
    }
    for obstacle, found in obstacles.items():
        if found:
            raise UserError(
                f'CUDAGraphHook does not go with {obstacle}; take one of the '
                'two out of the config.'
            )
    return backbone
