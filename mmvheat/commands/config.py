"""Read a config and apply the options of the command line to it."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import os
import os.path as osp
from collections.abc import Sequence
from traceback import walk_tb
from typing import Any

import torch
import yaml
from mmengine.config import Config, ConfigDict
from mmengine.config.utils import ConfigParsingError
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, DefaultScope
from torch import nn

from mmvheat.errors import UserError

_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, KeyError, TypeError, AssertionError),
    *(ConfigParsingError, yaml.YAMLError),
)
# What reads a config. Whatever else fails meanwhile is code of its own.
_READERS = {'mmvheat', 'mmengine', 'ast', 'yaml', 'json', 'codecs'}
_IMPORTERS = {'mmengine', 'importlib'}
_LIBRARIES = dict(
    mmdet=('mmdet.utils', 'det'),
    mmseg=('mmseg.utils', 'seg'),
    mmpretrain=('mmpretrain.utils', 'cls'),
)
_TTA_MODELS = dict(
    mmdet=ConfigDict(
        type='InstanceTTAModel',
        tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
    ),
    mmpretrain=ConfigDict(type='AverageClsScoreTTA'),
)
_DETECTION_KEYS = (
    'img_id',
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
)
_TRACKERS = dict(
    tensorboard='TensorboardVisBackend',
    wandb='WandbVisBackend',
    mlflow='MLflowVisBackend',
)


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config file, merge ``options`` and register its task library.

    Args:
        path (str): The config file.
        options (dict, optional): ``--cfg-options``, keys with dots.

    Returns:
        Config: The config; ``cfg.default_scope`` is a registered library.

    Raises:
        UserError: The file is missing or unreadable, or its library is not
            known or not installed.
    """
    cfg = read_config(path)
    merge_options(cfg, options or {})
    register_task_library(cfg)
    return cfg


def read_config(path: str) -> Config:
    """Read a config file.

    Raises:
        UserError: The file is missing or unreadable.
    """
    if not osp.isfile(path):
        raise UserError(
            f'The config {path} does not exist; give the path of a .py '
            'config, for example one below configs/.'
        )
    try:
        return Config.fromfile(path)
    except ImportError as error:
        name = _name_absent_import(error)
        if name is None:
            raise  # by a module that is there
        raise UserError(
            f'The config {path} imports {name}, which is not found; install '
            'it, or add the folder that holds it to PYTHONPATH.'
        ) from error
    except _UNREADABLE as error:
        if not _list_modules(error) <= _READERS:
            raise  # by code of the config
        reason = ' '.join(str(error).split())
        raise UserError(
            f'The config {path} could not be read: '
            f'{type(error).__name__}: {reason}'
        ) from error


def _name_absent_import(error: ImportError) -> str | None:
    """Name the module that ``custom_imports`` asks for in vain.

    What such a module itself imports is not looked for: mmengine raises from
    where it imports, anything else from within the module.
    """
    while not isinstance(error, ModuleNotFoundError):
        error = error.__cause__ or error.__context__
        if error is None:
            return None
    modules = _list_modules(error)
    return error.name if modules <= _IMPORTERS else None


def _list_modules(error: Exception) -> set[str]:
    """List the top modules whose code an error came through."""
    frames = [frame.f_globals for frame, _ in walk_tb(error.__traceback__)]
    return {f.get('__name__', '').split('.')[0] for f in frames}


def merge_options(
    cfg: Config, options: dict, source: str = '--cfg-options'
) -> None:
    """Merge options, by keys with dots, from a source into a config.

    Raises:
        UserError: They do not fit the config.
    """
    try:
        # Merging takes ``_delete_`` out of what it is given.
        cfg.merge_from_dict(copy.deepcopy(options))
    except (KeyError, TypeError, AssertionError) as error:
        reason = ' '.join(str(error).split())
        raise UserError(
            f'{source} {options} does not fit {cfg.filename}: {reason}'
        ) from error


