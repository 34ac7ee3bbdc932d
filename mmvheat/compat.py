"""Every change that mmvheat makes to another library, in one table.

``import mmvheat`` makes the change ``configs``. The others come with
``mmvheat.engine``, which every config of this package imports. The variable
``MMVHEAT_COMPAT`` names the changes to make, all by default:
``MMVHEAT_COMPAT=configs,hooks`` leaves the others out, and
``MMVHEAT_COMPAT=`` leaves out all.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from collections.abc import Callable


def find_configs() -> None:
    """Make ``_base_ = 'mmvheat::...'`` resolve and build in any install.

    mmengine (0.10.7) looks for configs at the distribution's location, which
    in an editable install is site-packages, not the source tree. A module
    that is no distribution is located by import, right in every install.

    Then it marks what a config of a package defines with the package's name
    as scope. This package has no registries: its configs belong to the scope
    of the library that they name, as if they were files of the user.
    """
    from mmengine.config import Config
    from mmengine.config.utils import MODULE2PACKAGE

    if 'mmvheat' in MODULE2PACKAGE:
        return
    MODULE2PACKAGE['mmvheat'] = 'mmvheat.version'
    get_cfg_path = Config._get_cfg_path

    def get_cfg_path_and_scope(
        cfg_path: str, filename: str
    ) -> tuple[str, str | None]:
        path, scope = get_cfg_path(cfg_path, filename)
        return path, None if scope == 'mmvheat' else scope

    Config._get_cfg_path = staticmethod(get_cfg_path_and_scope)


def read_checkpoints() -> None:
    """Make mmengine's ``CheckpointLoader`` read files by our reader.

    torch >= 2.6 refuses what mmengine (0.10.7) itself saves; of official vHeat
    files it loads nothing, for their FVEs have no prefix.
    """
    from mmengine.runner.checkpoint import CheckpointLoader

    from .checkpoint.scheme import load_from_http, load_from_local

    CheckpointLoader.register_scheme('', load_from_local, force=True)
    CheckpointLoader.register_scheme(
        ['http://', 'https://'], load_from_http, force=True
    )


def leave_out_hooks() -> None:
    """Let ``default_hooks=dict(name=None)`` leave out any hook.

    mmengine (0.10.7) allows None for its own six alone.
    """
    from mmengine.runner import FlexibleRunner, Runner

    for runner in (Runner, FlexibleRunner):
        register = runner.register_default_hooks
        if hasattr(register, '__wrapped__'):
            continue

        @functools.wraps(register)
        def register_some(
            self: object,
            hooks: dict | None = None,
            register: Callable = register,
        ) -> None:
            own = ('runtime_info', 'timer', 'sampler_seed', 'logger')
            own += ('param_scheduler', 'checkpoint')  # mmengine knows these
            register(
                self,
                {
                    name: hook
                    for name, hook in (hooks or {}).items()
                    if hook is not None or name in own
                },
            )

        runner.register_default_hooks = register_some


def keep_memory() -> None:
    """Let glibc keep the memory of freed tensors, where no GPU has them.

    It (2.36) hands what is larger than 32 MB back to the kernel at once,
    which clears the same memory again for the next tensor of that size: an
    image of 800 x 1344 takes up to twice as long. Who has set one of glibc's
    variables, ``MALLOC_...``, keeps it.
    """
    import torch

    glibc = platform.libc_ver()[0] == 'glibc'
    chosen = any(name.startswith('MALLOC_') for name in os.environ)
    if not glibc or chosen or torch.cuda.is_available():
        return
    trim_threshold, mmap_max = -1, -4  # names of malloc.h
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)


CHANGES = dict(
    configs=find_configs,
    checkpoints=read_checkpoints,
    hooks=leave_out_hooks,
    memory=keep_memory,
)
"""By name; a second call of one changes nothing more."""


def make_changes(*names: str) -> None:
    """Make the changes ``names`` unless ``MMVHEAT_COMPAT`` leaves them out.

    Args:
        *names (str): Of :data:`CHANGES`.

    Raises:
        ValueError: ``MMVHEAT_COMPAT`` names a change that does not exist.
    """
    wanted = os.environ.get('MMVHEAT_COMPAT')
    chosen = set(CHANGES)
    if wanted is not None:
        chosen = {name.strip() for name in wanted.split(',')} - {''}
        if not chosen <= CHANGES.keys():
            raise ValueError(
                f'MMVHEAT_COMPAT={wanted!r} must name changes of '
                f'{", ".join(CHANGES)}, separated by commas.'
            )
    for name in names:
        if name in chosen:
            CHANGES[name]()
