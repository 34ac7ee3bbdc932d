"""What a model of any task sees in images, drawn by its own library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from torch import nn
from tqdm import tqdm

from mmvheat.checkpoint import check_complete

from .layers import PictureError
from .networks import load_network
from .restoration import draw_restoration
from .style import render

Predict = Callable[[str], tuple[np.ndarray, Any]]
"""From an image file to its picture, RGB, and what is predicted."""

_WHOLE_PIXELS = 2**20
"""More are restored in tiles: a narrow network needs 2.5 GB a million."""
_NO_MEMORY = ('out of memory', "can't allocate memory")


def make_predictor(
    cfg: Config,
    checkpoint: str,
    device: str = 'cpu',
    *,
    score_thr: float = 0.3,
    options: dict | None = None,
    is_degraded: bool = False,
) -> Predict:
    """Make a function that predicts and draws.

    Args:
        cfg (Config): The config.
        checkpoint (str): File or URL of the weights.
        device (str): Where the model goes. Defaults to 'cpu'.
        score_thr (float): Least score of a box or mask drawn. Defaults to
            0.3.
        options (dict, optional): Those that are merged into ``cfg`` already,
            which a restorer reads anew. Defaults to None.
        is_degraded (bool): Whether a restorer takes images as they are.
            Defaults to False.

    Returns:
        Predict: It returns the picture, and boxes, masks or classes as a
        dict, a label map (H, W) or a restored image (H, W, C), uint8; label
        maps of more than 256 classes are uint16.

    Raises:
        CheckpointError: The checkpoint cannot be read or does not fit.
        UserError: It does not fit a restorer.
    """
    from mmvheat.commands.config import read_metainfo

    if cfg.default_scope == 'mmengine':
        return _restore(cfg.filename, checkpoint, device, options, is_degraded)
    init_default_scope(cfg.default_scope)
    cfg.visualizer.vis_backends = []
    given = cfg, checkpoint, device, read_metainfo(cfg)
    if cfg.default_scope == 'mmdet':
        return _detect(*given, score_thr)
    return dict(mmseg=_segment, mmpretrain=_classify)[cfg.default_scope](
        *given
    )


def _detect(
    cfg: Config, checkpoint: str, device: str, meta: dict, score_thr: float
) -> Predict:
    """Let mmdet draw boxes and masks; predictions are what its JSON holds."""
    from mmdet.apis import DetInferencer

    inferencer = DetInferencer(cfg, checkpoint, device, show_progress=False)
    _check_weights(inferencer.model, checkpoint)
    inferencer.visualizer.dataset_meta = meta

    def predict(path: str) -> tuple[np.ndarray, dict]:
        result = inferencer(path, return_vis=True, pred_score_thr=score_thr)
        return result['visualization'][0], result['predictions'][0]

    return predict


def _segment(cfg: Config, checkpoint: str, device: str, meta: dict) -> Predict:
    """Let mmseg draw label maps."""
    from mmseg.apis import MMSegInferencer

    inferencer = MMSegInferencer(cfg, checkpoint, device=device)
    _check_weights(inferencer.model, checkpoint)
    inferencer.show_progress = False
    inferencer.model.dataset_meta = {
        key: meta[key] for key in ('classes', 'palette')
    }
    kind = np.uint8 if inferencer.model.num_classes <= 256 else np.uint16

    def predict(path: str) -> tuple[np.ndarray, np.ndarray]:
        result = inferencer(path, return_vis=True)
        return result['visualization'], result['predictions'].astype(kind)

    return predict


def _classify(
    cfg: Config, checkpoint: str, device: str, meta: dict
) -> Predict:
    """Let mmpretrain name the class; a small image is enlarged for it."""
    from mmpretrain import ImageClassificationInferencer
    from mmpretrain.visualization import UniversalVisualizer

    inferencer = ImageClassificationInferencer(cfg, checkpoint, device)
    _check_weights(inferencer.model, checkpoint)
    # Classes that are folder names stand in the checkpoint alone.
    inferencer.classes = inferencer.classes or meta.get('classes')
    visualizer = UniversalVisualizer()

    def predict(path: str) -> tuple[np.ndarray, dict]:
        # Called in one, it would show a progress bar for every image.
        (data,) = inferencer.preprocess([path])
        samples = inferencer.forward(data)
        image = mmcv.imread(path, channel_order='rgb')
        picture = visualizer.visualize_cls(
            image,
            samples[0],
            classes=inferencer.classes,
            rescale_factor=max(1.0, 224 / max(image.shape[:2])),
            draw_gt=False,
        )
        (prediction,) = inferencer.postprocess(samples, None)
        return picture, prediction

    return predict


def _check_weights(model: nn.Module, checkpoint: str) -> None:
    """Check what a library has loaded: it only logs what is missing."""
    content = CheckpointLoader.load_checkpoint(checkpoint, 'cpu', 'silent')
    check_complete(model, content, checkpoint)


def _restore(
    config: str,
    checkpoint: str,
    device: str,
    options: dict | None,
    is_degraded: bool,
) -> Predict:
    """Restore images, large ones in tiles."""
    network = load_network(config, checkpoint, device=device, options=options)
    model = network.model
    tile, overlap = model.tile, model.overlap

    def predict(path: str) -> tuple[np.ndarray, np.ndarray]:
        try:
            sample = network.prepare(path, is_degraded)
            model.tile, model.overlap = tile, overlap
            height, width = sample.inputs.shape[2:]
            if tile is None and height * width > _WHOLE_PIXELS:
                model.tile, model.overlap = 512, 64
                tqdm.write(f'{path}: {width}x{height}, in tiles of 512')
            restoration = network.restore(sample)
        except PictureError as error:
            raise PictureError(f'{error} (--degraded)') from error
        except RuntimeError as error:
            if not any(words in str(error) for words in _NO_MEMORY):
                raise
            raise PictureError(
                f'There is too little memory for {path}; restore it in '
                'smaller tiles, --cfg-options model.tile=128 model.overlap=32.'
            ) from error
        channels = network.backbone.in_channels
        picture = render(draw_restoration(restoration))
        return picture, restoration.restored[..., :channels]

    return predict
