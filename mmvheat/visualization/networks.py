"""From a config and a checkpoint to a network that can be looked into."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import TRANSFORMS, DefaultScope
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from mmvheat.checkpoint import check_complete
from mmvheat.models import ImageRestorer, vHeat, vHeatIR

from .layers import PictureError

NONE = 'none'
"""Given for a checkpoint: random weights, as before a training."""

_LOADERS = ('LoadImage', 'LoadAnnotations', 'LoadPanopticAnnotations')


@dataclass
class Sample:
    """An image made ready for a network.

    Attributes:
        picture (np.ndarray): What the network sees, resized and padded as
            the config says, RGB uint8 of shape (H, W, 3).
        inputs (Tensor): The same normalised, shape (1, channels, H, W).
        data_samples (list): One data sample of the network's library.
    """

    picture: np.ndarray
    inputs: Tensor
    data_samples: list


@dataclass
class Network:
    """A classifier, detector or segmentor in evaluation mode.

    Attributes:
        model (nn.Module): The model, with its ``backbone``.
        cfg (Config): The config it was built from.
        classes (tuple[str]): Names of the classes, empty if unknown.
        backbone_name (str): What the model calls its backbone.
    """

    model: nn.Module
    cfg: Config
    classes: tuple[str, ...] = ()
    backbone_name: ClassVar[str] = 'backbone'

    @property
    def library(self) -> str:
        """str: ``'mmdet'``, ``'mmseg'``, ``'mmpretrain'`` or, of a restorer,
        ``'mmengine'``.
        """
        return self.cfg.default_scope

    @property
    def backbone(self) -> nn.Module:
        """nn.Module: The backbone."""
        return getattr(self.model, self.backbone_name)

    @property
    def device(self) -> torch.device:
        """torch.device: Where the network is."""
        return next(self.model.parameters()).device

    def prepare(self, image: str | np.ndarray) -> Sample:
        """Run an image through the test pipeline of the config.

        Args:
            image (str | np.ndarray): A file, or RGB uint8 of shape (H, W, 3).

        Returns:
            Sample: The image as the network sees it.

        Raises:
            PictureError: If the file is no readable image.
        """
        import mmcv

        from mmvheat.commands.config import innermost_dataset, type_name

        settings = innermost_dataset(self.cfg.test_dataloader.dataset)
        steps, flag = [], 'color'
        with DefaultScope.overwrite_default_scope(self.library):
            for step in settings.pipeline:
                if not type_name(step).startswith(_LOADERS):
                    steps.append(TRANSFORMS.build(step))
                flag = step.get('color_type', flag)
        pixels = image
        if isinstance(image, str):
            pixels = read_image(image)
        pixels = np.ascontiguousarray(pixels[..., ::-1])
        if flag == 'grayscale':
            pixels = mmcv.bgr2gray(pixels)
        data: Any = dict(
            img=pixels,
            img_path=image if isinstance(image, str) else None,
            img_id=0,
            img_shape=pixels.shape[:2],
            ori_shape=pixels.shape[:2],
        )
        for step in steps:
            data = step(data)
        batch = dict(
            inputs=[data['inputs']], data_samples=[data['data_samples']]
        )
        batch = self.model.data_preprocessor(batch, False)
        shown = data['inputs'].numpy().transpose(1, 2, 0)[..., ::-1]
        if shown.shape[-1] == 1:
            shown = shown.repeat(3, -1)
        picture = np.zeros((*batch['inputs'].shape[-2:], 3), np.uint8)
        picture[: shown.shape[0], : shown.shape[1]] = shown
        return Sample(picture, batch['inputs'], batch['data_samples'])

    def normalize(self, picture: np.ndarray) -> Tensor:
        """Normalise a picture of any size, RGB uint8 (H, W, 3), unresized.

        Returns:
            Tensor: Shape (1, C, H, W), gray where the network is, padded
            where it pads.
        """
        import mmcv

        pixels = np.ascontiguousarray(picture[..., ::-1])
        modules = self.backbone.modules()
        first = next((m for m in modules if isinstance(m, nn.Conv2d)), None)
        if first is not None and first.in_channels == 1:
            pixels = mmcv.bgr2gray(pixels, keepdim=True)
        pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        batch = dict(inputs=[torch.from_numpy(pixels)])
        return self.model.data_preprocessor(batch, False)['inputs']

    def predict(self, sample: Sample) -> Any:
        """Predict; returns the data sample with the predictions."""
        options = dict(rescale=False) if self.library == 'mmdet' else {}
        (result,) = self.model.predict(
            sample.inputs, sample.data_samples, **options
        )
        return result


def load_network(
    config: str,
    checkpoint: str = NONE,
    *,
    device: str = 'cpu',
    options: Mapping | None = None,
    whole: bool = False,
) -> Network:
    """Build the model of a config and load its weights.

    Args:
        config (str): A config file, or one of an installed library,
            ``'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'``.
        checkpoint (str): File or URL of the weights. Defaults to 'none',
            random weights.
        device (str): Where the network goes. Defaults to 'cpu'.
        options (Mapping, optional): Settings to change, keys with dots.
            Defaults to None.
        whole (bool): Whether predictions are wanted, so that the checkpoint
            must have the heads, too. Defaults to False.

    Returns:
        Network: In evaluation mode; a segmentor predicts whole images. Of
        an ``ImageRestorer`` it is a :class:`.restoration.Restorer`.

    Raises:
        UserError: If the config cannot be read.
        PictureError: If the model has no backbone, or the checkpoint has
            other weights than it.
        CheckpointError: If the checkpoint cannot be read, or lacks weights of
            a ``whole`` model.
    """
    from mmvheat.commands.config import build_model

    from .restoration import Restorer

    cfg = _read_config(config, options)
    _forget_pretrained(cfg.model)
    if (cfg.model.get('test_cfg') or {}).get('mode') == 'slide':
        cfg.model.test_cfg = dict(mode='whole')  # a map shows all of an image
    model = build_model(cfg)
    kind = Restorer if isinstance(model, ImageRestorer) else Network
    if not hasattr(model, kind.backbone_name):
        raise PictureError(
            f'The {type(model).__name__} of {config} has no backbone; give a '
            'config of mmdet, mmseg, mmpretrain or a restorer.'
        )
    classes = ()
    if checkpoint == NONE:
        torch.manual_seed(0)
        logger = MMLogger.get_current_instance()
        level = logger.level
        logger.setLevel(logging.WARNING)  # a line for each parameter
        model.init_weights()
        logger.setLevel(level)
    else:
        content = load_checkpoint(model, checkpoint, map_location='cpu')
        _check_backbone(content, model, kind.backbone_name, config, checkpoint)
        if whole:
            check_complete(model, content, checkpoint)
        classes = _read_names(content)
    network = kind(model.eval().to(device), cfg, classes)
    network.classes = network.classes or _read_classes(cfg)
    return network


def find_vheat(network: Network, config: str) -> vHeat | vHeatIR:
    """Get what conducts heat in a network.

    Raises:
        PictureError: If there is none.
    """
    for module in network.model.modules():
        is_restorer = isinstance(module, vHeatIR) and module.mixer == 'heat'
        if isinstance(module, vHeat) or is_restorer:
            return module
    raise PictureError(
        f"{config} has no type='vHeat' but a "
        f'{type(network.backbone).__name__}, of which no heat can be drawn; '
        'vis_erf.py, vis_features.py and, where classes are predicted, '
        'vis_cam.py work with it.'
    )


def read_image(path: str) -> np.ndarray:
    """Read an image file as RGB uint8 (H, W, 3).

    Raises:
        PictureError: If it is no readable image.
    """
    import mmcv

    try:
        image = mmcv.imread(path, channel_order='rgb')
    except Exception:
        image = None
    if image is None:
        raise PictureError(
            f'{path} cannot be read as an image; give a file such as JPEG or '
            'PNG.'
        )
    return image


def _read_config(path: str, options: Mapping | None) -> Config:
    from mmvheat.commands.config import load_config

    if '::' in path:
        import mmengine.hub

        try:
            path = mmengine.hub.get_config(path).filename
        except Exception as error:  # of a library that is not there, too
            raise PictureError(
                f'{path} is no config of an installed library: '
                f'{" ".join(str(error).split())}'
            ) from error
    cfg = load_config(path, dict(options or {}))
    if 'model' not in cfg:
        raise PictureError(f'{path} defines no model.')
    return cfg


def _forget_pretrained(node: Any) -> None:
    """Take out of a config what would load weights at initialisation."""
    if isinstance(node, dict):
        init = node.get('init_cfg')
        if isinstance(init, dict) and init.get('type') == 'Pretrained':
            node['init_cfg'] = None
        if isinstance(node.get('pretrained'), str):
            node['pretrained'] = None
    children = node.values() if isinstance(node, dict) else node
    for child in children:
        if isinstance(child, (dict, list, tuple)):
            _forget_pretrained(child)


def _check_backbone(
    content: dict,
    model: nn.Module,
    backbone_name: str,
    config: str,
    checkpoint: str,
) -> None:
    """Check that a checkpoint has all of a backbone but its output norms."""
    weights = content.get('state_dict', content)
    found = {re.sub(r'^module\.', '', k): v for k, v in weights.items()}
    own = model.state_dict()
    needed = [
        name
        for name in own
        if name.startswith(f'{backbone_name}.')
        and not name.startswith('backbone.outnorm')
        and not name.endswith('num_batches_tracked')
    ]
    missing = [
        name
        for name in needed
        if name not in found
        # A vHeat adapts what has other sizes, a restorer does not.
        or (
            isinstance(model, ImageRestorer)
            and own[name].shape != found[name].shape
        )
    ]
    if missing:
        raise PictureError(
            f'{checkpoint} does not fit {config}: it lacks {len(missing)} of '
            f'the {len(needed)} weights of the {backbone_name}, such as '
            f'{missing[0]}, or has them in another size.'
        )


def _read_names(content: dict) -> tuple[str, ...]:
    """Read the names of the classes beside the weights."""
    meta = content.get('meta') or {}
    names = (meta.get('dataset_meta') or {}).get('classes') or ()
    return tuple(map(str, names))


def _read_classes(cfg: Config) -> tuple[str, ...]:
    from mmvheat.commands.config import read_metainfo

    try:
        return tuple(read_metainfo(cfg).get('classes') or ())
    except Exception:  # names only; the data may be elsewhere
        return ()
