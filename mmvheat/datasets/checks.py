"""Find faults in the data and paths of a config before it costs time."""

from __future__ import annotations

import json
import os
import os.path as osp
from collections.abc import Iterator

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset

from mmvheat.errors import UserError

from .restoration_checks import check_photographs

_SAMPLES = 2000
_FILES = 16


def check_paths(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check every local path that splits of a run will open.

    Those of ``'train'``, ``'val'``, ``'test'`` that the config leaves out are
    skipped.

    Raises:
        UserError: A path does not exist.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        for dataset in base_datasets(loader.dataset):
            _check_dataset_paths(dataset, f'{split}_dataloader')
        evaluators = cfg.get(f'{split}_evaluator') or []
        if isinstance(evaluators, dict):
            evaluators = [evaluators]
        for evaluator in evaluators:
            _check_exists(
                evaluator.get('ann_file'), f'{split}_evaluator.ann_file'
            )
    if cfg.get('load_from'):
        _check_exists(cfg.load_from, 'checkpoint')
    if 'train' not in splits:
        return  # a test fills the model by its checkpoint alone
    for init_cfg in _find(cfg.get('model', {}), 'init_cfg'):
        for entry in init_cfg if isinstance(init_cfg, list) else [init_cfg]:
            if entry and entry.get('type') == 'Pretrained':
                _check_exists(entry.checkpoint, 'pre-trained checkpoint')


def check_dataset(dataset: object, cfg: Config) -> None:
    """Check that annotations and model fit, on a built data set.

    Looks at up to 2,000 evenly spaced samples and opens 16 of their files.

    Raises:
        UserError: The data set is empty; files are missing; classes,
            labels or masks do not fit the model.
    """
    for base in base_datasets(dataset):
        if not isinstance(base, BaseDataset):
            continue
        _check_classes(base, cfg)
        if len(base) == 0:
            raise UserError(
                f'No usable image is left of {_source(base)}; check its '
                'images, its annotations and filter_cfg.'
            )
        infos = [
            base.get_data_info(int(i))
            for i in _spread(len(base), min(len(base), _SAMPLES))
        ]
        if 'dataset_name' in infos[0]:
            check_photographs(base, infos, cfg)
            continue
        _check_files(infos)
        _check_masks(base, infos)
        _check_labels(infos, cfg)
        _check_label_maps(base, infos, cfg)


def _check_exists(path: str | None, what: str) -> None:
    if path and '://' not in path and not osp.exists(osp.expanduser(path)):
        raise UserError(
            f'The {what} {path} does not exist (working directory: '
            f'{os.getcwd()}); correct the path.'
        )


def _check_end(path: str) -> None:
    """Check that a JSON file has its end, without reading the rest."""
    if not path.endswith('.json') or '://' in path:
        return
    with open(path, 'rb') as file:
        file.seek(max(0, osp.getsize(path) - 64))
        end = file.read().rstrip()
    if not end.endswith((b'}', b']')):
        raise UserError(
            f'The annotations {path} are truncated (they end in '
            f'{end[-12:].decode(errors="replace")!r}); copy or download them '
            'again.'
        )


def base_datasets(dataset: object) -> Iterator[object]:
    """Yield the data sets inside wrappers, or their configs."""
    if hasattr(dataset, 'datasets'):
        for inner in dataset.datasets:
            yield from base_datasets(inner)
    elif hasattr(dataset, 'dataset'):
        yield from base_datasets(dataset.dataset)
    else:
        yield dataset


def _check_dataset_paths(dataset: dict, where: str) -> None:
    root = dataset.get('data_root') or ''
    _check_exists(root, f'data_root of {where}')
    if dataset.get('ann_file'):
        path = osp.join(root, dataset['ann_file'])
        _check_exists(path, f'ann_file of {where}')
        _check_end(path)
    prefix = dataset.get('data_prefix') or {}
    prefixes = prefix.items() if isinstance(prefix, dict) else [('', prefix)]
    for name, folder in prefixes:
        if folder:
            _check_exists(
                osp.join(root, folder),
                f'data_prefix {name}'.strip() + f' of {where}',
            )


def _find(node: object, key: str) -> Iterator[object]:
    """Yield every value stored under ``key`` in nested dicts and lists."""
    if isinstance(node, dict):
        if key in node:
            yield node[key]
        for name, child in node.items():
            # That of HTC learns other labels, of stuff.
            if name != 'semantic_head':
                yield from _find(child, key)
    elif isinstance(node, (list, tuple)):
        for child in node:
            yield from _find(child, key)


def _num_classes(cfg: Config) -> int | None:
    """The classes of the model; None where its heads disagree on purpose."""
    values = {v for v in _find(cfg.model, 'num_classes') if v is not None}
    return values.pop() if len(values) == 1 else None


def _source(dataset: BaseDataset) -> str:
    """Where a data set reads from, for a message."""
    prefix = dataset.data_prefix
    folders = prefix.values() if isinstance(prefix, dict) else [prefix]
    return dataset.ann_file or ', '.join(str(f) for f in folders)


def _spread(length: int, count: int) -> np.ndarray:
    """``count`` evenly spaced indices of ``range(length)``."""
    return np.unique(np.linspace(0, length - 1, count).astype(int))


def _check_classes(dataset: BaseDataset, cfg: Config) -> None:
    classes = dataset.metainfo.get('classes')
    if classes is None:
        return
    # Panoptic data has classes of stuff besides.
    things = dataset.metainfo.get('thing_classes', classes)
    # mmpretrain encodes labels in the preprocessor, beside the model.
    parts = [cfg.model, cfg.get('data_preprocessor')]
    for key in ('num_classes', 'num_things_classes'):
        wrong = {v for v in _find(parts, key) if v} - {len(things)}
        if wrong:
            raise UserError(
                f'The model has {key}={min(wrong)}, but the data '
                f'set {_source(dataset)} has {len(things)} classes '
                f'({_shorten(things)}); set {key}={len(things)} in '
                'every head (and data_preprocessor, for classification) or '
                'metainfo=dict(classes=...) in the data set.'
            )
    found = getattr(dataset, 'cat_ids', None)
    if found is not None and len(found) != len(classes):
        with open(dataset.ann_file) as file:
            names = [c['name'] for c in json.load(file)['categories']]
        absent = [name for name in classes if name not in names]
        raise UserError(
            f'{dataset.ann_file} has the categories '
            f'{_shorten(names)} and lacks {_shorten(absent)}; set '
            'metainfo=dict(classes=...) of the data set to the names in '
            'the file, and num_classes to their number.'
        )


def _shorten(names: list | tuple) -> str:
    shown = ', '.join(str(name) for name in names[:5])
    return shown + (', ...' if len(names) > 5 else '')


def _check_files(infos: list[dict]) -> None:
    for index in _spread(len(infos), _FILES):
        for key in ('img_path', 'seg_map_path'):
            path = infos[index].get(key)
            if path and '://' not in path and not osp.isfile(path):
                raise UserError(
                    f'The annotations name {path}, which does not '
                    'exist; check data_root and data_prefix.'
                )


def _check_masks(dataset: BaseDataset, infos: list[dict]) -> None:
    transforms = getattr(dataset.pipeline, 'transforms', [])
    if not any(getattr(t, 'with_mask', False) for t in transforms):
        return
    instances = [i for info in infos for i in info.get('instances', [])]
    without = sum('mask' not in instance for instance in instances)
    if without:
        raise UserError(
            f'The model learns masks, but {without} of '
            f'{len(instances)} objects of {_source(dataset)} have no '
            "'segmentation'; use annotations with masks or a detector "
            'without a mask head.'
        )


def _check_labels(infos: list[dict], cfg: Config) -> None:
    """Image labels (classification) must be below ``num_classes``."""
    num_classes = _num_classes(cfg)
    labels = [i['gt_label'] for i in infos if 'gt_label' in i]
    if num_classes is None or not labels:
        return
    highest = int(np.max(np.concatenate([np.ravel(v) for v in labels])))
    if highest >= num_classes:
        raise UserError(
            f'The labels reach {highest}, but the model has '
            f'num_classes={num_classes} (labels 0 to {num_classes - 1}); '
            'set num_classes of the head.'
        )


def _check_label_maps(
    dataset: BaseDataset, infos: list[dict], cfg: Config
) -> None:
    """Label maps (segmentation) must stay below ``num_classes``."""
    num_classes = _num_classes(cfg)
    is_seg_map = hasattr(dataset, 'reduce_zero_label')
    if num_classes is None or not is_seg_map or dataset.label_map:
        return
    from mmcv import imread

    for index in _spread(len(infos), _FILES):
        path = infos[index].get('seg_map_path')
        if not path or '://' in path:
            continue
        if unreadable_file([path]):
            raise UserError(
                f'The label map {path} cannot be read (empty or damaged); '
                'repair it or remove it together with its image.'
            )
        labels = imread(path, flag='unchanged', backend='pillow').astype(int)
        if dataset.reduce_zero_label:
            labels = np.where(labels == 0, 255, labels - 1)
        kept = labels[(labels != dataset.ignore_index) & (labels != 254)]
        if kept.size and kept.max() >= num_classes:
            raise UserError(
                f'The label map {path} holds class {kept.max()} '
                f'(reduce_zero_label={dataset.reduce_zero_label}), but the '
                f'model has num_classes={num_classes}; correct num_classes '
                'or reduce_zero_label.'
            )


def unreadable_file(paths: list[str]) -> str | None:
    """The first of ``paths`` that is no readable image, or None."""
    from mmcv import imread

    for path in paths:
        try:
            if imread(path, flag='unchanged') is None:
                return path
        except Exception:
            return path
    return None
