"""Backbones by the names and keywords of configs for the official code."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence

from mmengine.logging import print_log
from mmengine.registry import MODELS

from .vheat import vHeat

_USED = (
    'img_size',
    'in_chans',
    'depths',
    'dims',
    'drop_path_rate',
    'post_norm',
    'layer_scale',
    'mlp_ratio',
    'use_checkpoint',
    'out_indices',
    'pretrained',
    'patch_size',
)
# Without effect on the official backbone: arguments it never reads, and
# those of Swin, which the official configs inherit from a Swin config.
_WITHOUT_EFFECT = (
    'num_classes',
    'drop_rate',
    'attn_drop_rate',
    'drop_path',
    'norm_layer',
    'act_layer',
    'patch_norm',
    'infer_mode',
    'init_cfg',
    'pretrain_img_size',
    'embed_dims',
    'window_size',
    'num_heads',
    'strides',
    'qkv_bias',
    'qk_scale',
    'use_abs_pos_embed',
    'act_cfg',
    'norm_cfg',
    'with_cp',
    'convert_weights',
)


@MODELS.register_module(name='MMDET_VHEAT')
def mmdet_vheat(img_size: int | Sequence[int] = 224, **kwargs) -> vHeat:
    """Build :class:`vHeat` from the keywords of official detection configs.

    Args:
        img_size (int | Sequence[int]): See :class:`vHeat`. Defaults to 224.
        kwargs: ``dims, depths, post_norm, layer_scale, drop_path_rate,
            out_indices, use_checkpoint, pretrained, in_chans, mlp_ratio``.
            Keywords without effect on the official backbone have none here
            either; a warning lists them.

    Returns:
        vHeat: The backbone.

    Raises:
        TypeError: If a keyword is unknown; the nearest one is named.
        ValueError: If a keyword has a value that vHeat does not support.
    """
    return _build('MMDET_VHEAT', img_size=img_size, **kwargs)


@MODELS.register_module(name='MMSEG_VHEAT')
def mmseg_vheat(img_size: int | Sequence[int] = 512, **kwargs) -> vHeat:
    """Build :class:`vHeat` from the keywords of official segmentation configs.

    Args:
        img_size (int | Sequence[int]): See :class:`vHeat`. Defaults to 512.
        kwargs: As of :func:`mmdet_vheat`.

    Returns:
        vHeat: The backbone.

    Raises:
        TypeError: If a keyword is unknown; the nearest one is named.
        ValueError: If a keyword has a value that vHeat does not support.
    """
    return _build('MMSEG_VHEAT', img_size=img_size, **kwargs)


def _build(
    name: str,
    *,
    img_size: int | Sequence[int],
    in_chans: int = 3,
    depths: Sequence[int] = (2, 2, 9, 2),
    dims: int | Sequence[int] = (96, 192, 384, 768),
    drop_path_rate: float = 0.1,
    post_norm: bool = True,
    layer_scale: float | None = None,
    mlp_ratio: float = 4.0,
    use_checkpoint: bool = False,
    out_indices: Sequence[int] = (0, 1, 2, 3),
    pretrained: str | None = None,
    patch_size: int = 4,
    **others,
) -> vHeat:
    for key in others:
        if key not in _WITHOUT_EFFECT:
            near = difflib.get_close_matches(key, _USED + _WITHOUT_EFFECT, n=1)
            hint = f'; did you mean {near[0]!r}?' if near else ''
            raise TypeError(
                f'{name} got an unexpected keyword argument {key!r}{hint}'
            )
    if others:
        print_log(
            f'{name} ignores {", ".join(others)}: no effect on the official '
            'backbone either',
            logger='current',
            level=logging.WARNING,
        )
    if patch_size != 4:
        raise ValueError(
            f'{name} supports patch_size=4 only, but got {patch_size}'
        )
    return vHeat(
        arch=dict(
            embed_dims=dims,
            depths=depths,
            post_norm=post_norm,
            layer_scale=layer_scale,
        ),
        img_size=img_size,
        in_channels=in_chans,
        mlp_ratio=mlp_ratio,
        drop_path_rate=drop_path_rate,
        out_indices=out_indices,
        with_cp=use_checkpoint,
        init_cfg=pretrained and dict(type='Pretrained', checkpoint=pretrained),
    )
