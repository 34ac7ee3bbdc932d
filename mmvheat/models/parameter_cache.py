"""Values computed from parameters, kept between evaluations."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from mmvheat.ops import get_compute_dtype, is_traced, pack_weight


class ParameterCache:
    """Keep what was computed from parameters, the latest ones used.

    An entry is valid as long as the parameters are the same tensors, at the
    same address, in the same version, and no optimiser made a step. Copies
    and pickles of the cache are empty.

    Args:
        max_entries (int): Entries to keep, at least 1.
    """

    def __init__(self, max_entries: int) -> None:
        self.max_entries = max_entries
        self._entries: dict[Hashable, tuple] = {}

    def get(
        self,
        key: Hashable,
        parameters: Sequence[Tensor],
        compute: Callable[[], Any],
    ) -> Any:
        """Get the value of a key, computed anew where it may have changed.

        Args:
            key (Hashable): What else the value depends on.
            parameters (Sequence[Tensor]): The parameters it depends on.
            compute (Callable): Computes the value.

        Returns:
            Any: The value.
        """
        if any(p.is_inference() for p in parameters):
            return compute()  # Such tensors have no version.
        # Each dict operation is atomic, so threads may share the cache.
        entry = self._entries.pop(key, None)
        stamp = _Stamp(parameters)
        if entry is None or entry[0] != stamp:
            entry = (stamp, compute())
        self._entries[key] = entry
        for oldest in list(self._entries)[: -self.max_entries]:
            self._entries.pop(oldest, None)
        return entry[1]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __reduce__(self) -> tuple:
        return type(self), (self.max_entries,)


class _Stamp:
    """Identity and state of parameters at some time."""

    num_steps = 0

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        # Holds the tensors, lest another one gets the identity of one.
        self.parameters = list(parameters)
        self.state = [(id(p), p.data_ptr(), p._version) for p in parameters]
        # Fused optimisers write to parameters without raising the version,
        # and so do teachers, which follow a student after its steps.
        self.state.append(_Stamp.num_steps)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Stamp) and self.state == other.state

    @classmethod
    def count_step(cls, *_) -> None:
        cls.num_steps += 1


register_optimizer_step_post_hook(_Stamp.count_step)


class CachingModule(nn.Module):
    """Base of modules that keep values in parameter caches at evaluation.

    Writes through ``.data`` leave no trace that a cache could see, so
    ``train()``, ``eval()``, ``to()`` and the like clear the caches.
    """

    def train(self, mode: bool = True) -> CachingModule:
        """Set the mode and forget what was kept."""
        # An EMA that swaps weights around a validation is seen here.
        self._clear_caches()
        return super().train(mode)

    def _apply(self, *args, **kwargs) -> CachingModule:
        self._clear_caches()
        return super()._apply(*args, **kwargs)

    def _clear_caches(self) -> None:
        for value in vars(self).values():
            if isinstance(value, ParameterCache):
                value.clear()

    def _are_constant(self, x: Tensor, parameters: Sequence[Tensor]) -> bool:
        """Tell whether values may be kept for the next features ``x``."""
        if self.training or any(is_traced(t) for t in (x, *parameters)):
            return False
        trained = any(p.requires_grad for p in parameters)
        return not (trained and torch.is_grad_enabled())


class CastingModule(CachingModule):
    """Base of modules that hand their weights to functions.

    Under autocast, cast weights are kept at evaluation.
    """

    def __init__(self) -> None:
        super().__init__()
        self._cast_cache = ParameterCache(max_entries=1)

    def _cast(
        self,
        x: Tensor,
        parameters: Sequence[Tensor],
        arrange: Callable[..., Sequence[Tensor]],
    ) -> Sequence[Tensor]:
        """Cast parameters to the dtype that features ``x`` are computed in.

        Args:
            x (Tensor): The features.
            parameters (Sequence[Tensor]): The parameters.
            arrange (Callable): Makes weights (C_out, C_in) and biases
                (C_out,) out of the cast parameters.

        Returns:
            Sequence[Tensor]: The result of ``arrange``.
        """
        dtype = get_compute_dtype(x)

        def cast() -> Sequence[Tensor]:
            return arrange(*(p.to(dtype) for p in parameters))

        def cast_and_pack() -> Sequence[Tensor]:
            # What is kept must also serve outside of inference mode.
            with torch.inference_mode(False), torch.no_grad():
                return [pack_weight(t) if t.dim() == 2 else t for t in cast()]

        # Packed weights have no backward pass.
        if (
            all(p.dtype == dtype for p in parameters)
            or torch.is_grad_enabled()
            or not self._are_constant(x, parameters)
        ):
            return cast()
        key = dtype, x.device, torch.backends.mkldnn.enabled
        return self._cast_cache.get(key, parameters, cast_and_pack)
