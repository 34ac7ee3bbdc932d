"""Models as folders such as the Hugging Face Hub holds.

``config.json`` describes the model, ``model.safetensors`` has its weights and
``README.md`` is a card; ``huggingface_hub.upload_folder`` uploads them as they
are. Reading needs no network, and a stranger's folder runs no code: libraries
of OpenMMLab import what a ``type`` names, evaluate ``nms.type`` and unpickle
the file that ``class_weight`` names, so that only the types of our own configs
and words without dots or slashes reach them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import import_modules_from_strings
from torch import nn

from mmvheat.checkpoint import CheckpointError, read_file
from mmvheat.checkpoint.writer import replace_file
from mmvheat.engine.config import innermost_dataset, register_task_library
from mmvheat.engine.errors import UserError
from mmvheat.models import vHeat
from mmvheat.version import __version__

CONFIG, WEIGHTS, CARD = 'config.json', 'model.safetensors', 'README.md'
_PIPELINE_TAGS = dict(
    features='image-feature-extraction',
    classification='image-classification',
    segmentation='image-segmentation',
    detection='object-detection',
    restoration='image-to-image',
)
_TASKS = dict(
    mmpretrain='classification',
    mmseg='segmentation',
    mmdet='detection',
    mmengine='restoration',
)
# Of a run, not of the model.
_LEFT_OUT = ('work_dir', 'load_from', 'resume', 'launcher')
_INITIAL = ('init_cfg', 'pretrained')  # the weights are in the folder
_TUPLE = '__tuple__'
_WORD = re.compile(r'[\w-]*')
_SCOPES = ('mmdet', 'mmseg', 'mmpretrain', 'mmengine', 'mmvheat')
TYPES = frozenset(
    """
    AddGaussianNoise AnchorGenerator BBoxL1Cost BN BatchFixedSizePad
    CascadeRCNN CascadeRoIHead CenterCrop ChannelMapper ClassificationCost
    ClsDataPreprocessor CrossEntropyLoss CrossEntropyLossCost CutMix DINO
    DINOHead DampedWavePropagator DeltaXYWHBBoxCoder DetDataPreprocessor
    DiceCost DiceLoss EncoderDecoder FCNHead FCNMaskHead FPN FPNHead
    FasterRCNN FocalLoss FocalLossCost FractionalHeatPropagator GELU
    GIoULoss GN GlobalAveragePooling HeatPropagator HungarianAssigner
    ImageClassifier ImageRestorer IoUCost L1Loss LN LabelSmoothLoss
    LinearClsHead LoadAnnotations LoadImageFromFile LoadPhotograph
    MMDET_VHEAT MMSEG_VHEAT MSDeformAttnPixelDecoder Mask2Former
    Mask2FormerHead MaskFormerFusionHead MaskPseudoSampler MaskRCNN
    MaxIoUAssigner Mixup PackDetInputs PackInputs PackRestoration
    PackSegInputs PseudoSampler RPNHead RandomSampler ReLU Resize
    ResizeEdge RetinaHead RetinaNet RoIAlign SegDataPreProcessor
    SegformerHead Shared2FCBBoxHead SingleRoIExtractor SmoothL1Loss
    StandardRoIHead SwinTransformer SyncBN TailPropagator UPerHead nms
    soft_nms vHeat vHeatIR
    """.split()  # noqa: SIM905
)
"""The types that a snapshot may name: those of this package's configs."""


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
    from safetensors.torch import save

    folder = Path(folder)
    if not force and any((folder / n).exists() for n in (CONFIG, WEIGHTS)):
        raise UserError(
            f'{folder} has a snapshot; choose another folder or pass --force.'
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
    config = ConfigDict(_decode(content['config']))
    if trust_remote_code:
        modules = config.get('custom_imports') or dict(imports=[])
        import_modules_from_strings(**modules)
    else:
        config = _choose_trusted(config, source)
    cfg = Config(config)
    if cfg.get('default_scope') != 'mmengine':
        register_task_library(cfg)
    try:
        init_default_scope(cfg.default_scope)
        model = MODELS.build(cfg.model).eval()
    except Exception as error:  # it may hold anything
        raise UserError(
            f'{source} describes no model that can be built here '
            f'({type(error).__name__}: {_shorten(error)}); it was written by '
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
    config['model'] = _drop_initial(config['model'])
    config.setdefault('default_scope', 'mmengine')
    task = _TASKS[config['default_scope']]
    meta = getattr(model, 'dataset_meta', {})
    found = dict(
        library_name='mmvheat',
        mmvheat_version=__version__,
        task='features' if isinstance(model, vHeat) else task,
        classes=_encode(meta.get('classes'), 'classes', plain=True),
        palette=_encode(meta.get('palette'), 'palette', plain=True),
    )
    if task == 'classification':
        found.update(_describe_for_timm(model, config['model']))
    return dict(found, config=_encode(config, 'config'))


def _describe_for_timm(model: nn.Module, settings: dict) -> dict[str, Any]:
    """Describe a classifier to ``timm.create_model('local-dir:FOLDER')``."""
    backbone = settings['backbone']
    kinds = backbone['type'], settings['head']['type']
    if kinds != ('vHeat', 'LinearClsHead'):
        return {}
    arch, data = backbone.get('arch', 'tiny'), model.data_preprocessor
    names = ('arch', 'img_size', 'mlp_ratio', 'propagator', 'k')
    arguments = {key: backbone[key] for key in names if key in backbone}
    mean, std = (
        (getattr(data, key).flatten() / 255).tolist()
        for key in ('mean', 'std')
    )
    return dict(
        architecture=f'vheat_{arch if isinstance(arch, str) else "tiny"}',
        num_classes=model.head.num_classes,
        label_names=model.dataset_meta.get('classes'),
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
    classes = content['classes'] or []
    named = ', '.join(map(str, classes[:20])) + ', ...' * (len(classes) > 20)
    return (
        f'---\nlibrary_name: mmvheat\npipeline_tag: {tag}\ntags:\n- vheat\n'
        f'---\n\n# {folder.resolve().name}\n\n'
        f'A {type(model).__name__} of [vHeat]'
        '(https://arxiv.org/abs/2405.16555).\n'
        f'{f"{chr(10)}Classes: {named}{chr(10)}" if named else ""}\n'
        '```python\nfrom huggingface_hub import snapshot_download\n'
        'from mmvheat.export import load_snapshot\n\n'
        "model = load_snapshot(snapshot_download('USER/NAME'))\n```\n"
    )


def _drop_initial(value: Any) -> Any:
    """Drop what says where initial weights come from."""
    if isinstance(value, Mapping):
        return {
            key: _drop_initial(item)
            for key, item in value.items()
            if key not in _INITIAL
        }
    if isinstance(value, (list, tuple)):
        return type(value)(map(_drop_initial, value))
    return value


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
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise UserError(
        f'{name} is a {type(value).__name__}, for which JSON has no form; '
        'write it with numbers, strings, lists and dicts.'
    )


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {_TUPLE} and isinstance(value[_TUPLE], list):
            return tuple(map(_decode, value[_TUPLE]))
        return {key: _decode(item) for key, item in value.items()}
    return [_decode(item) for item in value] if type(value) is list else value


def _read_config(path: Path) -> dict[str, Any]:
    """Read ``config.json`` of a snapshot."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise UserError(
            f'{path} cannot be read ({error.strerror}); give a folder that '
            'has config.json and model.safetensors.'
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f'{path} is no complete JSON ({_shorten(error)}); copy or '
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


def _choose_trusted(cfg: ConfigDict, source: Path) -> dict[str, Any]:
    """Choose what predictions need of a config, and check it."""
    scope = cfg.get('default_scope')
    if scope not in _TASKS:
        raise _refusal(source, 'default_scope', scope)
    chosen = dict(default_scope=scope, model=_drop_initial(cfg.model))
    try:
        pipeline = innermost_dataset(cfg.test_dataloader.dataset).pipeline
    except (AttributeError, TypeError):
        pipeline = []
    _check(chosen, source)
    _check(pipeline, source)
    chosen['test_pipeline'] = pipeline
    chosen['test_dataloader'] = dict(dataset=dict(pipeline=pipeline))
    return chosen


def _check(value: Any, source: Path, key: str = '') -> None:
    """Refuse what libraries could take for code or for a file."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            _check(item, source, name)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, source, key)
    elif key == 'type':
        scope, _, name = str(value).rpartition('.')
        if name not in TYPES or scope not in ('', *_SCOPES):
            raise _refusal(source, key, value)
    elif isinstance(value, str):
        known = (
            value in _SCOPES if key == '_scope_' else _WORD.fullmatch(value)
        )
        if not known or key == 'class_weight':
            raise _refusal(source, key, value)


def _refusal(source: Path, key: str, value: Any) -> UserError:
    return UserError(
        f'{source} is refused because of {key}={str(value)[:80]!r}, which no '
        'config of mmvheat has and which could run code; nothing of it was '
        'executed. If you trust its author, load it with '
        'trust_remote_code=True.'
    )


def _load_weights(model: nn.Module, path: Path) -> None:
    """Load all weights of a model; others must not be there."""
    content = read_file(path)
    if not isinstance(content, dict) or 'state_dict' not in content:
        raise CheckpointError(f'{path} holds no weights')
    try:
        found = model.load_state_dict(content['state_dict'], strict=False)
    except RuntimeError as error:
        raise UserError(
            f'{path} does not fit the model of {CONFIG}: {_shorten(error)}'
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


def _shorten(error: Exception) -> str:
    return ' '.join(str(error).split())[:200]
