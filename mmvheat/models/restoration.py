"""Networks that restore images: vHeatIR, and a plain CNN beside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmvheat.nn import init_linear_layers
from mmvheat.ops import resize_freq_embed

from .heat_block import HeatBlock
from .layers import ChannelsLastConv2d, LayerNorm
from .propagators import build_propagator
from .vheat import HeatStage


@MODELS.register_module()
class vHeatIR(BaseModule):
    """Restoration in SwinIR's macro architecture with blocks of vHeat.

    A convolution, groups of blocks that each end in a convolution and a
    residual connection, a convolution and a long residual connection, and a
    convolution that gives the correction of the image. See SwinIR
    (arXiv:2108.10257), section 3.1, and vHeat (arXiv:2405.16555), whose paper
    names the network and its results, and no more: the sizes are SwinIR's;
    one frequency value embedding (FVE) for all blocks, as they have one
    resolution, the spread of k at the start and the enlarged image as what
    is corrected in super-resolution are choices of this package.

    Args:
        in_channels (int): Image channels, 1 or 3. Defaults to 3.
        embed_dims (int): Channels C of the features. Defaults to 180.
        depths (Sequence[int]): Blocks of every group. Defaults to six groups
            of six.
        mlp_ratio (float): Hidden channels of an MLP per channel.
            Defaults to 2.0.
        grid (int): Rows and columns of the FVE: the side of a training
            patch or less. It is interpolated to the image. Defaults to 128.
        upscale (int): Enlargement of the image. Defaults to 1.
        mixer (str): What mixes pixels in a block: 'heat', or 'swin' for
            SwinIR's attention in shifted windows, which needs mmpretrain.
            Defaults to 'heat'.
        window_size (int): Side of a window of 'swin'. Defaults to 8.
        num_heads (int): Heads of the attention of 'swin'. Defaults to 6.
        drop_path_rate (float): Stochastic depth of the last block.
            Defaults to 0.1.
        with_cp (bool): Recompute each block in the backward pass.
            Defaults to False.
        initial_k (Sequence[float], optional): Least and largest k at the
            start, in cells squared: those of the channels are spread between
            them, at equal ratios. None starts as vHeat does, where nearly
            nothing spreads. Defaults to (0.1, 10).
        propagator (dict, optional): As of :class:`vHeat`.
        k (str | float): As of :class:`vHeat`.
        init_cfg (dict, optional): mmengine's initialisation config.

    Raises:
        ValueError: There is no such mixer.
    """

    def __init__(
        self,
        in_channels: int = 3,
        embed_dims: int = 180,
        depths: Sequence[int] = (6,) * 6,
        mlp_ratio: float = 2.0,
        grid: int = 128,
        upscale: int = 1,
        mixer: str = 'heat',
        window_size: int = 8,
        num_heads: int = 6,
        drop_path_rate: float = 0.1,
        with_cp: bool = False,
        initial_k: Sequence[float] | None = (0.1, 10.0),
        propagator: dict | None = None,
        k: str | float = 'freq_embed',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if mixer not in ('heat', 'swin'):
            raise ValueError(f"mixer must be 'heat' or 'swin', not {mixer!r}")
        self.in_channels = in_channels
        self.upscale = upscale
        self.mixer = mixer
        self.img_size = (grid, grid)  # what the FVE fits without a resize
        self.freq_embed = None
        if mixer == 'heat' and k == 'freq_embed':
            self.freq_embed = nn.Parameter(torch.empty(grid, grid, embed_dims))
        rates = torch.linspace(0, drop_path_rate, sum(depths), device='cpu')
        groups = []
        for drop_paths in rates.split(list(depths)):
            if mixer == 'heat':
                blocks = [
                    HeatBlock(
                        embed_dims,
                        mlp_ratio=mlp_ratio,
                        drop_path=drop_path,
                        propagator=build_propagator(propagator, embed_dims),
                        k=k,
                    )
                    for drop_path in drop_paths.tolist()
                ]
                body = HeatGroup(blocks, with_cp=with_cp)
            else:
                body = SwinStage(
                    embed_dims,
                    drop_paths.tolist(),
                    num_heads=num_heads,
                    window_size=window_size,
                    mlp_ratio=mlp_ratio,
                    with_cp=with_cp,
                )
            groups.append(ResidualGroup(body, embed_dims))
        out_channels = in_channels * upscale**2
        self.head = ChannelsLastConv2d(in_channels, embed_dims, 3, padding=1)
        self.groups = nn.ModuleList(groups)
        self.norm = LayerNorm(embed_dims)
        self.fuse = ChannelsLastConv2d(embed_dims, embed_dims, 3, padding=1)
        self.tail = ChannelsLastConv2d(embed_dims, out_channels, 3, padding=1)
        self._reset_parameters(initial_k)

    def forward(self, x: Tensor) -> Tensor:
        """Restore images of any size; nothing is padded.

        Args:
            x (Tensor): Degraded images, shape (B, in_channels, H, W).

        Returns:
            Tensor: Restored images, shape
            (B, in_channels, upscale * H, upscale * W).

        Raises:
            ValueError: The images have another number of channels.
        """
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(
                f'the network takes images (B, {self.in_channels}, H, W), '
                f'but got {tuple(x.shape)}; in_channels of the network and '
                'color of LoadPhotograph must agree'
            )
        freq_embed = self.freq_embed
        if freq_embed is not None:
            freq_embed = resize_freq_embed(freq_embed, x.shape[2:], 'bicubic')
        shallow = deep = self.head(x.permute(0, 2, 3, 1))
        for group in self.groups:
            deep = group(deep, freq_embed)
        deep = shallow + self.fuse(self.norm(deep))
        correction = self.tail(deep).permute(0, 3, 1, 2)
        image = x.repeat_interleave(self.upscale**2, 1)
        return F.pixel_shuffle(image + correction, self.upscale)

    def _reset_parameters(self, initial_k: Sequence[float] | None) -> None:
        """Initialise as vHeat, then spread k over the channels."""
        init_linear_layers(self)
        # At the start, what is corrected is nothing.
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)
        if self.freq_embed is None:
            return
        nn.init.trunc_normal_(self.freq_embed, std=0.02)
        if initial_k is None:
            return
        least, largest = (torch.tensor(float(k)).log() for k in initial_k)
        for module in self.modules():
            if isinstance(module, HeatBlock):
                bias = module.op.to_k[0].bias
                spread = torch.linspace(0, 1, len(bias))
                value = (least + (largest - least) * spread).exp()
                bias.data.copy_(value)


class HeatGroup(HeatStage):
    """Blocks whose FVE, the one of all groups, has their size already."""

    def resize_freq_embed(self, freq_embed: Tensor, _: Tensor) -> Tensor:
        """Leave it as it is."""
        return freq_embed


class ResidualGroup(nn.Module):
    """Blocks, a convolution and a residual connection around both.

    Args:
        body (nn.Module): The blocks, called as a :class:`HeatStage`.
        dims (int): Channels C.
    """

    def __init__(self, body: nn.Module, dims: int) -> None:
        super().__init__()
        self.body = body
        self.conv = ChannelsLastConv2d(dims, dims, 3, padding=1)

    def forward(self, x: Tensor, freq_embed: Tensor | None) -> Tensor:
        """Transform features (B, H, W, C)."""
        if freq_embed is None:  # k does not come from it
            freq_embed = x.new_empty(*x.shape[1:3], 0)
        return x + self.conv(self.body(x, freq_embed)[0])


class SwinStage(nn.Module):
    """SwinIR's blocks, built from mmpretrain's, in the place of heat blocks.

    Args:
        dims (int): Channels C.
        drop_paths (Sequence[float]): Stochastic depth, one a block.
        num_heads (int): Heads of the attention.
        window_size (int): Side of a window; images are padded to a multiple
            of it.
        mlp_ratio (float): Hidden channels of an MLP per channel.
        with_cp (bool): Recompute each block in the backward pass.
    """

    def __init__(
        self,
        dims: int,
        drop_paths: Sequence[float],
        num_heads: int,
        window_size: int,
        mlp_ratio: float,
        with_cp: bool,
    ) -> None:
        super().__init__()
        from mmpretrain.models.backbones.swin_transformer import (
            SwinBlockSequence,
        )

        self.blocks = SwinBlockSequence(
            dims,
            len(drop_paths),
            num_heads,
            window_size=window_size,
            drop_paths=drop_paths,
            block_cfgs=dict(ffn_ratio=mlp_ratio),
            with_cp=with_cp,
            pad_small_map=True,
        )

    def forward(self, x: Tensor, _: Tensor) -> tuple[Tensor, None]:
        """Transform features (B, H, W, C)."""
        y, _ = self.blocks(x.flatten(1, 2), x.shape[1:3])
        return y.view_as(x), None


@MODELS.register_module()
class DnCNN(BaseModule):
    """A plain CNN that predicts the noise (arXiv:1608.03981).

    Args:
        in_channels (int): Image channels. Defaults to 1.
        channels (int): Channels of the features. Defaults to 64.
        depth (int): Convolutions. Defaults to 17.
        norm (bool): Batch norm behind all convolutions but the first and the
            last. Defaults to True.
        init_cfg (dict, optional): mmengine's initialisation config.
    """

    def __init__(
        self,
        in_channels: int = 1,
        channels: int = 64,
        depth: int = 17,
        norm: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.in_channels = in_channels
        self.upscale = 1
        layers = [nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers.append(
                nn.Conv2d(channels, channels, 3, padding=1, bias=not norm)
            )
            if norm:
                layers.append(nn.BatchNorm2d(channels))
            layers.append(nn.ReLU())
        layers.append(nn.Conv2d(channels, in_channels, 3, padding=1))
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
        # As vHeatIR: at the start, no noise is found.
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        """Restore images (B, in_channels, H, W) of any size."""
        return x - self.layers(x)
