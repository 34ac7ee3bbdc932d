"""The one door to everything that only makes the model faster or smaller.

A module states its plain ``forward`` under the decorator :func:`accelerated`.
This package then runs its own version of it where it has one that gives the
same, and leaves it alone elsewhere: programs being recorded (exported, traced,
fake tensors), transforms of ``torch.func``, dispatch modes such as counters of
FLOPs, and layers that are hooked, pruned or replaced.

``with mmvheat.fast.disabled():`` and, for a process, ``MMVHEAT_FAST=0`` run
the plain forwards everywhere. ``MMVHEAT_FAST=1`` is the default; with ``all``,
in a part of a program ``with mmvheat.fast.on_trial():``, kernels run also on
devices that have not been measured with them, and where torch.compile records.
"""

from .seam import accelerated, disabled, is_enabled, is_on_trial, on_trial

__all__ = ['accelerated', 'disabled', 'is_enabled', 'is_on_trial', 'on_trial']
