"""Counts an evaluation or a training step of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmvheat.errors import require_torch_2_6

from .accountant import Accountant, Count
from .autocast import CudaAutocast


@dataclass
class Step:
    """What a step of a network costs.

    Attributes:
        total (Count): All kernels.
        kinds (dict[str, Count]): By kind of operator.
        blocks (dict[str, Count]): By the path of the block; '' outside.
        operators (dict[str, Count]): By name.
        saved (int): Bytes saved for the backward pass; 0 at evaluation.
    """

    total: Count
    kinds: dict[str, Count]
    blocks: dict[str, Count]
    operators: dict[str, Count]
    saved: int


def count_step(
    network: nn.Module, shape: tuple[int, ...], mode: str, dtype: str
) -> Step:
    """Count a forward pass or, in training, also the backward pass.

    It is a step behind the first one, which fills caches. Gradients of the
    outputs are given, so that no loss counts.

    Args:
        network (nn.Module): From images to a map or several; it goes to the
            meta device, into the mode, and gets hooks.
        shape (tuple[int, ...]): Of the images, (B, C, H, W).
        mode (str): ``'eval'`` or ``'train'``.
        dtype (str): ``'fp32'``; ``'bf16'`` or ``'fp16'`` by autocast, and
            with the suffix ``'-weights'`` of the weights too.

    Returns:
        Step: The counts.

    Raises:
        ValueError: There is no such mode or dtype.
    """
    require_torch_2_6('counting')
    base, _, pure = dtype.partition('-')
    if mode not in ('eval', 'train') or base not in ('fp32', 'bf16', 'fp16'):
        raise ValueError(
            "a step is counted in mode 'eval' or 'train' and dtype fp32, bf16 "
            f'or fp16, but got {mode!r} and {dtype!r}'
        )
    half = dict(bf16=torch.bfloat16, fp16=torch.float16).get(base)
    network.to('meta').train(mode == 'train')
    images = torch.empty(shape, device='meta')
    autocast = nullcontext()
    if pure:
        network, images = network.to(half), images.to(half)
    elif half:
        autocast = CudaAutocast(half)
    accountant = Accountant(base)
    with autocast, torch.set_grad_enabled(mode == 'train'):
        network(images)
    accountant.watch(network)
    with autocast, torch.set_grad_enabled(mode == 'train'), accountant:
        with saved_activations(network) as count_saved:
            outputs = network(images)
        saved = count_saved()
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        outputs = [out for out in outputs if out.requires_grad]
        if mode == 'train':
            gradients = tuple(map(torch.empty_like, outputs))
            # That of a tensor would leave the mode that casts.
            torch.autograd.graph._engine_run_backward(
                tuple(outputs), gradients, False, False, (),
                allow_unreachable=True, accumulate_grad=True,
            )  # fmt: skip
    return Step(
        accountant.total,
        dict(accountant.kinds),
        dict(accountant.blocks),
        dict(accountant.operators),
        saved if mode == 'train' else 0,
    )


@contextmanager
def saved_activations(network: nn.Module) -> Iterator[Callable[[], int]]:
    """Note what autograd saves inside; yields what counts it, in bytes.

    Args:
        network (nn.Module): Its parameters and buffers are left out.
    """
    own = {
        t.untyped_storage()._cdata
        for t in (*network.parameters(), *network.buffers())
    }
    saved = {}

    def note(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage  # held: its address is its name
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        yield lambda: sum(storage.nbytes() for storage in saved.values())