def register_task_library(cfg: Config) -> None:
    """Import the library named by ``cfg.default_scope`` and register it.

    Args:
        cfg (Config): A config of mmdet, mmseg or mmpretrain.

    Raises:
        UserError: The scope is another one, or the library is missing.
    """
    scope = cfg.get('default_scope')
    if scope == 'mmengine':
        return  # restoration needs no other
    if scope not in _LIBRARIES:
        raise UserError(
            f'The config sets default_scope={scope!r}, expected one of '
            f'{", ".join(_LIBRARIES)}; inherit from one of their '
            'default_runtime.py files.'
        )
    module, extra = _LIBRARIES[scope]
    if importlib.util.find_spec(scope) is None:
        raise UserError(
            f'The config needs {scope}, which is not installed; run '
            f"pip install 'mmvheat[{extra}]'."
        )
    importlib.import_module(module).register_all_modules(
        init_default_scope=False
    )


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    """Set ``cfg.work_dir``: option, else config, else ``work_dirs/NAME``."""
    name = osp.splitext(osp.basename(cfg.filename))[0]
    cfg.work_dir = (
        work_dir or cfg.get('work_dir') or osp.join('work_dirs', name)
    )
    make_folder(cfg.work_dir, '--work-dir')


def make_folder(path: str | os.PathLike, option: str) -> None:
    """Make the folder that an option names.

    Raises:
        UserError: It cannot be made or written to.
    """
    try:
        os.makedirs(path, exist_ok=True)
        reason = None if os.access(path, os.W_OK) else 'not writable'
    except OSError as error:
        reason = f'it cannot be made: {error.strerror}'
    if reason:
        raise UserError(
            f'The folder {path} cannot take results ({reason}); choose '
            f'another one with {option}.'
        )


def enable_amp(cfg: Config, dtype: str) -> None:
    """Train in mixed precision.

    Args:
        cfg (Config): The config to change.
        dtype (str): ``'bf16'`` (GPU or CPU) or ``'fp16'`` with a dynamic
            loss scale (GPU only).
    """
    _check_dtype(dtype)
    wrapper = cfg.optim_wrapper
    if dtype == 'bf16':
        wrapper.type = 'BFloat16OptimWrapper'
        wrapper.pop('loss_scale', None)
        wrapper.pop('dtype', None)
    else:
        wrapper.type = 'AmpOptimWrapper'
        wrapper.dtype = 'float16'
        wrapper.setdefault('loss_scale', 'dynamic')


def enable_test_amp(cfg: Config, dtype: str) -> None:
    """Test in mixed precision.

    Args:
        cfg (Config): The config to change.
        dtype (str): ``'bf16'`` (GPU or CPU) or ``'fp16'`` (GPU only).
    """
    _check_dtype(dtype)
    cfg.test_cfg.fp16 = True  # so mmengine calls autocast of any dtype
    torch.set_autocast_dtype(
        'cuda', torch.bfloat16 if dtype == 'bf16' else torch.float16
    )


def _check_dtype(dtype: str) -> None:
    if dtype == 'fp16' and not torch.cuda.is_available():
        raise UserError(
            '--amp fp16 needs a GPU and none is visible; use --amp bf16, '
            'which also runs on CPU.'
        )


