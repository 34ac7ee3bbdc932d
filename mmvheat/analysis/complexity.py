"""Count parameters and FLOPs of a whole model without computing it.

Models run on the meta device, where tensors have shapes and no data, so a
count takes a second whatever the image size. Models that need values to know
their shapes run on the CPU, where products are counted, not computed.

The convention is that of mmengine's ``get_model_complexity_info``: a
multiply-add is one FLOP, a normalisation 5 FLOPs an element (batch norm at
evaluation 2), interpolation 1 (nearest) or 4 (bilinear), average pooling 1;
biases and other elementwise operations are free.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from mmvheat.commands.config import build_model
from mmvheat.errors import UserError, require_torch_2_6
from mmvheat.models import HeatBlock, vHeat, vHeatIR

aten = torch.ops.aten

# Their forward pass, and that of what inherits from them, reads values:
# positions and sizes of a feature pyramid.
_NEED_VALUES = ('DetectionTransformer', 'MaskFormer', 'MaskFormerHead')
_NUM_PROPOSALS, _NUM_MASKS = 1000, 100


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a model for one image.

    Attributes:
        params (int): All parameters, those of auxiliary heads included.
        defined (float): FLOPs of the model as the paper defines it: the
            cosine transforms as four dense matrix products a block, ``to_k``
            evaluated on the feature map's own frequencies, whatever this
            implementation does instead; see :func:`define_flops`. Of a model
            without a :class:`vHeat` or ``vHeatIR``, those executed.
        executed (int): FLOPs that a forward pass executes, with the products
            that resize the frequency value embeddings; those that
            ``mmvheat.fast`` saves at evaluation are counted.
        shape (tuple[int, int]): Height and width of the image in pixels.
    """

    params: int
    defined: float
    executed: int
    shape: tuple[int, int]


def measure(cfg: Config, shape: tuple[int, int] | None = None) -> Complexity:
    """Count parameters and FLOPs of the model of a config.

    Two-stage detectors are counted with 1000 proposals and 100 masks, as
    upstream's tools do; auxiliary heads are left out of the FLOPs.

    Args:
        cfg (Config): A config of mmdet, mmseg or mmpretrain, or of a
            restorer.
        shape (tuple[int, int], optional): Height and width of the image.
            Defaults to None, see :func:`default_shape`.

    Returns:
        Complexity: Parameters and FLOPs.

    Raises:
        UserError: The model has no backbone, or none of the ways to run it
            that are known here.
    """
    require_torch_2_6('counting FLOPs')
    name = 'network' if cfg.default_scope == 'mmengine' else 'backbone'
    if name not in cfg.model:
        raise UserError(
            f'The {cfg.model.type} of {cfg.filename} has no {name}; give a '
            'config of mmdet, mmseg or mmpretrain with a backbone, or of a '
            'restorer.'
        )
    height, width = shape or default_shape(cfg)
    model = build_model(cfg).eval().requires_grad_(False)
    backbone = getattr(model, name)
    network = Network(model)
    if not network.needs_values:
        network.to('meta')
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    image = first.weight.new_zeros(1, first.in_channels, height, width)
    try:
        with SkipProducts() if network.needs_values else nullcontext():
            flops = count_flops(partial(network, image))
    except Exception as error:  # it is a model of someone else
        reason = ' '.join(str(error).split())[:200]
        raise UserError(
            f'The FLOPs of the {type(model).__name__} of {cfg.filename} '
            f'cannot be counted ({type(error).__name__}: {reason}); give a '
            'config of a model that runs on an image alone.'
        ) from error
    defined = executed = flops['Global']
    is_ours = isinstance(backbone, (vHeat, vHeatIR))
    if is_ours and any(isinstance(m, HeatBlock) for m in backbone.modules()):
        define = define_flops if name == 'backbone' else define_restorer_flops
        defined -= flops[f'Network.model.{name}']
        defined += define(backbone, height, width)
    return Complexity(
        params=sum(p.numel() for p in model.parameters()),
        defined=defined,
        executed=executed,
        shape=(height, width),
    )


