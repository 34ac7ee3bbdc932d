"""Find faults in photographs and pairs before a restoration run."""

from __future__ import annotations

import os.path as osp

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from PIL import Image

from mmvheat.errors import UserError

_CHANNELS = dict(rgb=3, gray=1, y=1)


def check_photographs(
    dataset: BaseDataset, infos: list[dict], cfg: Config
) -> None:
    """Check files, channels, and sizes of pairs and of patches.

    Raises:
        UserError: They do not fit each other or the network.
    """
    network = cfg.model.get('network', {})
    transforms = getattr(dataset.pipeline, 'transforms', [])
    for transform in transforms:
        channels = _CHANNELS.get(getattr(transform, 'color', None))
        wanted = network.get('in_channels', channels)
        if channels is not None and channels != wanted:
            raise UserError(
                f'The network has in_channels={wanted}, but LoadPhotograph '
                f'reads color={transform.color!r}, {channels} '
                f'channel{"s" * (channels > 1)}; change one of them.'
            )
    scale = network.get('upscale', 1)
    patch = next((t.size for t in transforms if hasattr(t, 'size')), 1)
    for info in infos:
        path, lq_path = info['img_path'], info.get('lq_path')
        size = _read_size(path)
        if lq_path is None:
            # What is cut is clean, and ``scale`` times as large.
            small = [side // scale for side in size]
        else:
            if not osp.isfile(lq_path):
                raise UserError(
                    f'{path} has no degraded partner {lq_path}; add it, or '
                    'correct data_prefix.'
                )
            small = _read_size(lq_path)
            if [side * scale for side in small] != [*size]:
                raise UserError(
                    f'{lq_path} is {small[0]}x{small[1]}, but its clean '
                    f'partner {path} {size[0]}x{size[1]}; expected '
                    f'{"the same size" if scale == 1 else f"1/{scale} of it"}'
                    ', the upscale of the network.'
                )
        if min(small) < patch:
            raise UserError(
                f'{path} is {size[0]}x{size[1]}, too small for patches of '
                f'{patch * scale} pixels; remove it, or make size of '
                'RandomPatch smaller.'
            )


def _read_size(path: str) -> tuple[int, int]:
    """Read width and height from the head of a file."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError) as error:
        raise UserError(
            f'The image file {path} cannot be read (empty, damaged or '
            'missing); repair it or remove it.'
        ) from error
