"""Values computed from parameters, kept between evaluations."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook


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
        # Fused optimisers write to parameters without raising the version.
        if any(p.requires_grad for p in parameters):
            self.state.append(_Stamp.num_steps)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Stamp) and self.state == other.state

    @classmethod
    def count_step(cls, *_) -> None:
        cls.num_steps += 1


register_optimizer_step_post_hook(_Stamp.count_step)