def default_shape(cfg: Config) -> tuple[int, int]:
    """Get the image size at which papers state the cost of such a model.

    Detection 800x1280, segmentation 512x2048, restoration 256x256 (before
    any enlargement), classification the size that the backbone is trained
    for.
    """
    if cfg.default_scope == 'mmengine':
        return 256, 256
    if cfg.default_scope == 'mmdet':
        return 800, 1280
    if cfg.default_scope == 'mmseg':
        return 512, 2048
    size = cfg.model.backbone.get('img_size', 224)
    return (size, size) if isinstance(size, int) else tuple(size)


def define_flops(backbone: nn.Module, height: int, width: int) -> float:
    """Count what a vHeat backbone computes by definition.

    Every weight of a convolution or linear layer, ``to_k`` included, is
    multiplied once at every position of the map that its layer returns, every
    weight of a norm takes part in 5 operations there, and four products with
    square matrices transform a block's C channels forth and back.

    Args:
        backbone (nn.Module): The backbone, with the official parameter names.
        height (int): Height of the image.
        width (int): Width of the image.

    Returns:
        float: FLOPs. The product with the decay counts half, as mmengine
        counts such an ``einsum`` without a sum.
    """

    def size(stage: int) -> tuple[int, int]:
        stride = 4 * 2**stage
        return math.ceil(height / stride), math.ceil(width / stride)

    total = 0.0
    for name, weight in backbone.named_parameters():
        if name.endswith('weight'):
            operations = weight.numel() * (5 if weight.ndim == 1 else 1)
            stage = _find_stage(name, backbone.depths)
            total += operations * math.prod(size(stage))
    for stage, depth in enumerate(backbone.depths):
        rows, columns = size(stage)
        elements = rows * columns * backbone.embed_dims[stage]
        total += depth * elements * (2 * (rows + columns) + 0.5)
    return total


def define_restorer_flops(
    network: nn.Module, height: int, width: int
) -> float:
    """Count what a vHeatIR computes by definition.

    As :func:`define_flops`, where every layer sees every pixel.

    Args:
        network (nn.Module): The vHeatIR.
        height (int): Height of the degraded image.
        width (int): Width of the degraded image.

    Returns:
        float: FLOPs.
    """
    per_pixel = sum(
        weight.numel() * (5 if weight.ndim == 1 else 1)
        for name, weight in network.named_parameters()
        if name.endswith('weight')
    )
    blocks = [m for m in network.modules() if isinstance(m, HeatBlock)]
    channels = sum(len(block.op.dwconv.weight) for block in blocks)
    per_pixel += channels * (2 * (height + width) + 0.5)
    return height * width * per_pixel


def _find_stage(name: str, depths: tuple[int, ...]) -> int:
    """Tell on the map of which stage a parameter acts, -1 in mid-stem."""
    first, *rest = name.split('.')
    if first == 'patch_embed':
        return -1 if rest[0].endswith('1') else 0
    if first == 'layers':
        stage, block = int(rest[0]), int(rest[1])
        return stage + (block == depths[stage])  # or the downsampling
    return int(first.removeprefix('outnorm'))