def enable_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate with the batch size of this run."""
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise UserError(
            f'--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=N) '
            f'in {cfg.filename}; add it or set the lr by --cfg-options '
            'optim_wrapper.optimizer.lr=LR.'
        )
    cfg.auto_scale_lr.enable = True


def innermost_dataset(dataset: ConfigDict) -> ConfigDict:
    """Follow ``dataset.dataset`` through wrappers such as RepeatDataset."""
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset


def type_name(step: ConfigDict) -> str:
    """Get the name of what a step builds: its type may be a path or a class.

    Classes are those of configs in pure Python, ``read_base()``.
    """
    kind = step.type
    name = kind if isinstance(kind, str) else kind.__name__
    return name.rpartition('.')[2]


def read_metainfo(cfg: Config) -> dict[str, Any]:
    """Read classes and palette of the test data, without its files."""
    settings = ConfigDict(innermost_dataset(cfg.test_dataloader.dataset))
    settings.update(lazy_init=True, pipeline=[])
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return dict(DATASETS.build(settings).metainfo)


def build_model(cfg: Config) -> nn.Module:
    """Build the model of a config with random weights, without SyncBN.

    Raises:
        UserError: The settings of the model do not fit together.
    """
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        try:
            return revert_sync_batchnorm(MODELS.build(cfg.model))
        except (KeyError, TypeError, ValueError) as error:
            reason = ' '.join(str(error).split())
            raise UserError(
                f'The model of {cfg.filename} cannot be built: {reason}'
            ) from error


def enable_tta(cfg: Config) -> None:
    """Test with test-time augmentation.

    Restorers take the mean over the eight symmetries of the square.
    Detectors and classifiers whose config has none see each image and its
    mirror image. mmdet's ``DetTTAModel`` fails on masks, so that
    ``InstanceTTAModel`` takes its place for a detector with a mask head.

    Raises:
        UserError: The config, of a segmentor, has no ``tta_model`` or
            ``tta_pipeline``.
    """
    if cfg.default_scope == 'mmengine':
        cfg.model.self_ensemble = True
        return
    dataset = innermost_dataset(cfg.test_dataloader.dataset)
    if cfg.default_scope in _TTA_MODELS:
        if 'tta_model' not in cfg:
            cfg.tta_model = copy.deepcopy(_TTA_MODELS[cfg.default_scope])
        if 'tta_pipeline' not in cfg:
            cfg.tta_pipeline = _add_mirror_image(dataset.pipeline)
    missing = [k for k in ('tta_model', 'tta_pipeline') if k not in cfg]
    if missing:
        raise UserError(
            f'--tta needs {" and ".join(missing)} in {cfg.filename}, which '
            'has none; inherit from default_runtime.py of mmseg, or test '
            'without --tta.'
        )
    if cfg.tta_model.type == 'DetTTAModel' and _predicts_masks(cfg.model):
        cfg.tta_model.type = 'InstanceTTAModel'
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset.pipeline = cfg.tta_pipeline


def _add_mirror_image(pipeline: Sequence[ConfigDict]) -> list[ConfigDict]:
    """Let a test pipeline give an image and its mirror image."""
    *steps, pack = copy.deepcopy(list(pipeline))
    if pack.type == 'PackDetInputs':
        keys = pack.get('meta_keys', _DETECTION_KEYS)
        pack.meta_keys = (*keys, 'flip', 'flip_direction')
    flips = [ConfigDict(type='RandomFlip', prob=p) for p in (0.0, 1.0)]
    views = ConfigDict(type='TestTimeAug', transforms=[flips, [pack]])
    return [*steps, views]


def _predicts_masks(model: ConfigDict) -> bool:
    heads = [model, model.get('roi_head') or {}]
    return any(head.get('mask_head') for head in heads)


def add_trackers(cfg: Config, names: Sequence[str]) -> None:
    """Log scalars to ``names`` as well.

    Args:
        cfg (Config): The config to change.
        names (Sequence[str]): Of ``tensorboard``, ``wandb``, ``mlflow``.

    Raises:
        UserError: A tracker is not installed.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f'--track {name} needs the package {name}; run pip install '
                f'{name}.'
            )
        visualizer = cfg.setdefault('visualizer', dict(type='Visualizer'))
        backends = visualizer.setdefault(
            'vis_backends', [dict(type='LocalVisBackend')]
        )
        if _TRACKERS[name] not in {backend.type for backend in backends}:
            backends.append(ConfigDict(type=_TRACKERS[name]))


def enable_painting(cfg: Config, folder: str) -> None:
    """Paint the images of a test by the hook of the config's library.

    Args:
        cfg (Config): The config to change.
        folder (str): The folder to fill.

    Raises:
        UserError: The config is a restorer's.
    """
    if cfg.default_scope == 'mmengine':
        raise UserError(
            '--show-dir draws boxes, label maps and classes; restored images '
            'are drawn by tools/infer.py.'
        )
    folder = osp.abspath(folder)
    options = dict(
        mmdet=dict(
            type='DetVisualizationHook', draw=True, test_out_dir=folder
        ),
        mmseg=dict(type='SegVisualizationHook', draw=True, interval=1),
        mmpretrain=dict(
            type='VisualizationHook', enable=True, interval=1, out_dir=folder
        ),
    )
    cfg.setdefault('default_hooks', {})
    cfg.default_hooks.visualization = options[cfg.default_scope]
    if cfg.default_scope == 'mmseg':  # its visualizer chooses the folder
        cfg.visualizer.save_dir = folder
