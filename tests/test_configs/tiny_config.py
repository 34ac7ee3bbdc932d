"""Make a config of configs/ small enough for a training step on CPU.

Only the data set and sizes change: widths, the depths of the backbone, images,
crops, sets of proposals. Types, pipelines, heads, losses, optimizer and their
settings stay those of the file.
"""

from __future__ import annotations

import copy
import functools
import importlib
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmvheat.models import vHeat

ROOT = Path(__file__).parents[2]
ALL_CONFIGS = [
    path
    for path in sorted(ROOT.glob('configs/[!_]*/*.py'))
    if path.parent.name != 'comparisons'  # of configs, and none themselves
]
# Restorers have no backbone; tests/test_restoration trains them.
CONFIGS = [
    path
    for path in ALL_CONFIGS
    if not path.stem.startswith(('vheatir', 'swinir'))
]
NAMES = [path.relative_to(ROOT / 'configs').as_posix() for path in CONFIGS]

TINY_DIMS = [8, 16, 32, 64]
SHRINK = 8
WIDTH_KEYS = {
    *('channels', 'in_channels', 'out_channels', 'feat_channels'),
    *('fc_out_channels', 'conv_out_channels', 'feedforward_channels'),
    *('embed_dims', 'num_feats'),
}
SIZE_KEYS = {
    *(
        'crop_size',
        'img_size',
        'max_size',
        'scale',
        'scales',
        'size',
        'stride',
    ),
    *('max_per_img', 'nms_pre', 'num', 'num_points', 'num_queries'),
}


def load_config(path: Path) -> Config:
    """Read a config and register the library it belongs to."""
    cfg = copy.deepcopy(_read(path))
    if cfg.default_scope != 'mmengine':
        utils = importlib.import_module(f'{cfg.default_scope}.utils')
        utils.register_all_modules(init_default_scope=False)
    return cfg


@functools.cache
def _read(path: Path) -> Config:
    return Config.fromfile(path)


def get_dims(backbone: ConfigDict) -> list[int]:
    """Get the channels of the four stages of a vHeat or Swin config."""
    arch = backbone.get('arch')
    if backbone.type == 'vHeat':
        settings = vHeat.arch_settings[arch] if isinstance(arch, str) else arch
        dims = settings['embed_dims']
    else:
        dims = backbone.get('embed_dims')
        dims = dims or {'tiny': 96, 'small': 96, 'base': 128}[arch]
    return [dims * 2**i for i in range(4)] if isinstance(dims, int) else dims


def find_readers(model: ConfigDict) -> list[ConfigDict]:
    """Find the parts of a model that read the maps of its backbone."""
    if 'in_channels' in model.get('neck', {}):
        return [model.neck]
    names = ('decode_head', 'auxiliary_head', 'panoptic_head', 'head')
    return [model[name] for name in names if name in model]


def make_tiny(cfg: Config, data_root: Path) -> Config:
    """Shrink a config in place and point it to digit scenes.

    Args:
        cfg (Config): The config.
        data_root (Path): The digit scenes.

    Returns:
        Config: ``cfg``.
    """
    _shrink_backbone(cfg.model)
    if 'encoder' not in cfg.model:  # heads of DETRs have a width by default
        for key in cfg.model.keys() - {'backbone'}:
            _shrink_widths(cfg.model[key])
    for key, value in cfg.items():
        cfg[key] = _shrink_sizes(key, value)
    for split in ('train', 'val'):
        loader = cfg[f'{split}_dataloader']
        loader.batch_size = min(loader.batch_size, 2)
        loader.num_workers = 0
        loader.persistent_workers = False
        _use_digit_scenes(loader.dataset, data_root, split)
    if cfg.optim_wrapper.get('type') == 'AmpOptimWrapper':
        # float16 with a loss scale needs a GPU.
        cfg.optim_wrapper.type = 'OptimWrapper'
        cfg.optim_wrapper.pop('dtype', None)
        cfg.optim_wrapper.pop('loss_scale', None)
    return cfg


def _shrink_backbone(model: ConfigDict) -> None:
    backbone = model.backbone
    smaller = dict(zip(get_dims(backbone), TINY_DIMS))
    for reader in find_readers(model):
        channels = reader.in_channels
        if isinstance(channels, int):
            reader.in_channels = smaller[channels]
        else:
            reader.in_channels = [smaller[c] for c in channels]
    backbone.init_cfg = None
    swin = dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8])
    if backbone.type == 'vHeat':
        arch = backbone.arch
        settings = vHeat.arch_settings[arch] if isinstance(arch, str) else arch
        backbone.arch = dict(settings, embed_dims=8, depths=(1, 1, 1, 1))
    elif 'arch' in backbone:
        backbone.update(arch=swin, pad_small_map=True)
    else:
        backbone.update(swin)


def _shrink_widths(node: Any) -> None:
    """Divide the widths of heads and necks by SHRINK."""

    def divide(width: Any) -> Any:
        if isinstance(width, list):
            return [divide(w) for w in width]
        is_wide = isinstance(width, int) and width >= 128
        return width // SHRINK if is_wide else width

    if isinstance(node, dict):
        for key, value in node.items():
            if key in WIDTH_KEYS:
                node[key] = divide(value)
            else:
                _shrink_widths(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _shrink_widths(value)


def _shrink_sizes(key: str, value: Any, inside: bool = False) -> Any:
    """Divide the sizes below ``value`` by SHRINK, down to 32."""
    inside = inside or key in SIZE_KEYS
    if isinstance(value, dict):
        for name, child in value.items():
            value[name] = _shrink_sizes(name, child, inside)
    elif isinstance(value, (list, tuple)):
        return type(value)(_shrink_sizes('', v, inside) for v in value)
    elif inside and isinstance(value, int) and value >= 64:
        return max(value // SHRINK, 32)
    return value


def _use_digit_scenes(
    dataset: ConfigDict, data_root: Path, split: str
) -> None:
    dataset.data_root = str(data_root)
    if dataset.type == 'CocoDataset':
        dataset.ann_file = f'annotations/instances_{split}.json'
        dataset.data_prefix = dict(img=f'{split}/')
        dataset.metainfo = dict(classes=tuple('0123456789'))
    elif dataset.type in ('ImageNet', 'CustomDataset'):
        dataset.type = 'CustomDataset'
        dataset.data_root = str(data_root / 'classification')
        dataset.data_prefix = split
        dataset.pop('split', None)
    else:
        dataset.data_prefix = dict(
            img_path=split, seg_map_path=f'label_maps/{split}'
        )
        dataset.update(img_suffix='.jpg', seg_map_suffix='.png')
