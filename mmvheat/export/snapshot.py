"""Models as folders such as the Hugging Face Hub holds.

``config.json`` describes the model, ``model.safetensors`` has its weights and
``README.md`` is a card; ``huggingface_hub.upload_folder`` uploads them as they
are. Reading needs no network, and a stranger's folder runs no code, see
``trust``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import import_modules_from_strings
from torch import nn

from mmvheat.checkpoint import CheckpointError, read_file
from mmvheat.checkpoint.writer import replace_file
from mmvheat.commands.config import register_task_library
from mmvheat.errors import UserError
from mmvheat.models import vHeat
from mmvheat.version import __version__

from .record import shorten
from .trust import TYPES, choose_trusted, drop_initial

CONFIG, WEIGHTS, CARD = 'config.json', 'model.safetensors', 'README.md'
_PIPELINE_TAGS = dict(
    features='image-feature-extraction',
    classification='image-classification',
    segmentation='image-segmentation',
    detection='object-detection',
    restoration='image-to-image',
)
TASKS = dict(
    mmpretrain='classification',
    mmseg='segmentation',
    mmdet='detection',
    mmengine='restoration',
)
# Of a run, not of the model.
_LEFT_OUT = ('work_dir', 'load_from', 'resume', 'launcher')
# Under which scope the types of a package are found.
_PREFIXES = dict(
    mmdet='mmdet.',
    mmseg='mmseg.',
    mmpretrain='mmpretrain.',
    mmcv='mmengine.',
    mmvheat='',
)
_TUPLE = '__tuple__'
_MAX_NESTING = 100


def write_snapshot(
    model: nn.Module, folder: str | os.PathLike, force: bool = False
) -> None:
    """Write a model as a folder that others can read.

    Args:
        model (nn.Module): From ``build_model`` or ``build_backbone``, or any
            other whose config is its attribute ``cfg``.
        folder (str | os.PathLike): The folder to make or fill. A card that
            is there stays.
        force (bool): Replace the snapshot in it. Defaults to False.

    Raises:
        UserError: There is a snapshot, the config holds something other than
            plain values, or the folder cannot be written.
    """
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise UserError(
            'A snapshot needs safetensors; run pip install safetensors.'
        ) from error
    folder = Path(folder)
    if not force and any((folder / n).exists() for n in (CONFIG, WEIGHTS)):
        raise UserError(
            f'{folder} has a snapshot; choose another folder or replace it '
            'by --force (force=True).'
        )
    content = _describe(model, model.cfg)
    # Shared and strided tensors have no form in such a file.
    weights = {
        name: value.detach().cpu().clone().contiguous()
        for name, value in model.state_dict().items()
    }
    files = {
        # An old description must not stand beside new weights.
        WEIGHTS: save(weights, metadata=dict(format='pt')),
        CONFIG: (json.dumps(content, indent=2) + '\n').encode(),
    }
    if not (folder / CARD).exists():
        files[CARD] = _write_card(model, content, folder).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).unlink(missing_ok=True)
        for name, data in files.items():
            with replace_file(folder / name) as partial:
                partial.write_bytes(data)
    except OSError as error:
        raise UserError(
            f'The snapshot {folder} cannot be written: '
            f'{error.strerror or error}.'
        ) from error


def load_snapshot(
    folder: str | os.PathLike, trust_remote_code: bool = False
) -> nn.Module:
    """Build the model of a folder, with its weights.

    Args:
        folder (str | os.PathLike): From :func:`write_snapshot`, or what
            ``huggingface_hub.snapshot_download`` returns.
        trust_remote_code (bool): Import the ``custom_imports`` of its config
            and build whatever it names, which can run any code. Defaults to
            False: types of our configs alone, nothing is imported.

    Returns:
        nn.Module: The model, for evaluation. ``dataset_meta`` names the
        classes; by ``cfg`` mmdet's and mmseg's inference functions take it:
        the model and the test pipeline, all of the config if it is trusted.

    Raises:
        UserError: The folder is no snapshot, its config asks for what is not
            trusted, or the weights are not those of the model.
        CheckpointError: The weights cannot be read.
    """
    folder = Path(folder)
    source = folder / CONFIG
    content = _read_config(source)
    config = ConfigDict(content['config'])
    if trust_remote_code:
        modules = config.get('custom_imports') or dict(imports=[])
        import_modules_from_strings(**modules)
    else:
        config = choose_trusted(config, source)
    cfg = Config(config)
    if cfg.get('default_scope') != 'mmengine':
        register_task_library(cfg)
    try:
        init_default_scope(cfg.default_scope)
        model = MODELS.build(cfg.model).eval()
    except Exception as error:  # it may hold anything
        raise UserError(
            f'{source} describes no model that can be built here '
            f'({type(error).__name__}: {shorten(error)}); it was written by '
            f'mmvheat {content.get("mmvheat_version")}, this is '
            f'{__version__}.'
        ) from error
    _load_weights(model, folder / WEIGHTS)
    model.cfg = model._config = cfg
    model.dataset_meta = model._dataset_meta = {
        key: content[key]
        for key in ('classes', 'palette')
        if content.get(key) is not None
    }
    return model


def _describe(model: nn.Module, cfg: Config) -> dict[str, Any]:
    """Describe a model and its config in plain values."""
    config = {k: v for k, v in cfg.to_dict().items() if k not in _LEFT_OUT}
    config['model'] = drop_initial(config['model'])
    config.setdefault('default_scope', 'mmengine')
    task = TASKS[config['default_scope']]
    meta = getattr(model, 'dataset_meta', {})
    found = dict(
        library_name='mmvheat',
        mmvheat_version=__version__,
        task='features' if isinstance(model, vHeat) else task,
        classes=_encode(meta.get('classes'), 'classes', plain=True),
        palette=_encode(meta.get('palette'), 'palette', plain=True),
    )
    if task == 'classification':
        found.update(
            _describe_for_timm(model, config['model'], found['classes'])
        )
    return dict(found, config=_encode(config, 'config'))


def _describe_for_timm(
    model: nn.Module, settings: dict[str, Any], classes: list[str] | None
) -> dict[str, Any]:
    """Describe a classifier to ``timm.create_model('local-dir:FOLDER')``.

    Others than those of ``mmvheat.timm`` are not described.
    """
    backbone, data = settings['backbone'], model.data_preprocessor
    parts = [settings.get(key) for key in ('backbone', 'neck', 'head')]
    types = [
        _shorten_type(str(part.get('type'))).removeprefix('mmpretrain.')
        for part in parts
        if isinstance(part, dict)  # a neck may be a list of several
    ]
    is_known = (
        types == ['vHeat', 'GlobalAveragePooling', 'LinearClsHead']
        and data.to_rgb
        and hasattr(data, 'mean')
    )
    if not is_known:
        return {}
    arch = backbone.get('arch', 'tiny')
    names = ('arch', 'img_size', 'mlp_ratio', 'propagator', 'k')
    arguments = {key: backbone[key] for key in names if key in backbone}
    mean, std = (
        (getattr(data, key).flatten() / 255).tolist()
        for key in ('mean', 'std')
    )
    return dict(
        architecture=f'vheat_{arch if isinstance(arch, str) else "tiny"}',
        num_classes=model.head.num_classes,
        label_names=classes,
        model_args=_encode(arguments, 'model_args', plain=True),
        pretrained_cfg=dict(
            input_size=[3, *model.backbone.img_size],
            mean=mean,
            std=std,
            first_conv='patch_embed.conv1',
            classifier='head.fc',
        ),
    )


def _write_card(
    model: nn.Module, content: dict[str, Any], folder: Path
) -> str:
    """Write the stub of a model card."""
    tag = _PIPELINE_TAGS[content['task']]
    lines = ['---', 'library_name: mmvheat', f'pipeline_tag: {tag}']
    lines += ['tags:', '- vheat', '---', '', f'# {folder.resolve().name}', '']
    paper = 'https://arxiv.org/abs/2405.16555'
    lines += [f'A {type(model).__name__} of [vHeat]({paper}).', '']
    classes = content['classes'] or []
    if classes:
        more = ', ...' * (len(classes) > 20)
        lines += [f'Classes: {", ".join(map(str, classes[:20]))}{more}', '']
    lines += ['```python', 'from huggingface_hub import snapshot_download']
    lines += ['from mmvheat.export import load_snapshot', '']
    lines += ["model = load_snapshot(snapshot_download('USER/NAME'))", '```']
    return '\n'.join(lines) + '\n'


def _encode(value: Any, name: str, plain: bool = False) -> Any:
    """Turn values of a config into those of JSON, which has no tuples."""
    if isinstance(value, Mapping):
        return {
            str(key): _encode(item, f'{name}.{key}', plain)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        items = [_encode(item, name, plain) for item in value]
        return {_TUPLE: items} if type(value) is tuple and not plain else items
    if isinstance(value, str) and name.endswith('.type'):
        return _shorten_type(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise UserError(
        f'{name} is a {type(value).__name__}, for which JSON has no form; '
        'write it with numbers, strings, lists and dicts.'
    )


def _shorten_type(path: str) -> str:
    """Shorten the path of a known type: only names are trusted.

    Configs in pure Python have paths alone.
    """
    library, name = path.partition('.')[0], path.rpartition('.')[2]
    if name not in TYPES or library not in _PREFIXES:
        return path
    return _PREFIXES[library] + name


def _decode(value: Any, depth: int = 0) -> Any:
    if depth > _MAX_NESTING:
        raise ValueError('nested too deeply')
    if isinstance(value, dict):
        items = {k: _decode(item, depth + 1) for k, item in value.items()}
        if set(items) == {_TUPLE} and isinstance(items[_TUPLE], list):
            return tuple(items[_TUPLE])
        return items
    if isinstance(value, list):
        return [_decode(item, depth + 1) for item in value]
    return value


def _read_config(path: Path) -> dict[str, Any]:
    """Read ``config.json`` of a snapshot."""
    try:
        content = _decode(json.loads(path.read_text(encoding='utf-8')))
    except OSError as error:
        raise UserError(
            f'{path} cannot be read ({error.strerror}); give a folder that '
            'has config.json and model.safetensors.'
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f'{path} is no complete JSON file ({shorten(error)}); copy or '
            'download it again.'
        ) from error
    config = content.get('config') if isinstance(content, dict) else None
    if not isinstance(config, dict) or not isinstance(
        config.get('model'), dict
    ):
        raise UserError(
            f'{path} is not one that mmvheat wrote: it has no config.model; '
            'write the folder by tools/deployment/snapshot.py.'
        )
    return content


def _load_weights(model: nn.Module, path: Path) -> None:
    """Load all weights of a model; others must not be there."""
    content = read_file(path)
    if not isinstance(content, dict) or 'state_dict' not in content:
        raise CheckpointError(f'{path} holds no weights')
    try:
        found = model.load_state_dict(content['state_dict'], strict=False)
    except RuntimeError as error:
        raise UserError(
            f'{path} does not fit the model of {CONFIG}: {shorten(error)}'
        ) from error
    for names, what in (
        (found.missing_keys, 'lacks'),
        (found.unexpected_keys, 'has, beside the model,'),
    ):
        if names:
            raise UserError(
                f'{path} {what} {len(names)} tensors, such as {names[0]}; '
                f'it does not belong to {CONFIG}, so download both again.'
            )
