"""The networks that the benchmark compares."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from mmengine.registry import MODELS
from torch import nn

from benchmark.step import is_whole
from mmvheat import fast
from mmvheat.commands.config import build_model, load_config
from mmvheat.engine.hooks.float32_ops_hook import keep_ops_in_float32
from mmvheat.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
DEFAULT_CONFIGS = {
    str(ROOT / 'configs' / path): library
    for path, library in (
        ('mask_rcnn/mask-rcnn_vheat-t_fpn_1x_coco.py', 'mmdet'),
        ('mask_rcnn/mask-rcnn_swin-t_fpn_1x_coco.py', 'mmdet'),
        ('upernet/upernet_vheat-t_8xb2-160k_ade20k-512x512.py', 'mmseg'),
        ('upernet/upernet_swin-t_8xb2-160k_ade20k-512x512.py', 'mmseg'),
    )
}
"""Configs of whole models, and the library that each needs."""


def _list_backbones() -> dict[str, dict]:
    tiny = dict(
        embed_dims=32, depths=(1, 1, 2, 1), post_norm=False, layer_scale=None
    )
    known = {
        # of the quickstart
        'vheat-n': dict(type='vHeat', arch=tiny, img_size=512),
        'resnet-50': dict(type='mmdet.ResNet', depth=50),
    }
    for letter, arch, dims, depth in (
        ('t', 'tiny', 96, 6),
        ('s', 'small', 96, 18),
        ('b', 'base', 128, 18),
    ):
        known[f'vheat-{letter}'] = dict(type='vHeat', arch=arch, img_size=512)
        known[f'swin-{letter}'] = dict(
            type='mmdet.SwinTransformer',
            embed_dims=dims,
            depths=(2, 2, depth, 2),
            num_heads=tuple(dims // 32 * 2**i for i in range(4)),
            drop_path_rate=0.1,
        )
        known[f'convnext-{letter}'] = dict(
            type='mmpretrain.ConvNeXt',
            arch=arch,
            out_indices=(0, 1, 2, 3),
            gap_before_final_norm=False,
            drop_path_rate=0.1,
        )
    # As timm has it: layer norms over the last dimension, no copies.
    known['timm-convnext-t'] = dict(
        type='mmpretrain.TIMMBackbone',
        model_name='convnext_tiny',
        features_only=True,
    )
    for name, changes in dict(
        k5=dict(k=5),
        scalar=dict(k='scalar'),
        input=dict(k='input'),
        fractional=dict(propagator=dict(type='FractionalHeatPropagator')),
        tail=dict(propagator=dict(type='TailPropagator')),
        wave=dict(propagator=dict(type='DampedWavePropagator')),
    ).items():
        known[f'vheat-t-{name}'] = {**known['vheat-t'], **changes}
    return known


BACKBONES = _list_backbones()
"""Config of every backbone known by a name of its own."""


VARIANTS = dict(
    compile=None, graph=None, plain=fast.disabled, all=fast.on_trial
)
"""What may follow a ``+``: compiled, replayed as a CUDA graph, and other
states of mmvheat.fast."""


def get_label(name: str) -> str:
    """Get the short name of a network: of a config without its folder."""
    base, plus, variant = name.partition('+')
    base = Path(base).stem if base.endswith('.py') else base
    return base + plus + variant


def check_name(name: str) -> None:
    """Check the name of a network without importing its library.

    Raises:
        UserError: It is neither in :data:`BACKBONES` nor the path of a
            config.
    """
    base, plus, variant = name.partition('+')
    if plus and variant not in VARIANTS:
        raise UserError(
            f'There is no variant {variant!r} of {base}; put one of '
            f'{", ".join(VARIANTS)} behind the +.'
        )
    if base.endswith('.py'):
        if not Path(base).is_file():
            raise UserError(f'The config {base} does not exist.')
    elif base not in BACKBONES:
        raise UserError(
            f'There is no model {base!r}; give some of '
            f'{", ".join(BACKBONES)}, or the path of a config.'
        )


def why_missing(name: str) -> str | None:
    """Tell why the library of a network is missing; None where it is not."""
    name = name.partition('+')[0]
    library = DEFAULT_CONFIGS.get(name)
    if name in BACKBONES:
        library = BACKBONES[name]['type'].rpartition('.')[0]
    try:
        if library:
            importlib.import_module(f'{library}.models')
    except Exception as error:  # a broken library may raise anything
        reason = ' '.join(str(error).split())
        return f'{library} cannot be imported: {reason}'
    return None


def build(
    name: str, device: str = 'cpu', channels_last: bool = False
) -> nn.Module:
    """Build a network with random weights, of whole models without SyncBN.

    Args:
        name (str): Of :data:`BACKBONES`, or the path of a config, perhaps
            with ``+`` and one of :data:`VARIANTS`: that of the backbone.
        device (str): Where it goes. Defaults to 'cpu'.
        channels_last (bool): Memory format of its weights. Defaults to False.
    """
    torch.manual_seed(0)
    name, _, variant = name.partition('+')
    if name in BACKBONES:
        network = MODELS.build(BACKBONES[name])
    else:
        network = _build_whole(name)
    network.to(device)
    if channels_last:
        network.to(memory_format=torch.channels_last)
    part = network.backbone if is_whole(network) else network
    if variant == 'compile':
        part.compile(dynamic=False)
    elif VARIANTS.get(variant):
        part.forward = VARIANTS[variant]()(part.forward)
    return network


def _build_whole(path: str) -> nn.Module:
    cfg = load_config(path)
    model = cfg.model
    if 'backbone' not in model:
        raise UserError(
            f'The {model.type} of {path} has no backbone, and this benchmark '
            'times networks that have one; get_flops.py counts restorers.'
        )
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
    network = build_model(cfg)
    network.init_weights()
    keep_ops_in_float32(network)
    return network
