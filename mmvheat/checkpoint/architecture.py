"""The architecture of a vHeat backbone, told from its parameter shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .reader import CheckpointError

Shape = tuple[int, ...]
Size = tuple[int, int]

NUM_STAGES = 4
# (first embed_dims, depths) -> name
PUBLISHED = {
    (96, (2, 2, 6, 2)): 'tiny',
    (96, (2, 2, 18, 2)): 'small',
    (128, (2, 2, 18, 2)): 'base',
}


@dataclass
class BackboneInfo:
    """What the shapes of a vHeat backbone say.

    Attributes:
        embed_dims (tuple[int]): Channels per stage.
        depths (tuple[int]): Blocks per stage.
        grids (tuple[tuple[int, int]]): FVE grid (H, W) per stage.
        in_channels (int): Image channels.
        mlp_ratio (float): Hidden channels of the MLP per channel.
        layer_scale (bool): Whether blocks have a layer scale.
    """

    embed_dims: tuple[int, ...]
    depths: tuple[int, ...]
    grids: tuple[Size, ...]
    in_channels: int
    mlp_ratio: float
    layer_scale: bool

    @property
    def name(self) -> str | None:
        """str: 'tiny', 'small', 'base', or None for another architecture."""
        dims = tuple(self.embed_dims[0] * 2**i for i in range(NUM_STAGES))
        if dims != self.embed_dims:
            return None
        return PUBLISHED.get((dims[0], self.depths))

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
    """Find a backbone's architecture in its parameter shapes.

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
        blocks = [
            int(match[1])
            for match in (
                re.match(rf'layers\.{i}\.(\d+)\.op\.', key) for key in shapes
            )
            if match
        ]
        depths.append(max(blocks, default=-1) + 1)
    fc1 = shapes.get('layers.0.0.mlp.fc1.weight', (4 * dims[0],))
    conv1 = _expect_dims(shapes, 'patch_embed.conv1.weight', 4, source)
    info = BackboneInfo(
        embed_dims=tuple(dims),
        depths=tuple(depths),
        grids=tuple(grids),
        in_channels=conv1[1],
        mlp_ratio=fc1[0] / dims[0],
        layer_scale='layers.0.0.gamma1' in shapes,
    )
    _check_shapes(shapes, info, source)
    _check_grids(info, source)
    return info


def list_backbone_shapes(info: BackboneInfo) -> dict[str, Shape]:
    """List the parameters of a backbone without its output norms.

    Args:
        info (BackboneInfo): The architecture.

    Returns:
        dict[str, tuple[int]]: Shapes by official name.
    """
    shapes: dict[str, Shape] = {}

    def add(name: str, *shape: int, bias: bool = True) -> None:
        shapes[f'{name}.weight'] = shape
        if bias:
            shapes[f'{name}.bias'] = shape[:1]

    dims = info.embed_dims
    half = dims[0] // 2
    add('patch_embed.conv1', half, info.in_channels, 3, 3)
    add('patch_embed.norm1.1', half)
    add('patch_embed.conv2', dims[0], half, 3, 3)
    add('patch_embed.norm2.1', dims[0])
    for i, (c, depth) in enumerate(zip(dims, info.depths)):
        shapes[f'freq_embed.{i}'] = (*info.grids[i], c)
        hidden = int(c * info.mlp_ratio)
        for j in range(depth):
            block = f'layers.{i}.{j}'
            add(f'{block}.norm1', c)
            add(f'{block}.op.dwconv', c, 1, 3, 3)
            add(f'{block}.op.linear', 2 * c, c)
            add(f'{block}.op.out_norm', c)
            add(f'{block}.op.out_linear', c, c)
            add(f'{block}.op.to_k.0', c, c)
            add(f'{block}.norm2', c)
            add(f'{block}.mlp.fc1', hidden, c, 1, 1)
            add(f'{block}.mlp.fc2', c, hidden, 1, 1)
            if info.layer_scale:
                shapes[f'{block}.gamma1'] = shapes[f'{block}.gamma2'] = (c,)
        if i + 1 < len(dims):
            down = f'layers.{i}.{depth}'
            add(f'{down}.0', dims[i + 1], c, 3, 3, bias=False)
            add(f'{down}.1', dims[i + 1])
    return shapes


def is_backbone_key(key: str, prefix: str = '') -> bool:
    """Whether a key names a parameter of the backbone."""
    names = r'(patch_embed|freq_embed|layers|outnorm\d)\.'
    return key.startswith(prefix) and bool(re.match(names, key[len(prefix) :]))


def _expect_dims(
    shapes: Mapping[str, Sequence[int]], key: str, dims: int, source: str
) -> Sequence[int]:
    if len(shapes[key]) != dims:
        raise CheckpointError(
            f'{source}: {key} has the shape {tuple(shapes[key])}, but '
            f'{dims} dimensions are expected'
        )
    return shapes[key]


def _check_shapes(
    shapes: Mapping[str, Sequence[int]], info: BackboneInfo, source: str
) -> None:
    expected = list_backbone_shapes(info)
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


def _check_grids(info: BackboneInfo, source: str) -> None:
    height, width = info.grids[0]
    for i, grid in enumerate(info.grids):
        if grid != (height // 2**i, width // 2**i):
            raise CheckpointError(
                f'{source} has inconsistent FVE grids: stage {i} has '
                f'{grid[0]}x{grid[1]}, but {height // 2**i}x{width // 2**i} '
                f"follows from stage 0's {height}x{width}"
            )
