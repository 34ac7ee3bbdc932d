"""The networks that ``benchmark.py`` compares, and one step of each."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from complexity import build
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmvheat.engine.config import load_config
from mmvheat.engine.errors import UserError
from mmvheat.engine.hooks.float32_ops_hook import keep_ops_in_float32

DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)

_HEADS = dict(t=(3, 6, 12, 24), s=(3, 6, 12, 24), b=(4, 8, 16, 32))
_DEPTHS = dict(t=(2, 2, 6, 2), s=(2, 2, 18, 2), b=(2, 2, 18, 2))
_NAMES = dict(t='tiny', s='small', b='base')
_QUICKSTART_ARCH = dict(
    embed_dims=32, depths=(1, 1, 2, 1), post_norm=False, layer_scale=None
)

BACKBONES = {
    'vheat-n': ('mmvheat', dict(type='vHeat', arch=_QUICKSTART_ARCH)),
    **{
        f'vheat-{size}': ('mmvheat', dict(type='vHeat', arch=_NAMES[size]))
        for size in 'tsb'
    },
    **{
        f'swin-{size}': (
            'mmdet',
            dict(
                type='mmdet.SwinTransformer',
                embed_dims=32 * _HEADS[size][0],
                depths=_DEPTHS[size],
                num_heads=_HEADS[size],
                window_size=7,
                drop_path_rate=0.1,
            ),
        )
        for size in 'tsb'
    },
    'resnet-50': ('mmdet', dict(type='mmdet.ResNet', depth=50)),
    **{
        f'convnext-{size}': (
            'mmpretrain',
            dict(
                type='mmpretrain.ConvNeXt',
                arch=_NAMES[size],
                out_indices=(0, 1, 2, 3),
                gap_before_final_norm=False,
                drop_path_rate=0.1,
            ),
        )
        for size in 'tsb'
    },
}
"""Library and config of every backbone known by a name of its own."""

TIMM = 'timm:'


@dataclass(frozen=True)
class Size:
    """Shape of a batch of images."""

    batch: int
    height: int
    width: int

    def __str__(self) -> str:
        return f'{self.batch}x{self.height}x{self.width}'

    @property
    def pixels(self) -> int:
        """int: Pixels of one image."""
        return self.height * self.width


def split_name(name: str) -> tuple[str, set[str]]:
    """Split ``'vheat-t+cp+compile'`` into the network and its options."""
    name, *options = name.split('+')
    return name, set(options)


def check_name(name: str) -> None:
    """Check the name of a network without importing its library.

    Args:
        name (str): A backbone of :data:`BACKBONES`, ``timm:NAME`` or the
            path of a config; ``+compile`` behind it compiles the network,
            ``+cp`` recomputes the blocks of a vHeat in training.

    Raises:
        UserError: There is no such network or option.
    """
    base, options = split_name(name)
    if base.endswith('.py'):
        if not Path(base).is_file():
            raise UserError(f'The config {base} does not exist.')
    elif base not in BACKBONES and not base.startswith(TIMM):
        raise UserError(
            f'There is no model {base!r}; give some of '
            f'{", ".join(BACKBONES)}, {TIMM}NAME for a model of timm, or '
            'the path of a config.'
        )
    allowed = {'compile'}
    if base.startswith('vheat-'):
        allowed.add('cp')
    for option in sorted(options - allowed):
        raise UserError(
            f'{name!r} has the unknown option +{option}; {base} takes '
            f'{" and ".join("+" + o for o in sorted(allowed))}.'
        )


def why_missing(name: str) -> str | None:
    """Tell why a network cannot be built here; None where it can."""
    base, _ = split_name(name)
    if base.endswith('.py'):
        return None  # load_config tells it better.
    library = BACKBONES[base][0] if base in BACKBONES else 'timm'
    if importlib.util.find_spec(library) is None:
        return f'{library} is not installed'
    module = library if library == 'timm' else f'{library}.models'
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken library may raise anything
        reason = ' '.join(str(error).split())
        return f'{library} cannot be imported ({reason})'
    return None


def build_network(name: str) -> nn.Module:
    """Build a network with random weights, see :func:`check_name`.

    Raises:
        UserError: It cannot be built.
    """
    base, options = split_name(name)
    torch.manual_seed(0)
    with _silence():
        if base.endswith('.py'):
            network = _build_whole(base)
        elif base.startswith(TIMM):
            network = _build_timm(base[len(TIMM) :])
        else:
            settings = dict(BACKBONES[base][1])
            if settings['type'] == 'vHeat':
                settings.update(img_size=512, with_cp='cp' in options)
            network = MODELS.build(settings)
    if 'compile' in options:
        part = network.backbone if is_whole(network) else network
        part.compile(dynamic=False)
    return network


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep libraries from telling how they build and initialise."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(logging.NOTSET)


def _build_whole(path: str) -> nn.Module:
    cfg = load_config(path)
    model = cfg.model
    model.backbone.init_cfg = None
    # How many regions survive depends on the weights. Let it be the same for
    # every backbone: as many as there may be, of no object at first.
    for settings, name in (('test_cfg', 'rpn'), ('train_cfg', 'rpn_proposal')):
        proposals = (model.get(settings) or {}).get(name)
        if proposals:
            proposals.nms.iou_threshold = 1.0
    # Nor do recipes agree on how segmentors are tested.
    if (model.get('test_cfg') or {}).get('mode') == 'slide':
        model.test_cfg = dict(mode='whole')
    network = build(cfg)
    network.init_weights()
    keep_ops_in_float32(network)
    return network


def _build_timm(name: str) -> nn.Module:
    import timm

    options = dict(features_only=True, drop_path_rate=0.1)
    if name.startswith('swin'):
        options['strict_img_size'] = False
    try:
        return timm.create_model(name, **options)
    except (RuntimeError, TypeError) as error:
        reason = ' '.join(str(error).split())
        raise UserError(
            f'timm cannot build {name!r} as a backbone: {reason}'
        ) from error


def place(network: nn.Module, device: str, channels_last: bool) -> nn.Module:
    """Move a network to a device and perhaps to channels last memory."""
    network = network.to(device)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    return network


def is_whole(network: nn.Module) -> bool:
    """Tell detectors, segmentors and classifiers from backbones."""
    return hasattr(network, 'predict')


class Step:
    """An evaluation or a training step on random images.

    Whole models predict, or compute their own loss on random annotations;
    the loss of a backbone is the sum of the mean squares of its outputs.
    Training runs forward and backward without an optimiser; in a batch of one
    image batch norm stays as at evaluation.

    Args:
        network (nn.Module): The network.
        mode (str): ``'eval'`` or ``'train'``.
        dtype (torch.dtype): Single precision, or the dtype of autocast.
        size (Size): Shape of the images.
        channels_last (bool): Memory format of the images. Defaults to False.
    """

    def __init__(
        self,
        network: nn.Module,
        mode: str,
        dtype: torch.dtype,
        size: Size,
        channels_last: bool = False,
    ) -> None:
        self.network = network
        self.training = mode == 'train'
        self.dtype = dtype
        self.frozen_norm = size.batch == 1
        self.device = next(network.parameters()).device
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(
            size.batch, 3, size.height, size.width, generator=generator
        )
        if channels_last:
            images = images.to(memory_format=torch.channels_last)
        self.images = images.to(self.device)
        self.samples = None
        if is_whole(network):
            self.samples = [
                _make_sample(network, size) for _ in range(size.batch)
            ]

    def prepare(self) -> None:
        """Set the mode of the network."""
        self.network.train(self.training)
        if self.frozen_norm:
            for module in self.network.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def forward(self) -> object:
        """Compute the outputs, or the loss in training."""
        network, images = self.network, self.images
        with self._autocast():
            if self.samples is None:
                outputs = network(images)
                if not self.training:
                    return outputs
                return sum(o.float().square().mean() for o in outputs)
            if self.training:
                losses = network.loss(images, self.samples)
                return network.parse_losses(losses)[0]
            return network.predict(images, self.samples)

    def __call__(self) -> None:
        """Run the step and forget its results."""
        if not self.training:
            with torch.no_grad():
                self.forward()
            return
        self.forward().backward()
        self.network.zero_grad(set_to_none=True)

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)


def _make_sample(network: nn.Module, size: Size) -> object:
    """Make a data sample with random annotations for an image."""
    height, width = size.height, size.width
    device = next(network.parameters()).device
    if hasattr(network, 'decode_head'):
        from mmseg.structures import SegDataSample

        labels = torch.randint(network.num_classes, (1, height, width))
        sample = SegDataSample(
            gt_sem_seg=PixelData(data=labels.to(device)),
        )
    elif hasattr(network, 'bbox_head') or hasattr(network, 'roi_head'):
        from mmdet.structures import DetDataSample

        sample = DetDataSample(gt_instances=_make_objects(size, device))
    elif hasattr(network, 'head'):
        from mmpretrain.structures import DataSample

        return DataSample().set_gt_label(0).to(device)
    else:
        raise UserError(
            f'{type(network).__name__} is neither a detector nor a segmentor '
            'nor a classifier.'
        )
    shape = (height, width)
    sample.set_metainfo(
        dict(
            img_shape=shape,
            ori_shape=shape,
            pad_shape=shape,
            batch_input_shape=shape,
            scale_factor=(1.0, 1.0),
        )
    )
    return sample


def _make_objects(
    size: Size, device: torch.device, number: int = 8
) -> InstanceData:
    """Make objects of class 0 with boxes and masks all over an image."""
    from mmdet.structures.mask import BitmapMasks

    corners = torch.rand(number, 2, 2).sort(dim=1).values
    corners = corners * torch.tensor([size.width - 9, size.height - 9])
    boxes = corners.flatten(1) + torch.tensor([0, 0, 8, 8])
    masks = torch.zeros(number, size.height, size.width, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist()):
        mask[top:bottom, left:right] = 1
    return InstanceData(
        bboxes=boxes.to(device),
        labels=torch.zeros(number, dtype=torch.long, device=device),
        masks=BitmapMasks(masks.numpy(), size.height, size.width),
    )
