"""The arch of a vHeat backbone, told from its parameter shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch

from mmvheat.models import vHeat
from mmvheat.models.arch import ARCH_SETTINGS, NUM_STAGES, parse_arch

from .reader import CheckpointError

Shape = tuple[int, ...]
Size = tuple[int, int]


@dataclass
class BackboneInfo:
    """What the shapes of a vHeat backbone say.

    Attributes:
        embed_dims (tuple[int]): Channels per stage.
        depths (tuple[int]): Blocks per stage.
        grids (tuple[tuple[int, int]]): FVE grid (H, W) per stage.
        in_channels (int): Image channels.
        hidden_dims (tuple[int]): Hidden channels of the MLP per stage.
        layer_scale (bool): Whether blocks have a layer scale.
    """

    embed_dims: tuple[int, ...]
    depths: tuple[int, ...]
    grids: tuple[Size, ...]
    in_channels: int
    hidden_dims: tuple[int, ...]
    layer_scale: bool

    @property
    def name(self) -> str | None:
        """str: 'tiny', 'small', 'base', or None for another arch."""
        for name in ARCH_SETTINGS:
            arch = parse_arch(name)
            if (self.embed_dims, self.depths) == (
                arch['embed_dims'],
                arch['depths'],
            ):
                return name
        return None

    @property
    def mlp_ratio(self) -> Fraction:
        """Fraction: The least ratio that, rounded down, gives the MLPs."""
        return max(map(Fraction, self.hidden_dims, self.embed_dims))

    @property
    def img_size(self) -> Size:
        """tuple[int, int]: Image size (H, W) that gives these FVE grids."""
        height, width = self.grids[0]
        return 4 * height, 4 * width

    def __str__(self) -> str:
        dims = '-'.join(map(str, self.embed_dims))
        depths = '-'.join(map(str, self.depths))
        text = f'vHeat with dims {dims} and depths {depths}'
        return f'{text} ({self.name})' if self.name else text


def describe_backbone(
    shapes: Mapping[str, Sequence[int]], source: str
) -> BackboneInfo:
    """Find a backbone's arch in its parameter shapes.

    Args:
        shapes (Mapping[str, Sequence[int]]): Shapes by official name.
        source (str): What to call their source in an error.

    Returns:
        BackboneInfo: Dimensions of the stages that are there.

    Raises:
        CheckpointError: If parameters are missing or contradict each other.
    """
    grids, dims, depths = [], [], []
    while f'freq_embed.{len(grids)}' in shapes:
        i = len(grids)
        height, width, channels = _expect_dims(
            shapes, f'freq_embed.{i}', 3, source
        )
        grids.append((height, width))
        dims.append(channels)
        blocks = {
            int(match[1])
            for key in shapes
            if (match := re.match(rf'layers\.{i}\.(\d+)\.op\.', key))
        }
        if blocks != set(range(len(blocks))) or not blocks:
            raise CheckpointError(
                f'{source} is incomplete: stage {i} has the blocks '
                f'{sorted(blocks)[:9]}, but 0, 1, 2, ... are expected'
            )
        depths.append(len(blocks))
    hidden = tuple(
        (shapes.get(f'layers.{i}.0.mlp.fc1.weight') or (4 * channels,))[0]
        for i, channels in enumerate(dims)
    )
    conv1 = _expect_dims(shapes, 'patch_embed.conv1.weight', 4, source)
    info = BackboneInfo(
        embed_dims=tuple(dims),
        depths=tuple(depths),
        grids=tuple(grids),
        in_channels=conv1[1],
        hidden_dims=hidden,
        layer_scale='layers.0.0.gamma1' in shapes,
    )
    _check_shapes(shapes, info, source)
    return info


def list_shapes(info: BackboneInfo) -> dict[str, Shape]:
    """List the parameters of a backbone without its output norms.

    Args:
        info (BackboneInfo): The arch.

    Returns:
        dict[str, tuple[int]]: Shapes by official name.

    Raises:
        ValueError: If there is no such vHeat.
    """
    stages = len(info.embed_dims)
    rest = (1,) * (NUM_STAGES - stages)  # behind the last output, not built
    with torch.device('meta'):
        model = vHeat(
            arch=dict(
                embed_dims=info.embed_dims + rest,
                depths=info.depths + rest,
                post_norm=False,  # has the same parameters
                layer_scale=1.0 if info.layer_scale else None,
            ),
            img_size=info.img_size,
            in_channels=info.in_channels,
            mlp_ratio=info.mlp_ratio,
            out_indices=(stages - 1,),
        )
    return {
        key: tuple(value.shape)
        for key, value in model.state_dict().items()
        if not key.startswith('outnorm')
    }


def is_backbone_key(key: str, prefix: str = '') -> bool:
    """Whether a key names a parameter of the backbone."""
    names = r'(patch_embed|freq_embed|layers|outnorm\d)\.'
    return key.startswith(prefix) and bool(re.match(names, key[len(prefix) :]))


def _expect_dims(
    shapes: Mapping[str, Sequence[int]], key: str, dims: int, source: str
) -> Sequence[int]:
    if len(shapes[key]) != dims or 0 in shapes[key]:
        raise CheckpointError(
            f'{source}: {key} has the shape {tuple(shapes[key])}, but '
            f'{dims} dimensions are expected, none of size 0'
        )
    return shapes[key]


def _check_shapes(
    shapes: Mapping[str, Sequence[int]], info: BackboneInfo, source: str
) -> None:
    try:
        expected = list_shapes(info)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f'{source} is no vHeat: {error}') from None
    if not any('.op.to_k.0.' in key for key in shapes):
        # k is a constant, or learned without a layer.
        expected = {k: v for k, v in expected.items() if '.op.to_k.' not in k}
    missing = [key for key in expected if key not in shapes]
    if missing:
        raise CheckpointError(
            f'{source} is incomplete: of {len(expected)} tensors of {info}, '
            f'{len(missing)} are missing, such as {", ".join(missing[:3])}'
        )
    for key, shape in expected.items():
        if tuple(shapes[key]) != shape:
            raise CheckpointError(
                f'{source} contradicts itself: {key} has the shape '
                f'{tuple(shapes[key])}, but {shape} follows from the others'
            )
