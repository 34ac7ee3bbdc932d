"""Whole models as programs from images of bytes to predictions.

A program takes images (B, H, W, 3), RGB, uint8. Channel order and
normalisation are inside, as are padding to a multiple, the decoding of boxes
and the suppression of overlapping ones. Sizes of all it gives are fixed by
those of its input.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmcv.cnn.utils import fuse_conv_bn
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from mmvheat.errors import UserError
from mmvheat.fast import disabled
from mmvheat.models.heat_block import HeatConduction
from mmvheat.nn import PooledSource, Propagator
from mmvheat.ops import dct_basis, split_mean
from mmvheat.ops.dct import transform


class Program(nn.Module):
    """From bytes to what the network takes, around a model of a task.

    Args:
        model (nn.Module): A model of mmpretrain, mmseg or mmdet.
        half (bool): Compute the network in half precision; norms, decays and
            boxes stay in single precision. Defaults to False.
    """

    outputs: tuple[str, ...] = ()
    task = ''

    def __init__(self, model: nn.Module, half: bool = False) -> None:
        super().__init__()
        self.model = model
        self.half_precision = half
        data = model.data_preprocessor
        # The models' own pipelines read images as BGR.
        self.is_rgb = getattr(
            data,
            '_channel_conversion',
            getattr(data, 'channel_conversion', getattr(data, 'to_rgb', 0)),
        )
        self.divisor = getattr(data, 'pad_size_divisor', 1) or 1
        for name, plain in (('mean', 0.0), ('std', 1.0)):
            value = getattr(data, name, torch.full((3,), plain))
            self.register_buffer(f'image_{name}', value.view(-1, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Predict.

        Args:
            images (Tensor): RGB, uint8, shape (B, H, W, 3).

        Returns:
            tuple[Tensor]: Those that ``outputs`` names.
        """
        x = images.permute(0, 3, 1, 2).to(torch.float32)
        if not self.is_rgb:
            x = x.flip(1)
        x = (x - self.image_mean) / self.image_std
        size = images.shape[1:3]
        if self.divisor > 1:
            height, width = (-side % self.divisor for side in size)
            x = F.pad(x, (0, width, 0, height))
        return self.predict(x, size)

    def predict(self, x: Tensor, size: tuple[int, int]) -> tuple:
        """Predict from what the network takes and the size of the images."""
        raise NotImplementedError

    def run(self, part: Callable, *args: Tensor | list) -> Tensor | tuple:
        """Run a part of the network in its precision.

        Returns:
            Tensor | tuple: What the part gives, in single precision.
        """
        if not self.half_precision:
            return part(*args)
        with torch.autocast('cpu', torch.float16):
            found = part(*args)
        return _to_float(found)


def _to_float(value: Tensor | list | tuple) -> Tensor | tuple:
    if isinstance(value, Tensor):
        return value.float()
    return tuple(map(_to_float, value))


class Backbone(nn.Module):
    """The backbone alone: feature maps of normalised images (B, C, H, W)."""

    task = 'features'

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(backbone).eval().requires_grad_(False)
        self.outputs = tuple(f'stage{i}' for i in backbone.out_indices)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps."""
        return self.model(images)


class Classifier(Program):
    """Scores (B, K) of the classes, which add up to 1."""

    task, outputs = 'classification', ('scores',)

    def __init__(self, model: nn.Module, half: bool = False) -> None:
        from mmpretrain.models.heads import ClsHead

        if not isinstance(model.head, ClsHead):
            raise _unknown('head', model.head, 'LinearClsHead')
        super().__init__(model, half)

    def predict(self, x: Tensor, size: tuple[int, int]) -> tuple:
        """Predict scores."""
        logits = self.run(
            lambda x: self.model.head(self.model.extract_feat(x)), x
        )
        return (logits.softmax(-1),)


class Segmentor(Program):
    """Logits (B, K, H, W) of the classes of every pixel.

    They are what sliding windows and enlarged maps are made of: a map of
    classes could be neither averaged nor enlarged.
    """

    task, outputs = 'segmentation', ('logits',)

    def __init__(self, model: nn.Module, half: bool = False) -> None:
        from mmseg.models.decode_heads.decode_head import BaseDecodeHead

        head = model.decode_head
        own = getattr(type(head), 'predict_by_feat', None)
        if own is not BaseDecodeHead.predict_by_feat:
            raise _unknown('decode_head', head, 'UPerHead, FPNHead')
        super().__init__(model, half)

    def predict(self, x: Tensor, size: tuple[int, int]) -> tuple:
        """Predict logits of pixels."""
        model = self.model
        logits = self.run(
            lambda x: model.decode_head(model.extract_feat(x)), x
        )
        logits = F.interpolate(
            logits,
            x.shape[2:],
            mode='bilinear',
            align_corners=model.decode_head.align_corners,
        )
        return (logits[..., : size[0], : size[1]],)


class FixedPropagator(Propagator):
    """A propagator for features of one size: its response is a constant.

    Args:
        law (Propagator): The propagator.
        x (Tensor): Features of that size.
        k (Tensor): Its strength there.
    """

    keeps_mean = False  # says nothing: forward has the law's own

    def __init__(self, law: Propagator, x: Tensor, k: Tensor) -> None:
        super().__init__(law.dims)
        self.keeps_mean = law.keeps_mean
        self.register_buffer('decay', law.respond(x, k))
        self.register_buffer('rows', dct_basis(x.shape[1]))
        self.register_buffer('columns', dct_basis(x.shape[2]))

    def forward(self, x: Tensor, k: Tensor) -> Tensor:
        """Let features spread; ``k`` is not asked again."""
        mean, rest = split_mean(x)
        if not self.keeps_mean:
            mean = mean * self.decay[:1, :1]
        bases = [b.to(rest.dtype) for b in (self.rows, self.columns)]
        spectrum = transform(rest, *bases) * self.decay.to(rest.dtype)
        return mean + transform(spectrum, *(basis.t() for basis in bases))


class AveragePool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` by two matrices, for sizes that are not known.

    The exporter writes the places to average as those of the example.

    Args:
        cells (int): Output cells of a side.
    """

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, x: Tensor) -> Tensor:
        """Average (B, C, H, W) as (B, C, cells, cells)."""
        rows, columns = (self.weigh(side, x) for side in x.shape[2:])
        return rows @ x @ columns.t()

    def weigh(self, side: int, x: Tensor) -> Tensor:
        """Weights (cells, side) of an average."""
        cell = torch.arange(self.cells, device=x.device)[:, None]
        place = torch.arange(side, device=x.device)
        first = cell * side // self.cells
        behind = ((cell + 1) * side + self.cells - 1) // self.cells
        inside = (place >= first) & (place < behind)
        return inside.to(x.dtype) / (behind - first)


