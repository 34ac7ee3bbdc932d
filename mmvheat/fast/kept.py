"""Values kept from one image to the next.

Bases of the cosine transform depend on sizes alone. Decays depend on
parameters, which may change at any time and, through ``.data``, without a
trace. So a decay is kept together with a copy of the parameters it was
computed from, and used only as long as they are equal to it, bit by bit: no
write, however done, can meet a stale value. Comparing some megabytes takes
about a hundredth of the time of an image on a CPU; a GPU would have to wait
for the answer, so that decays are kept on a CPU alone. Copies and pickles of
a model hold nothing of this.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from mmvheat.ops import dct_basis


class _Entry(NamedTuple):
    key: Hashable
    sources: list[Tensor]  # copies
    value: Tensor
    version: int


_entries: WeakKeyDictionary[nn.Module, tuple[_Entry, ...]] = (
    WeakKeyDictionary()
)


def keep(
    owner: nn.Module,
    key: Hashable,
    sources: Sequence[Tensor],
    compute: Callable[[], Tensor],
) -> Tensor:
    """Get a value that depends on a key and on sources, not to be written to.

    The values of the owner's last two keys are kept, where they can be: at
    evaluation, on a CPU, without gradients of the sources.
    """
    if (
        owner.training
        or any(t.device.type != 'cpu' for t in sources)
        or (torch.is_grad_enabled() and any(t.requires_grad for t in sources))
    ):
        return compute()
    entries = _entries.get(owner, ())
    for entry in entries:
        if entry.key == key and _is_fresh(entry, sources):
            break
    else:
        copies = [
            t if hasattr(t, '_is_kept') else t.clone().detach()
            for t in sources
        ]
        # What is kept must also serve outside of inference mode.
        with torch.inference_mode(False), torch.no_grad():
            value = compute()
        value._is_kept = True
        entry = _Entry(key, copies, value, value._version)
    others = [e for e in entries if e.key != key]
    # One assignment, so that threads may share a model. Two keys are enough
    # for landscape and portrait.
    _entries[owner] = (entry, *others[:1])
    return entry.value


def _is_fresh(entry: _Entry, sources: Sequence[Tensor]) -> bool:
    return entry.value._version == entry.version and all(
        new is old
        or (
            new.dtype == old.dtype
            and new.shape == old.shape
            and torch.equal(new, old)
        )
        for new, old in zip(sources, entry.sources, strict=True)
    )


def get_bases(x: Tensor) -> tuple[Tensor, Tensor]:
    """Get the cosine bases of images (B, H, W, C), not to be written to."""
    build, stream = _build_basis.__wrapped__, None
    if x.device.type in ('cpu', 'meta'):
        build = _build_basis
    # What a graph allocates belongs to the graph.
    elif x.is_cuda and not torch.cuda.is_current_stream_capturing():
        # One stream must not read or free what another one has ordered.
        stream = torch.cuda.current_stream(x.device).cuda_stream
        build = _build_basis
    return tuple(build(n, x.dtype, x.device, stream) for n in x.shape[1:3])


@functools.lru_cache(maxsize=256)
def _build_basis(
    n: int, dtype: torch.dtype, device: torch.device, stream: int | None
) -> Tensor:
    # A tensor born in inference mode could not be used in training later.
    with torch.inference_mode(False), torch.no_grad():
        return dct_basis(n, dtype=dtype, device=device)
