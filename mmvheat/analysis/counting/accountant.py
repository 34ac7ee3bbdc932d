"""Counts operators as a GPU would run them, one kernel each."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from .cards import CARDS

# Neither read nor write: they make room, or another view of it.
_FREE = {'empty', 'empty_like', 'new_empty', 'empty_strided', '_unsafe_view'}
_FREE |= {'new_empty_strided', 'detach', 'alias', 'lift_fresh'}
# These write without reading their first input.
_OVERWRITES = {'fill_', 'zero_', 'copy_', 'new_ones', 'new_zeros', 'new_full'}
_OVERWRITES |= {'ones_like', 'zeros_like', 'full_like', 'rand_like'}
_KINDS = {
    'product': r'(add|badd|b)?mm_?$|bmm$|linear_gelu|.*mlp_branch|_addmm_act',
    'convolution': r'convolution',
    'attention': r'_scaled_dot_product|_softmax',
    'norm': r'(.*_)?norm(_.*)?$',
    'copy': r'.*(copy|clone|cat|stack|slice|select|pad|roll|index)',
    'reduction': r'(sum|mean|amax|var_mean)$',
}
# Which arguments of mmvheat.fast's operators its first one is multiplied by.
_WEIGHTS = dict(
    linear_gelu=[1], run_mlp_branch=[7, 9], differentiate_mlp_branch=[6, 8]
)
PRODUCTS = ('product', 'convolution', 'attention')


@dataclass
class Count:
    """What kernels cost.

    Attributes:
        kernels (int): How many.
        flops (int): Two a multiply-add.
        bytes (int): Read and written.
        floor (int): Those of products.
        seconds (dict[str, float]): Roofline time on every card.
    """

    kernels: int = 0
    flops: int = 0
    bytes: int = 0
    floor: int = 0
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(CARDS, 0.0)
    )

    def __iadd__(self, other: Count) -> Count:
        for name in ('kernels', 'flops', 'bytes', 'floor'):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for card, seconds in other.seconds.items():
            self.seconds[card] += seconds
        return self


class Accountant(TorchDispatchMode):
    """Counts the operators that run inside.

    Args:
        dtype (str): Precision of the products: the peak of the cards.

    Attributes:
        total (Count): All kernels.
        kinds (dict[str, Count]): By kind of operator.
        blocks (dict[str, Count]): By the path of the block; '' outside.
        operators (dict[str, Count]): By name.
    """

    # mmvheat.fast may run inside: what it does has rules here.
    counts_kernels = True

    def __init__(self, dtype: str) -> None:
        super().__init__()
        self.dtype = dtype
        self.total = Count()
        self.kinds = defaultdict(Count)
        self.blocks = defaultdict(Count)
        self.operators = defaultdict(Count)
        self.block = ''

    def watch(self, network: nn.Module) -> Accountant:
        """Count the blocks of a network one by one."""
        for name, module in network.named_modules():
            if type(module).__name__.endswith(('Block', 'Bottleneck')):
                enter = partial(self._move, name)
                leave = partial(self._move, '')
                module.register_forward_pre_hook(enter)
                module.register_forward_hook(leave)
                module.register_full_backward_pre_hook(enter)
                module.register_full_backward_hook(leave)
        return self

    def _move(self, name: str, *_: object) -> None:
        self.block = name

    def __torch_dispatch__(
        self, func: Callable, types: tuple, args: tuple = (), kwargs=None
    ) -> object:
        """Run an operator and count it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func._overloadpacket.__name__
        if name in ('convolution', 'convolution_backward'):
            out = tree_map(partial(_like_cudnn, args[:3]), out)
        if name not in _FREE and not _is_view(func):
            self._add(func, name, args, kwargs, out)
        return out

    def _add(
        self, func: Callable, name: str, args: tuple, kwargs: dict, out: object
    ) -> None:
        kind = get_kind(name)
        inputs = [x for x in tree_flatten((args, kwargs))[0] if _is_tensor(x)]
        outputs = [x for x in tree_flatten(out)[0] if _is_tensor(x)]
        # An input that is overwritten counts twice, unless nobody reads it.
        read = {id(x): x for x in inputs}
        if name in _OVERWRITES:
            read.pop(id(args[0]), None)
        size = sum(map(count_bytes, (*read.values(), *outputs)))
        flops = _count_flops(func._overloadpacket, name, args, kwargs, out)
        peaks = {
            card: max(
                flops / (1e12 * CARDS[card].tflops[self.dtype]),
                size / (1e9 * CARDS[card].bandwidth),
            )
            for card in CARDS
        }
        floor = size if kind in PRODUCTS else 0
        count = Count(1, flops, size, floor, peaks)
        self.total += count
        self.kinds[kind] += count
        self.blocks[self.block] += count
        self.operators[name] += count


def get_kind(name: str) -> str:
    """Tell the kind of an operator by its name."""
    found = (kind for kind, names in _KINDS.items() if re.match(names, name))
    return next(found, 'elementwise')


def count_bytes(x: Tensor) -> int:
    """Count the bytes of a tensor, those that expansion repeats once."""
    sizes = (n for n, step in zip(x.shape, x.stride()) if step or n == 0)
    return math.prod(sizes) * x.element_size()


def _count_flops(
    operator: object, name: str, args: tuple, kwargs: dict, out: object
) -> int:
    """Count the FLOPs of a product, by torch's formulas."""
    if name in _WEIGHTS:
        cells = args[0].numel() // args[0].shape[-1]
        return 2 * cells * sum(args[i].numel() for i in _WEIGHTS[name])
    if name.startswith('convolve'):  # depthwise, 3x3
        return 2 * 9 * args[0].numel()
    if name == 'convolution_backward' and args[9] > 1:
        # torch's formula counts the weights of groups as dense ones.
        grad, x, weight = args[:3]
        cells = x if args[7] else grad  # that a transposed one starts from
        return 2 * cells.numel() * weight[0].numel() * sum(args[10][:2])
    if name == 'addmm_':
        operator = torch.ops.aten.addmm
    from torch.utils.flop_counter import flop_registry  # not in torch 2.1

    if operator not in flop_registry:
        return 0
    return flop_registry[operator](*args, **kwargs, out_val=out)


def _like_cudnn(inputs: tuple[Tensor, ...], out: Tensor | None) -> object:
    """Lay images out as cuDNN does: channels last where an input is so."""
    layout = torch.channels_last
    images = [t for t in inputs if t is not None and t.dim() == 4]
    last = any(
        t.is_contiguous(memory_format=layout) and not t.is_contiguous()
        for t in images
    )
    if out is None or out.dim() != 4 or not last:
        return out
    return out.to(memory_format=layout)


def _is_tensor(x: object) -> bool:
    return isinstance(x, Tensor)


def _is_view(func: Callable) -> bool:
    returns = func._schema.returns
    return bool(returns) and all(
        r.alias_info is not None and not r.alias_info.is_write for r in returns
    )
