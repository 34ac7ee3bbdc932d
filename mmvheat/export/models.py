"""Models from configs and checkpoints, and what their data looks like."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import nn

from mmvheat.checkpoint import load_pretrained, read_file
from mmvheat.commands import config as configs
from mmvheat.commands.config import innermost_dataset, load_config, type_name
from mmvheat.errors import UserError
from mmvheat.models import vHeat
from mmvheat.version import __version__

from .programs import Program
from .record import shorten

NO_WEIGHTS = 'none'
_PASSED = ('LoadImageFromFile', 'LoadAnnotations')


def build_model(config: str, checkpoint: str) -> tuple[nn.Module, Config]:
    """Build a whole model with the weights of a checkpoint.

    Args:
        config (str): Config file.
        checkpoint (str): Checkpoint of the whole model, ``'none'`` for
            random weights.

    Returns:
        tuple[nn.Module, Config]: The model, for evaluation, and its config,
        which is ``model.cfg`` too; ``model.dataset_meta`` names the classes.

    Raises:
        UserError: The config builds no model, or the checkpoint is not all
            of its weights.
        CheckpointError: The checkpoint cannot be read.
    """
    cfg = load_config(config)
    init_default_scope(cfg.default_scope)
    if not cfg.get('model'):
        raise UserError(f'{config} has no model to export.')
    if cfg.model.get('backbone'):  # a restorer has none
        cfg.model.backbone.init_cfg = None
    model = configs.build_model(cfg)
    model.dataset_meta = meta = configs.read_metainfo(cfg)
    if meta.get('classes') and meta.get('palette'):
        # A data set with classes of its own keeps the colours of COCO's.
        meta['palette'] = meta['palette'][: len(meta['classes'])]
    if checkpoint != NO_WEIGHTS:
        content = read_file(checkpoint)
        weights = content.get('state_dict', content)
        try:
            missing = model.load_state_dict(weights, strict=False).missing_keys
        except RuntimeError as error:  # wrong shapes
            raise UserError(
                f'{checkpoint} does not fit {config}: {shorten(error)}'
            ) from error
        if missing:
            raise UserError(
                f'{checkpoint} has no weights for {len(missing)} of the '
                f'tensors of {config}, such as {missing[0]}; give the '
                'checkpoint of the whole model.'
            )
        own = content.get('meta', {}).get('dataset_meta') or {}
        model.dataset_meta.update(own)
    model.cfg = cfg
    return model.eval(), cfg


def build_backbone(
    model: str, checkpoint: str = NO_WEIGHTS, img_size: int | None = None
) -> vHeat:
    """Build a backbone for evaluation.

    Args:
        model (str): Config file or name of an arch.
        checkpoint (str): Checkpoint of the model or of its backbone, of any
            layout. Defaults to ``'none'``, random weights.
        img_size (int, optional): Image size in pixels whose frequency grid
            the embeddings get. Defaults to None, that of the config.

    Returns:
        vHeat: The backbone; its config is ``backbone.cfg``.

    Raises:
        UserError: If there is no such model or its backbone is another one.
        CheckpointError: If the checkpoint does not fit.
    """
    if model in vHeat.arch_settings:
        cfg = dict(type='vHeat', arch=model)
    elif model.endswith('.py'):
        cfg = load_config(model).get('model', {}).get('backbone')
        if not cfg:
            raise UserError(f'{model} has no model.backbone to export.')
    else:
        raise UserError(
            f'{model} is neither a .py config nor one of the archs '
            f'{", ".join(vHeat.arch_settings)}.'
        )
    cfg = {**cfg, 'init_cfg': None}
    if img_size is not None:
        cfg['img_size'] = img_size
    try:
        backbone = MODELS.build(cfg)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f'The backbone of {model} cannot be built: {shorten(error)}'
        ) from error
    if not isinstance(backbone, vHeat):
        raise UserError(
            f'The backbone of {model} is a {type(backbone).__name__}, but a '
            'vHeat is expected.'
        )
    if checkpoint != NO_WEIGHTS:
        load_pretrained(backbone, checkpoint, mode=backbone.freq_embed_resize)
    backbone.cfg = Config(dict(model=cfg))
    return backbone.eval().requires_grad_(False)


def describe(program: Program, cfg: Config) -> dict[str, Any]:
    """Describe what the runtime must know beside the program.

    Args:
        program (Program): The program.
        cfg (Config): The config of its model.

    Returns:
        dict: Plain values: classes, palette, thresholds, and how the test
        pipeline resizes and crops images.

    Raises:
        UserError: The test pipeline has a step that the runtime has not.
    """
    meta = dict(version=__version__, task=program.task)
    meta['input'] = 'uint8 RGB (B, H, W, 3)'
    for key in ('classes', 'palette'):
        value = program.model.dataset_meta.get(key)
        meta[key] = value and [
            name if isinstance(name, str) else list(name) for name in value
        ]
    meta.update(_read_steps(cfg))
    # What is padded must be next to nothing behind the normalisation.
    pad = program.image_mean.flatten().round().int().tolist()
    meta['pad_value'] = pad if program.is_rgb else pad[::-1]
    model, task = program.model, program.task
    if task == 'segmentation':
        head = model.decode_head
        meta['threshold'] = head.threshold
        meta['align_corners'] = head.align_corners
        test = model.test_cfg
        if test.get('mode') == 'slide':
            meta['window'] = [list(test.crop_size), list(test.stride)]
    if task == 'detection':
        test = model.test_cfg.get('rcnn', model.test_cfg)
        meta['score_threshold'] = test.get('score_thr', 0)
        meta['mask_threshold'] = test.get('mask_thr_binary', 0.5)
    return meta


def choose_size(
    model: nn.Module, cfg: Config, meta: dict[str, Any]
) -> tuple[int, int]:
    """Choose the height and width of the images of a program of one size."""
    if meta.get('crop'):
        return tuple(meta['crop'])
    if meta.get('window'):
        return tuple(meta['window'][0])
    size = getattr(model.backbone, 'img_size', (224, 224))
    resize = meta.get('resize')
    if resize and resize['by'] in ('exact', 'within'):
        size = resize['size'][::-1]
    if resize and resize['by'] == 'within' and meta['task'] == 'segmentation':
        size = model.data_preprocessor.size or model.backbone.img_size
    divisor = getattr(model.data_preprocessor, 'pad_size_divisor', 1) or 1
    return tuple(side + -side % divisor for side in size)


def list_training_images(cfg: Config, count: int) -> list[str]:
    """List files of training images, spread evenly over the data set.

    Raises:
        UserError: The config has no training data, or it is not there.
    """
    try:
        settings = innermost_dataset(cfg.train_dataloader.dataset).copy()
        settings.update(pipeline=[])
        dataset = DATASETS.build(settings)
    except (AttributeError, FileNotFoundError) as error:
        raise UserError(
            'The training images to calibrate with were not found '
            f'({shorten(error)}); give a folder of images with '
            '--calibrate.'
        ) from error
    step = max(1, len(dataset) // count)
    chosen = range(0, len(dataset), step)[:count]
    return [dataset.get_data_info(i)['img_path'] for i in chosen]


def _read_steps(cfg: Config) -> dict[str, Any]:
    """Read how the test pipeline resizes and crops."""
    found = {}
    for step in innermost_dataset(cfg.test_dataloader.dataset).pipeline:
        kind = type_name(step)
        if kind in _PASSED or kind.startswith('Pack'):
            continue
        if kind == 'CenterCrop' and not found.get('crop'):
            size = step.crop_size
            found['crop'] = [size] * 2 if isinstance(size, int) else list(size)
        elif kind in ('Resize', 'ResizeEdge') and not found:
            size = step.get('scale')
            by = 'within' if step.get('keep_ratio') else 'exact'
            if kind == 'ResizeEdge':
                by = step.get('edge', 'short')
            if size is None or by not in ('within', 'exact', 'short', 'long'):
                raise _unknown(dict(step))
            found['resize'] = dict(
                by=by,
                size=[size] * 2 if isinstance(size, int) else list(size),
                kernel=step.get('interpolation', 'bilinear'),
                smooth=step.get('backend', 'cv2') == 'pillow',
            )
            if found['resize']['kernel'] not in ('bilinear', 'bicubic'):
                raise _unknown(dict(step))
        else:
            raise _unknown(dict(step))
    return found


def _unknown(step: dict) -> UserError:
    return UserError(
        f'The test pipeline has {step}, which the runtime cannot repeat; it '
        'knows Resize, ResizeEdge and CenterCrop, in this order, each once.'
    )
