"""Under which conditions a model is tested, and the tests' configs."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os.path as osp
from typing import NamedTuple

from mmengine.config import Config, ConfigDict

from mmvheat.commands.config import innermost_dataset, type_name
from mmvheat.errors import UserError
from mmvheat.ops.versions import get_autocast_dtype

from .transforms import BENCHMARK, CORRUPTIONS, FILTERS, SEVERITIES

CLEAN = ('clean', 0)


class Condition(NamedTuple):
    """A test: what is done to the images, how strongly, and its configs."""

    name: str
    severity: float
    loader: ConfigDict
    evaluator: ConfigDict | list

    @property
    def key(self) -> str:
        """A name for files."""
        return f'{self.name}_{self.severity:g}'


def list_conditions(
    cfg: Config,
    data: Config,
    data_root: str | None = None,
    corruptions: list[str] | None = None,
    severities: list[float] | None = None,
) -> list[Condition]:
    """List every test that a model is put to.

    Args:
        cfg (Config): Config of the model.
        data (Config): A file of ``configs/robustness/datasets``.
        data_root (str, optional): Instead of the one in ``data``.
        corruptions (list[str], optional): Names or groups of them. Defaults
            to the 15 of the published means.
        severities (list[float], optional): From 1 to 5, or radii of filters.
            Defaults to all.

    Returns:
        list[Condition]: The clean images first.

    Raises:
        UserError: Data and model, or the options, do not fit.
    """
    _check_library(cfg, data)
    own = Condition(*CLEAN, cfg.test_dataloader, cfg.test_evaluator)
    if 'dataset' in data:
        given = _use_dataset(own, data, data_root)
    elif data_root:
        raise UserError(
            '--data-root goes with data sets of images of its own, but '
            f'{data.filename} takes the test images of the config; change '
            'them by --cfg-options test_dataloader.dataset.data_root=...'
        )
    if data.conditions == 'clean':
        return [given]
    names, severities = _choose(data, corruptions, severities)
    conditions = [own]
    for name in names:
        for severity in severities:
            if data.conditions == 'folders':
                item = copy.deepcopy(given)
                root = innermost_dataset(item.loader.dataset)
                root.data_root = osp.join(root.data_root, name, str(severity))
            else:
                item = copy.deepcopy(own)
                _insert(item.loader, cfg.default_scope, name, severity)
            conditions.append(item._replace(name=name, severity=severity))
    return conditions


def fingerprint(cfg: Config, condition: Condition, weights: str) -> str:
    """Hash all that decides on the result of a test.

    Args:
        cfg (Config): Config of the model.
        condition (Condition): The test.
        weights (str): Hash of the checkpoint.
    """
    parts = [
        *(cfg.model, cfg.get('data_preprocessor'), cfg.test_cfg, weights),
        *(condition.loader.dataset, condition.evaluator),
    ]
    if cfg.test_cfg.get('fp16'):  # mmengine's word for any half precision
        parts.append(get_autocast_dtype('cuda'))
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_library(cfg: Config, data: Config) -> None:
    library = data.get('library', cfg.default_scope)
    if library != cfg.default_scope:
        raise UserError(
            f'{osp.basename(data.filename)} tests models of {library}, but '
            f'{cfg.filename} is one of {cfg.default_scope}; choose other '
            '--data.'
        )


def _use_dataset(
    own: Condition, data: Config, data_root: str | None
) -> Condition:
    """Replace images and metric of a test by those of a data set."""
    item = copy.deepcopy(own)
    pipeline = list(innermost_dataset(item.loader.dataset).pipeline)
    extra = data.get('after_loading', [])
    pipeline[1:1] = extra
    item.loader.dataset = ConfigDict(
        {'pipeline': pipeline, **copy.deepcopy(data.dataset)}
    )
    if data_root:
        item.loader.dataset.data_root = data_root
    return item._replace(evaluator=copy.deepcopy(data.evaluator))


def _choose(
    data: Config, corruptions: list | None, severities: list | None
) -> tuple[tuple, tuple]:
    """Resolve groups and defaults of the command line."""
    if data.conditions == 'filters':
        groups, known, radii = dict(benchmark=FILTERS), FILTERS, data.radii
        wrong = [r for r in severities or () if not 0 < r < math.inf]
        if wrong:
            raise UserError(
                f'--severities {" ".join(f"{r:g}" for r in wrong)} is no '
                'radius of a filter; give cycles per image, above 0.'
            )
    else:
        known = (*BENCHMARK, *CORRUPTIONS['extra'])
        groups = dict(CORRUPTIONS, benchmark=BENCHMARK, all=known)
        wrong = [s for s in severities or () if s not in SEVERITIES]
        if wrong:
            raise UserError(
                f'--severities {" ".join(f"{s:g}" for s in wrong)} is not '
                'among 1, 2, 3, 4, 5.'
            )
        severities = [int(s) for s in severities or ()]
        radii = SEVERITIES
    names = []
    for name in corruptions or ['benchmark']:
        if name not in groups and name not in known:
            raise UserError(
                f'--corruptions {name} is not known; expected are the groups '
                f'{", ".join(groups)} or of {", ".join(known)}.'
            )
        names += groups.get(name, (name,))
    return tuple(dict.fromkeys(names)), tuple(
        dict.fromkeys(severities or radii)
    )


def _insert(
    loader: ConfigDict, library: str, name: str, severity: float
) -> None:
    """Put the change of the image into a pipeline.

    Classifiers get it at the size that the network sees, as in ImageNet-C;
    detectors and segmentors at the size of the file, as in COCO-C.
    """
    if name in FILTERS:
        step = dict(type='FilterFrequencies', kind=name, radius=severity)
    else:
        step = dict(type='CorruptImage', corruption=name, severity=severity)
    pipeline = innermost_dataset(loader.dataset).pipeline
    names = [type_name(item) for item in pipeline]
    if library == 'mmpretrain':
        places = [i for i, n in enumerate(names) if n.startswith('Pack')]
    else:
        places = [
            i + 1 for i, n in enumerate(names) if n.startswith('LoadImage')
        ]
    if not places:
        raise UserError(
            'The test pipeline has no LoadImage... or no Pack... step, beside '
            'which images are corrupted; give a config with a plain pipeline.'
        )
    pipeline.insert(places[0], ConfigDict(step))
