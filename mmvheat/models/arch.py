"""The sizes of vHeat, and checks of the arguments that shape the network."""

from __future__ import annotations

from collections.abc import Sequence

ARCH_SETTINGS = {
    'tiny': dict(
        embed_dims=96,
        depths=(2, 2, 6, 2),
        post_norm=False,
        layer_scale=None,
    ),
    'small': dict(
        embed_dims=96,
        depths=(2, 2, 18, 2),
        post_norm=True,
        layer_scale=1e-5,
    ),
    'base': dict(
        embed_dims=128,
        depths=(2, 2, 18, 2),
        post_norm=True,
        layer_scale=1e-5,
    ),
}
NUM_STAGES = 4


def parse_arch(arch: str | dict) -> dict:
    """Complete an arch.

    Args:
        arch (str | dict): A name in ``ARCH_SETTINGS``, or a dict with the
            same keys.

    Returns:
        dict: ``embed_dims`` and ``depths`` (one int a stage), ``post_norm``
        (bool) and ``layer_scale`` (float or None).

    Raises:
        ValueError: If the name or the set of keys is unknown, or a stage is
            missing or empty.
    """
    if isinstance(arch, str):
        if arch not in ARCH_SETTINGS:
            raise ValueError(
                f'unknown arch {arch!r}; known are '
                f'{", ".join(map(repr, ARCH_SETTINGS))}, or a dict with '
                'embed_dims, depths, post_norm and layer_scale'
            )
        arch = ARCH_SETTINGS[arch]
    keys = set(ARCH_SETTINGS['tiny'])
    if set(arch) != keys:
        raise ValueError(
            f'arch needs exactly the keys {sorted(keys)}, but got '
            f'{sorted(arch)}'
        )
    settings = dict(arch)
    if isinstance(settings['embed_dims'], int):
        settings['embed_dims'] = [
            settings['embed_dims'] * 2**i for i in range(NUM_STAGES)
        ]
    for name in ('embed_dims', 'depths'):
        values = tuple(settings[name])
        if len(values) != NUM_STAGES or min(values) < 1:
            raise ValueError(
                f'{name} of arch needs {NUM_STAGES} positive ints, but got '
                f'{values}'
            )
        settings[name] = values
    return settings


def parse_img_size(img_size: int | Sequence[int]) -> tuple[int, int]:
    """Complete an image size to (height, width).

    Raises:
        ValueError: If it is not one or two ints, or too small for an FVE of
            one frequency in the last stage.
    """
    size = (img_size,) * 2 if isinstance(img_size, int) else tuple(img_size)
    smallest = 2 ** (NUM_STAGES + 1)
    if len(size) != 2 or min(size) < smallest:
        raise ValueError(
            'img_size must be an int or (height, width) of at least '
            f'{smallest} pixels, but got {img_size}'
        )
    return size


def check_stage_options(
    out_indices: Sequence[int], frozen_stages: int
) -> None:
    """Check the options that name stages.

    Raises:
        ValueError: If one of them names a stage that does not exist, or
            ``out_indices`` is empty or names a stage twice.
    """
    stages = list(range(NUM_STAGES))
    if (
        not out_indices
        or len(set(out_indices)) < len(out_indices)
        or not set(out_indices) <= set(stages)
    ):
        raise ValueError(
            f'out_indices must be different stages out of {stages}, but got '
            f'{out_indices}'
        )
    if not -1 <= frozen_stages <= NUM_STAGES:
        raise ValueError(
            f'frozen_stages must be between -1 and {NUM_STAGES}, but got '
            f'{frozen_stages}'
        )
