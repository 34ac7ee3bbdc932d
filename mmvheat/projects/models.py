"""Which config of the zoo a project inherits."""

from __future__ import annotations

import importlib.util
import os.path as osp
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict

from mmvheat.errors import UserError
from mmvheat.zoo import ROOT, Model, list_models

# By task: folders of configs whose number of classes stands in plain dicts.
_FOLDERS = dict(
    detection=('faster_rcnn', 'retinanet', 'dino'),
    instances=('mask_rcnn',),
    segmentation=('upernet', 'segformer', 'sem_fpn'),
    classification=('classification',),
)
_DEFAULTS = dict(
    detection='faster-rcnn_vheat-t',
    instances='mask-rcnn_vheat-t',
    segmentation='upernet_vheat-t',
    classification='vheat-t',
)
_LIBRARIES = dict(
    detection=('mmdet', 'det'),
    instances=('mmdet', 'det'),
    segmentation=('mmseg', 'seg'),
    classification=('mmpretrain', 'cls'),
)


@dataclass
class Base:
    """A config to inherit."""

    name: str  # for ``_base_``, 'mmvheat::...'
    model: Model  # its entry in the metafile
    task: str  # what it learns
    cfg: Config
    weights: str  # a local file, or ''
    url: str  # where the weights come from

    @property
    def short(self) -> str:
        """Algorithm and backbone, ``mask-rcnn_vheat-t``."""
        return _shorten(self.model.name)

    @property
    def size(self) -> str:
        """The size of the backbone: t, s or b."""
        return self.short[-1]


def choose_base(
    task: str, wanted: str | None, weights: str | None, near: str = '.'
) -> Base:
    """Find the config to inherit.

    Args:
        task (str): Of the data.
        wanted (str, optional): The beginning of a config's name. The
            shortest name that has it is taken.
        weights (str, optional): A checkpoint to start from; 'none' for none.
            By default one of the published name is looked for.
        near (str): The project, where weights may lie too. Defaults to '.'.

    Raises:
        UserError: No such config, or one of another task.
    """
    wanted = wanted or _DEFAULTS[task]
    library, extra = _LIBRARIES[task]
    if importlib.util.find_spec(library) is None:
        raise UserError(
            f'A project for {task} needs {library}, which is not installed; '
            f"run pip install 'mmvheat[{extra}]'."
        )
    models = _supported()
    found = sorted(
        (pair for pair in models if pair[0].name.startswith(wanted)),
        key=lambda pair: (len(pair[0].name), pair[0].name),
    )
    if not found:
        names = sorted({_shorten(model.name) for model, _ in models})
        raise UserError(
            f'--model {wanted} is none of those that a project can be '
            f'written for: {", ".join(names)}.'
        )
    model, learns = found[0]
    boxes = {'detection', 'instances'}
    if learns != task and not {learns, task} <= boxes:
        names = sorted({_shorten(m.name) for m, t in models if t == task})
        raise UserError(
            f'--model {wanted} learns {learns}, but the data are for {task}; '
            f'leave --model out, or take one of {", ".join(names)}.'
        )
    name = f'mmvheat::{model.config}'
    cfg = Config.fromfile(str(ROOT / 'configs' / model.config))
    url = model.weights or cfg.get('checkpoint') or ''
    file = _find_weights(url, weights, near)
    return Base(name, model, learns, cfg, file, url)


def _supported() -> list[tuple[Model, str]]:
    by_folder = {f: task for task, fs in _FOLDERS.items() for f in fs}
    return [
        (model, by_folder[model.config.split('/')[0]])
        for model in list_models()
        if model.config.split('/')[0] in by_folder
    ]


def _shorten(name: str) -> str:
    """A config's name as far as that of the backbone."""
    return re.match(r'.*?(vheat|swin)-\w', name)[0]


def _find_weights(url: str, wanted: str | None, near: str) -> str:
    """A local file of weights, as an absolute path, or ''.

    Raises:
        UserError: The file that is wanted does not exist.
    """
    if wanted == 'none':
        return ''
    if wanted:
        if not osp.isfile(wanted):
            raise UserError(
                f'--weights {wanted} does not exist; give a checkpoint, or '
                'none to start from scratch.'
            )
        return osp.abspath(wanted)
    name = url.split('/')[-1]
    cache = Path(torch.hub.get_dir()) / 'checkpoints'
    folders = [cache, Path.home() / '.cache/mim']
    for place in (Path(near), Path()):
        folders += [place, place / 'checkpoints']
    for folder in folders:
        if name and (folder / name).is_file():
            return osp.abspath(folder / name)
    return ''


def fit_heads(model: ConfigDict, count: int) -> dict:
    """What to change in a model for another number of classes.

    One card has nothing to synchronise, so that SyncBN becomes BN, which
    runs on a CPU too.
    """
    changes = {}
    for key, value in model.items():
        if key == 'num_classes':
            changes[key] = count
        elif key == 'norm_cfg' and value and value.get('type') == 'SyncBN':
            changes[key] = dict(type='BN')
        elif isinstance(value, dict):
            inner = fit_heads(value, count)
            if inner:
                changes[key] = inner
    return changes
