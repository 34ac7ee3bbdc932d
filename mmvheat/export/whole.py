"""From a config and a checkpoint to one file."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config

from mmvheat.deploy import DeployError, list_images, prepare, read_image
from mmvheat.errors import UserError

from .models import (
    build_backbone,
    build_model,
    choose_size,
    describe,
    list_training_images,
)
from .programs import Backbone, build_program
from .write import export

CALIBRATION_IMAGES = 100
_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')


def check_packages() -> None:
    """Check that what exports is installed.

    Raises:
        UserError: It is not.
    """
    missing = [p for p in _PACKAGES if not importlib.util.find_spec(p)]
    if missing:
        raise UserError(
            f'The export needs {", ".join(missing)}; run pip install '
            f'{" ".join(missing)}.'
        )


def check_precision(format: str, backbone: bool = False) -> None:
    """Check that what is exported may have another precision.

    Raises:
        UserError: It may not.
    """
    if format != 'onnx':
        raise UserError(
            f'--fp16 and --int8 are for --format onnx, not {format}; leave '
            'them out.'
        )
    if backbone:
        raise UserError(
            '--fp16 and --int8 are for whole models; leave out --backbone.'
        )


def _check_size(size: Sequence[int] | None) -> None:
    if size and min(size) < 32:
        raise UserError(
            f'--size expects at least 32 pixels, but got {min(size)}.'
        )


def export_backbone(
    config: str,
    checkpoint: str,
    target: str | Path,
    *,
    img_size: int | None = None,
    size: tuple[int, int] | None = None,
    **options,
) -> float:
    """Export a backbone.

    Args:
        config (str): As of :func:`build_backbone`, like the next.
        checkpoint (str): The checkpoint.
        target (str | Path): The file.
        img_size (int, optional): As of :func:`build_backbone`.
        size (tuple[int, int], optional): Height and width of the images.
            Defaults to None, that of the frequency grid.
        **options: ``format``, ``dynamic`` and ``batch`` of :func:`export`.

    Returns:
        float: The largest difference from the backbone.
    """
    _check_size(size)
    backbone = build_backbone(config, checkpoint, img_size)
    size = tuple(size or backbone.img_size)
    return export(Backbone(backbone), target, size=size, **options)


def export_model(
    config: str,
    checkpoint: str,
    target: str | Path,
    *,
    fp16: bool = False,
    int8: bool = False,
    calibrate: str | None = None,
    paste_masks: bool = False,
    size: tuple[int, int] | None = None,
    **options,
) -> float:
    """Export a whole model.

    Args:
        config (str): As of :func:`build_model`, like the next.
        checkpoint (str): The checkpoint.
        target (str | Path): The file.
        fp16 (bool): In half precision. Defaults to False.
        int8 (bool): Quantise. Defaults to False.
        calibrate (str, optional): Images to quantise by. Defaults to None,
            training images of the config.
        paste_masks (bool): Give masks of the size of the image, not of the
            boxes. Defaults to False.
        size (tuple[int, int], optional): Height and width of the images.
            Defaults to None, by the test pipeline.
        **options: ``format``, ``dynamic`` and ``batch`` of :func:`export`.

    Returns:
        float: The largest difference from the model.
    """
    _check_size(size)
    kind = options.get('format', 'onnx')
    if fp16 or int8:
        check_precision(kind)
    model, cfg = build_model(config, checkpoint)
    program = build_program(model, fp16, paste_masks)
    if kind != 'onnx' and program.task == 'detection':
        raise UserError(
            'The operators nms and roi_align of mmcv in '
            f'{type(model).__name__} have a form in ONNX alone; use '
            f'--format onnx, or --backbone with {kind}.'
        )
    meta = describe(program, cfg)
    size = tuple(size or choose_size(model, cfg, meta))
    count = CALIBRATION_IMAGES if int8 else 1  # to compare, one will do
    try:
        images = read_images(cfg, {**meta, 'size': size}, count, calibrate)
    except (DeployError, UserError) as error:
        if int8:
            raise UserError(str(error)) from error
        images = []
    return export(
        program,
        target,
        size=size,
        meta=meta,
        calibration=images if int8 else None,
        sample=images[0] if images else None,
        **options,
    )


def read_images(
    cfg: Config, meta: dict, count: int, folder: str | None = None
) -> list[np.ndarray]:
    """Read images as a program gets them, (1, H, W, 3)."""
    if folder:
        paths = list_images(folder)[:count]
    else:
        paths = list_training_images(cfg, count)
    images = [prepare(read_image(path), meta)[0] for path in paths]
    return [_fit(image, meta['size'])[None] for image in images]


def _fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut the first window of what is larger, repeat what is smaller."""
    image = image[: size[0], : size[1]]
    rows, columns = (-(-s // n) for s, n in zip(size, image.shape))
    return np.tile(image, (rows, columns, 1))[: size[0], : size[1]]