class Network(nn.Module):
    """The learned part of a model: from an image to raw predictions.

    What upstream calls the ``'tensor'`` mode, except that two-stage
    detectors take a fixed number of regions.

    Args:
        model (nn.Module): A classifier, detector or segmentor.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        parts = (model, getattr(model, 'decode_head', None))
        names = {kind.__name__ for part in parts for kind in type(part).mro()}
        self.needs_values = not names.isdisjoint(_NEED_VALUES)

    def forward(self, image: Tensor) -> None:
        """Run the network on an image (1, channels, H, W)."""
        model = self.model
        if hasattr(model, 'roi_head'):
            pyramid = model.extract_feat(image)
            model.rpn_head(pyramid)
            _run_region_heads(model.roi_head, pyramid[0])
        elif not self.needs_values:
            model(image, mode='tensor')
        elif hasattr(model, 'decode_head'):
            sample = _make_sample('mmseg', image)
            model.decode_head(model.extract_feat(image), [sample])
        else:
            model(image, [_make_sample('mmdet', image)], mode='tensor')


def count_flops(forward: Callable[[], object]) -> dict[str, int]:
    """Count the FLOPs of a forward pass.

    Args:
        forward (Callable): Runs it. Tensors on the meta device do.

    Returns:
        dict[str, int]: FLOPs of each module by its path that starts with the
        class of the outermost one, and of all under ``'Global'``.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    counter = FlopCounterMode(display=False, custom_mapping=_RULES)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        forward()
    return {
        name: sum(counts.values()) // 2
        for name, counts in counter.get_flop_counts().items()
    }


class SkipProducts(TorchDispatchMode):
    """Return zeros of the right shape for what takes long on the CPU.

    No shape depends on them: models need the values of sizes and positions.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Call an operator, or make zeros like its output."""
        kwargs = kwargs or {}
        if func.overloadpacket not in _PRODUCTS:
            return func(*args, **kwargs)
        to_meta = partial(tree_map_only, Tensor, lambda x: x.to('meta'))
        output = func(*to_meta(args), **to_meta(kwargs))
        first = next(x for x in args if isinstance(x, Tensor))
        return torch.zeros_like(output, device=first.device)


_PRODUCTS = {
    *(aten.mm, aten.addmm, aten.bmm, aten.baddbmm),
    *(aten.convolution, aten.grid_sampler_2d),
}


def _per_input(flops: int) -> Callable:
    return lambda x, *_, **__: 2 * flops * math.prod(x)


def _per_output(flops: int) -> Callable:
    return lambda *_, out_shape, **__: 2 * flops * math.prod(out_shape)


# What FlopCounterMode does not count, at its two FLOPs a multiply-add.
_RULES = {
    aten.native_layer_norm: _per_input(5),
    aten.native_group_norm: _per_input(5),
    aten.native_batch_norm: _per_input(2),
    aten._native_batch_norm_legit_no_training: _per_input(2),
    aten.upsample_nearest2d: _per_output(1),
    aten.upsample_bilinear2d: _per_output(4),
    aten.grid_sampler_2d: _per_output(4),
    aten._adaptive_avg_pool2d: _per_input(1),
    aten.mean: _per_input(1),  # what pooling to 1x1 becomes
}
# Overloads that are not named are taken apart before they are counted.
_RULES.update(
    {
        getattr(operator, overload): rule
        for operator, rule in _RULES.items()
        for overload in operator.overloads()
    }
)


def _run_region_heads(roi_head: nn.Module, features: Tensor) -> None:
    """Run box and mask heads on a fixed number of empty regions."""
    for kind, number in (('bbox', _NUM_PROPOSALS), ('mask', _NUM_MASKS)):
        heads = getattr(roi_head, f'{kind}_head', None)
        if heads is None:
            continue
        extractors = getattr(roi_head, f'{kind}_roi_extractor')
        if not isinstance(heads, nn.ModuleList):
            heads, extractors = [heads], [extractors]
        for head, extractor in zip(heads, extractors):
            size = extractor.roi_layers[0].output_size
            head(features.new_zeros(number, extractor.out_channels, *size))


def _make_sample(scope: str, image: Tensor) -> object:
    """Make an annotation-free data sample for an image."""
    shape = tuple(image.shape[-2:])
    meta = dict(
        img_shape=shape,
        ori_shape=shape,
        pad_shape=shape,
        batch_input_shape=shape,
        scale_factor=(1.0, 1.0),
    )
    if scope == 'mmdet':
        from mmdet.structures import DetDataSample as DataSample
    else:
        from mmseg.structures import SegDataSample as DataSample
    return DataSample(metainfo=meta)
