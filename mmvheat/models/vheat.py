"""The vHeat backbone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmvheat.fast import accelerated
from mmvheat.nn import init_linear_layers
from mmvheat.ops import resize_freq_embed

from .arch import (
    ARCH_SETTINGS,
    check_stage_options,
    parse_arch,
    parse_img_size,
)
from .heat_block import HeatBlock
from .layers import ChannelsLastConv2d, LayerNorm
from .propagators import build_propagator
from .weights import adapt_state_dict


@MODELS.register_module()
class vHeat(BaseModule):  # noqa: N801 (the name of the paper)
    """vHeat, a backbone of heat conduction operators.

    Wang et al., `Building Vision Models upon Heat Conduction
    <https://arxiv.org/abs/2405.16555>`_, CVPR 2025. Parameters carry the
    names of the official checkpoints. Inside, features are channels last,
    (B, H, W, C).

    Args:
        arch (str | dict): ``'tiny'``, ``'small'``, ``'base'``, or a dict with
            the keys ``embed_dims`` (int for the first stage, doubled in each
            later one, or four ints), ``depths`` (four ints), ``post_norm``
            (bool) and ``layer_scale`` (float or None). Defaults to 'tiny'.
        img_size (int | tuple[int, int]): Image size (H, W) in pixels whose
            frequency grid the frequency value embeddings (FVE) have; it
            limits no input: FVEs are resized to the features at run time.
            Defaults to 224.
        in_channels (int): Image channels. RGB weights are adapted on load.
            Defaults to 3.
        mlp_ratio (float): Hidden channels of the MLP per channel.
            Defaults to 4.0.
        drop_path_rate (float): Stochastic depth of the last block; it rises
            linearly from 0 at the first. Defaults to 0.1.
        out_indices (Sequence[int]): Stages to return, in this order. Stages
            behind the last of them are not created.
            Defaults to (0, 1, 2, 3).
        frozen_stages (int): -1 freezes nothing, 0 the stem, n the stem and
            the first n stages with their FVEs and norms. Defaults to -1.
        with_cp (bool): Recompute each block in the backward pass instead of
            storing its activations. Defaults to False.
        freq_embed_resize (str): How FVEs of another grid are resized when
            weights are loaded, see
            :func:`mmvheat.ops.resize_freq_embed`. Defaults to 'pad'.
        propagator (dict, optional): Config of the law by which features
            spread, such as ``dict(type='DampedWavePropagator')``, see
            docs/propagators.md. Defaults to None, that is
            ``dict(type='HeatPropagator')``.
        k (str | float): Where the strength of propagation comes from:
            ``'freq_embed'`` predicts it from the FVEs, ``'input'`` from the
            features, ``'scalar'`` and ``'vector'`` learn it, a number is
            kept. Without ``'freq_embed'`` FVEs have no effect and no
            gradient. Defaults to 'freq_embed'.
        init_cfg (dict | list[dict], optional): mmengine's initialisation
            config; ``dict(type='Pretrained', checkpoint=...)`` takes any
            vHeat checkpoint. Defaults to None.

    Raises:
        ValueError: If an argument has a value that vHeat does not support.

    Example:
        >>> arch = dict(
        ...     embed_dims=16, depths=(1, 1, 2, 1), post_norm=False,
        ...     layer_scale=None,
        ... )
        >>> backbone = vHeat(arch, img_size=64)
        >>> [tuple(m.shape) for m in backbone(torch.rand(1, 3, 64, 96))]
        [(1, 16, 16, 24), (1, 32, 8, 12), (1, 64, 4, 6), (1, 128, 2, 3)]
    """

    arch_settings = ARCH_SETTINGS

    def __init__(
        self,
        arch: str | dict = 'tiny',
        img_size: int | Sequence[int] = 224,
        in_channels: int = 3,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        with_cp: bool = False,
        freq_embed_resize: str = 'pad',
        propagator: dict | None = None,
        k: str | float = 'freq_embed',
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        settings = parse_arch(arch)
        self.embed_dims = settings['embed_dims']
        self.depths = settings['depths']
        self.img_size = parse_img_size(img_size)
        self.out_indices = tuple(out_indices)
        check_stage_options(self.out_indices, frozen_stages)
        if freq_embed_resize not in ('pad', 'bicubic'):
            raise ValueError(
                "freq_embed_resize must be 'pad' or 'bicubic', but got "
                f'{freq_embed_resize!r}'
            )
        self.frozen_stages = frozen_stages
        self.freq_embed_resize = freq_embed_resize

        # A stage nobody reads would hold parameters without gradients.
        last_stage = max(self.out_indices)
        num_blocks = sum(self.depths)
        drop_path_rates = iter(
            torch.linspace(
                0, drop_path_rate, num_blocks, device='cpu'
            ).tolist()
        )
        self.patch_embed = Stem(in_channels, self.embed_dims[0])
        self.freq_embed = nn.ParameterList()
        self.layers = nn.ModuleList()
        for i in range(last_stage + 1):
            height, width = (side // 4 // 2**i for side in self.img_size)
            dims = self.embed_dims[i]
            self.freq_embed.append(
                nn.Parameter(
                    torch.empty(height, width, dims),
                    requires_grad=k == 'freq_embed',
                )
            )
            blocks = [
                HeatBlock(
                    dims,
                    mlp_ratio=mlp_ratio,
                    drop_path=next(drop_path_rates),
                    post_norm=settings['post_norm'],
                    layer_scale=settings['layer_scale'],
                    propagator=build_propagator(propagator, dims),
                    k=k,
                )
                for _ in range(self.depths[i])
            ]
            downsample = None
            if i < last_stage:
                downsample = _make_downsample(dims, self.embed_dims[i + 1])
            self.layers.append(HeatStage(blocks, downsample, with_cp=with_cp))
        for i in self.out_indices:
            self.add_module(f'outnorm{i}', LayerNorm(self.embed_dims[i]))

        self._reset_parameters()
        self._freeze_stages()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps of the stages in ``out_indices``.

        Args:
            x (Tensor): Images, shape (B, in_channels, H, W), any H and W.

        Returns:
            tuple[Tensor]: Contiguous maps; stage i has the shape
            (B, embed_dims[i], ceil(H / 2**(i+2)), ceil(W / 2**(i+2))).

        Raises:
            ValueError: If these are no images.
        """
        # A proxy of torch.fx has no dimensions to ask for.
        if isinstance(x, Tensor) and x.dim() != 4:
            raise ValueError(
                'vHeat takes images (B, channels, H, W), but got '
                f'{tuple(x.shape)}; for volumes there is '
                'mmvheat.nn.HeatConduction3d'
            )
        x = self.patch_embed(x.permute(0, 2, 3, 1))
        outputs = {}
        for i, stage in enumerate(self.layers):
            features, x = stage(x, self.freq_embed[i])
            if i in self.out_indices:
                norm = getattr(self, f'outnorm{i}')
                outputs[i] = self.normalize_output(features, norm)
        return tuple(outputs[i] for i in self.out_indices)

    @accelerated
    def normalize_output(self, x: Tensor, norm: nn.Module) -> Tensor:
        """Normalise features (B, H, W, C), return them as (B, C, H, W)."""
        # Operators such as RoIAlign expect channels-first memory.
        return norm(x).permute(0, 3, 1, 2).contiguous()

    def train(self, mode: bool = True) -> vHeat:
        """Set the mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        self._freeze_stages()
        return self

    def init_weights(self) -> None:
        """Initialise by ``init_cfg``; a pretrained file may have any layout.

        Raises:
            ValueError: If the checkpoint does not fit the backbone.
        """
        cfg = self.init_cfg
        if isinstance(cfg, (list, tuple)) and len(cfg) == 1:
            (cfg,) = cfg
        cfg = cfg if isinstance(cfg, dict) else {}
        kind = cfg.get('type')
        kind = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
        if (
            self.is_init
            or kind.split('.')[-1] not in ('Pretrained', 'PretrainedInit')
            or not set(cfg) <= {'type', 'checkpoint', 'prefix', 'map_location'}
        ):
            super().init_weights()
            return
        from mmvheat.checkpoint import load_pretrained

        load_pretrained(
            self,
            cfg['checkpoint'],
            mode=self.freq_embed_resize,
            prefix=cfg.get('prefix'),
        )
        self.is_init = True

    def get_layer_depth(
        self, param_name: str, prefix: str = ''
    ) -> tuple[int, int]:
        """Get the depth of a parameter for layer-wise learning rate decay.

        Args:
            param_name (str): Name of the parameter in the whole model.
            prefix (str): The backbone's prefix in it, such as
                ``'backbone.'``. Defaults to ''.

        Returns:
            tuple[int, int]: Depth of the parameter (0 for the stem, 1 for
            the first block, ``num_layers - 1`` outside the backbone), and
            ``num_layers``, the number of blocks plus 2.
        """
        depths = self.depths[: len(self.layers)]
        num_layers = sum(depths) + 2
        if not param_name.startswith(prefix):
            return num_layers - 1, num_layers
        name, *rest = param_name[len(prefix) :].split('.')
        if name == 'patch_embed':
            return 0, num_layers
        if name == 'freq_embed':
            return sum(depths[: int(rest[0])]) + 1, num_layers
        if name == 'layers':
            stage, index = int(rest[0]), int(rest[1])
            # A downsample layer goes with the block before it.
            index = min(index, depths[stage] - 1)
            return sum(depths[:stage]) + index + 1, num_layers
        if name.startswith('outnorm'):
            stage = int(name[len('outnorm') :])
            return sum(depths[: stage + 1]), num_layers
        return num_layers - 1, num_layers

    def _reset_parameters(self) -> None:
        """Initialise as the paper's code; convolutions keep torch's way."""
        init_linear_layers(self)
        for freq_embed in self.freq_embed:
            nn.init.trunc_normal_(freq_embed, std=0.02)

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        frozen: list[nn.Module] = [self.patch_embed]
        for i, stage in enumerate(self.layers[: self.frozen_stages]):
            frozen.append(stage)
            self.freq_embed[i].requires_grad_(False)
            if i in self.out_indices:
                frozen.append(getattr(self, f'outnorm{i}'))
        for module in frozen:
            module.eval()
            module.requires_grad_(False)

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args, **kwargs
    ) -> None:
        # Every way to load weights passes here: FVEs of another grid and
        # stems of other channels are adapted whatever file they come from.
        shapes = {k: v.shape for k, v in self.state_dict().items()}
        adapt_state_dict(
            state_dict, shapes, prefix=prefix, mode=self.freq_embed_resize
        )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Stem(nn.Module):
    """Patch embedding by two convolutions of stride 2.

    Args:
        in_channels (int): Image channels.
        embed_dims (int): Channels of the first stage C.
    """

    def __init__(self, in_channels: int, embed_dims: int) -> None:
        super().__init__()
        half = embed_dims // 2
        self.conv1 = ChannelsLastConv2d(in_channels, half, 3, 2, 1)
        self.conv2 = ChannelsLastConv2d(half, embed_dims, 3, 2, 1)
        # Official names count the permutation before the norm.
        self.norm1 = nn.Sequential(OrderedDict({'1': LayerNorm(half, 1e-6)}))
        self.norm2 = nn.Sequential(
            OrderedDict({'1': LayerNorm(embed_dims, 1e-6)})
        )

    @accelerated
    def forward(self, x: Tensor) -> Tensor:
        """Embed images (B, H, W, in_channels) as (B, H/4, W/4, C)."""
        x = F.gelu(self.norm1(self.conv1(x)))
        return self.norm2(self.conv2(x))


class HeatStage(nn.Sequential):
    """Blocks of one resolution, then perhaps a downsample layer.

    The blocks share the stage's FVE; each predicts its own k from it.

    Args:
        blocks (list[HeatBlock]): The blocks.
        downsample (nn.Module, optional): The layer behind them.
            Defaults to None.
        with_cp (bool): Recompute each block in the backward pass.
            Defaults to False.
    """

    def __init__(
        self,
        blocks: list[HeatBlock],
        downsample: nn.Module | None = None,
        with_cp: bool = False,
    ) -> None:
        layers = blocks if downsample is None else [*blocks, downsample]
        super().__init__(*layers)
        self.has_downsample = downsample is not None
        self.with_cp = with_cp

    def append(self, module: HeatBlock) -> HeatStage:
        """Append a block, before the downsample layer."""
        return self.insert(self.depth, module)

    @property
    def depth(self) -> int:
        """int: Blocks, also where some were removed or added."""
        return len(self) - self.has_downsample

    @property
    def blocks(self) -> list[HeatBlock]:
        """list[HeatBlock]: The blocks without the downsample layer."""
        return list(self)[: self.depth]

    @property
    def downsample(self) -> nn.Module | None:
        """nn.Module: The layer behind the blocks, if any."""
        return self[-1] if self.has_downsample else None

    def forward(
        self, x: Tensor, freq_embed: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Run the blocks and the downsample layer.

        Args:
            x (Tensor): Features, shape (B, H, W, C).
            freq_embed (Tensor): The stage's FVE, shape (H0, W0, C).

        Returns:
            tuple[Tensor, Tensor | None]: Features of this stage, shape
            (B, H, W, C), and what the next one takes, if there is one.
        """
        freq_embed = self.resize_freq_embed(freq_embed, x)
        for block in self.blocks:
            if self.with_cp and self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, freq_embed, use_reentrant=False)
            else:
                x = block(x, freq_embed)
        return x, None if self.downsample is None else self.downsample(x)

    @accelerated
    def resize_freq_embed(self, freq_embed: Tensor, x: Tensor) -> Tensor:
        """Interpolate an FVE (H0, W0, C) to features (B, H, W, C)."""
        return resize_freq_embed(freq_embed, x.shape[1:3], mode='bicubic')


def _make_downsample(in_dims: int, out_dims: int) -> nn.Sequential:
    """Halve the resolution: (B, H, W, in_dims) -> (B, H/2, W/2, out_dims)."""
    return nn.Sequential(
        ChannelsLastConv2d(in_dims, out_dims, 3, 2, 1, bias=False),
        LayerNorm(out_dims),
    )