def free_sizes(module: nn.Module) -> None:
    """Replace, in place, layers that the exporter ties to one size."""
    for name, child in module.named_children():
        if type(child) is nn.AdaptiveAvgPool2d and child.output_size not in (
            1,
            (1, 1),
        ):
            sizes = child.output_size
            cells = {sizes} if isinstance(sizes, int) else set(sizes)
            if len(cells) == 1:
                setattr(module, name, AveragePool(*cells))
        free_sizes(child)


@torch.no_grad()
def fix_decays(program: Program, size: tuple[int, int]) -> int:
    """Make decays and cosine bases constants of images of one size.

    Args:
        program (Program): Changed in place.
        size (tuple[int, int]): Height and width of its images.

    Returns:
        int: How many operators have constants now. Those whose law or k
        depends on the image have none.
    """
    operators = [
        m
        for m in program.modules()
        if isinstance(m, HeatConduction)
        and not m.propagator.uses_input
        and not isinstance(m.to_k, PooledSource)
    ]
    found = {}
    handles = [
        operator.propagator.register_forward_pre_hook(
            lambda law, args, operator=operator: found.update(
                {operator: FixedPropagator(law, *args)}
            )
        )
        for operator in operators
    ]
    half = getattr(program, 'half_precision', False)
    program.half_precision = False
    with disabled():
        program(make_images(program, size))
    program.half_precision = half
    for handle in handles:
        handle.remove()
    for operator, propagator in found.items():
        operator.propagator = propagator
    return len(found)


def make_images(
    program: nn.Module, size: tuple[int, int], batch: int = 1
) -> Tensor:
    """Make random images (H, W) such as a program takes."""
    random = torch.Generator().manual_seed(0)
    if isinstance(program, Backbone):
        channels = program.model.patch_embed.conv1.in_channels
        return torch.randn(batch, channels, *size, generator=random)
    return torch.randint(
        256, (batch, *size, 3), generator=random, dtype=torch.uint8
    )


def build_program(
    model: nn.Module, half: bool = False, paste_masks: bool = False
) -> Program:
    """Wrap a model as a program, in evaluation mode.

    Args:
        model (nn.Module): An ImageClassifier, EncoderDecoder or detector. It
            is not changed.
        half (bool): See :class:`Program`. Defaults to False.
        paste_masks (bool): Give masks of the size of the input instead of
            those of the boxes. Defaults to False.

    Returns:
        Program: The program.

    Raises:
        UserError: There is no program for such a model.
    """
    model = revert_sync_batchnorm(copy.deepcopy(model))
    model = model.eval().requires_grad_(False)
    if half:
        # onnxscript would put norms in single precision into convolutions in
        # half precision, and leave two dtypes there.
        model = fuse_conv_bn(model)
    library, kind = type(model).__module__.split('.')[0], type(model).__name__
    if library == 'mmdet':
        from .detectors import build_detector

        program = build_detector(model, half, paste_masks)
    elif kind in ('ImageClassifier', 'EncoderDecoder'):
        known = dict(ImageClassifier=Classifier, EncoderDecoder=Segmentor)
        program = known[kind](model, half)
    else:
        raise _unknown('model', model, 'ImageClassifier, EncoderDecoder')
    layers = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    first = next(layers, None)
    # A stem may fold pixels into channels.
    if first is not None and first.in_channels % 3:
        raise UserError(
            f'The {kind} takes images of {first.in_channels} channels, but '
            'programs take RGB ones; export its backbone alone (--backbone).'
        )
    return program.eval()


def _unknown(name: str, part: nn.Module, known: str) -> UserError:
    return UserError(
        f'{name} is a {type(part).__name__}, for which there is no program '
        f'to export; known are {known}.'
    )
