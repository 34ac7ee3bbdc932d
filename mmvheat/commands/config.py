"""Read a config and apply the options of the command line to it."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import os
import os.path as osp
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
from mmvheat.ops.versions import set_autocast_dtype

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


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config file, merge ``options`` and register its task library.

    ``options`` are those of ``--cfg-options``, by keys with dots.

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
    """Train in mixed precision, ``'bf16'``, or ``'fp16'`` on a GPU."""
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
    """Test in mixed precision, ``'bf16'``, or ``'fp16'`` on a GPU."""
    _check_dtype(dtype)
    cfg.test_cfg.fp16 = True  # so mmengine calls autocast of any dtype
    set_autocast_dtype(
        'cuda', torch.bfloat16 if dtype == 'bf16' else torch.float16
    )


def _check_dtype(dtype: str) -> None:
    if dtype == 'fp16' and not torch.cuda.is_available():
        raise UserError(
            '--amp fp16 needs a GPU and none is visible; use --amp bf16, '
            'which also runs on CPU.'
        )


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
