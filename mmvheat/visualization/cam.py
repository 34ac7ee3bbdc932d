"""Class activation maps: the pixels that speak for a prediction.

Grad-CAM (Selvaraju et al., ICCV 2017) and its kin are computed by the package
`grad-cam <https://pypi.org/project/grad-cam>`_. Here each task gets a score to
derive, and layers of any memory layout are shown to it channels first.

Grad-CAM weighs a channel the same at every place, as mean pooling behind the
last stage does. In front of a last map of a few cells this names no place, and
heads that look at single places need other weights at each: LayerCAM (Jiang et
al., IEEE TIP 2021), which takes the positive gradient of every place, is the
default, at layers of the first two stages.

In an early layer 0 is no absence: what a network looks at may lie below its
surroundings as well as above, and Grad-CAM's cut at 0 loses it where it lies
below. 'absgradcam' leaves the cut out and shows the magnitude of the same sum.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
import torch
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor, nn

from mmvheat.models import vHeat

from .layers import Layer, PictureError, find_layer, list_stages
from .networks import Network, Sample
from .style import colorize, new_figure, show_image, show_map

METHODS = {
    'gradcam': 'GradCAM',
    'absgradcam': 'GradCAM',
    'gradcam++': 'GradCAMPlusPlus',
    'xgradcam': 'XGradCAM',
    'hirescam': 'HiResCAM',
    'layercam': 'LayerCAM',
    'eigencam': 'EigenCAM',
    'eigengradcam': 'EigenGradCAM',
}
CAPTION = (
    'The brighter a place, the more it speaks for the prediction named above '
    'it; 1 is the place that speaks for it most.'
)


@dataclass(frozen=True)
class Activation:
    """A class activation map.

    Attributes:
        values (np.ndarray): In [0, 1], float32 (H, W) of the picture.
        title (str): What it speaks for.
        category (int): The class.
    """

    values: np.ndarray
    title: str
    category: int


def compute_cam(
    network: Network,
    sample: Sample,
    layers: Sequence[Layer],
    *,
    category: int | None = None,
    instance: int | None = None,
    method: str = 'layercam',
    score_thr: float = 0.3,
) -> Activation:
    """Compute the class activation map of a prediction.

    Args:
        network (Network): A classifier, detector or segmentor.
        sample (Sample): The image.
        layers (Sequence[Layer]): Where; of several the mean is taken.
        category (int, optional): The class, from 0. Defaults to None: the
            one predicted, of a segmentor the one with the most pixels that
            is not called background, of a detector all.
        instance (int, optional): Of a detector, the number of the object,
            by falling score. Defaults to None, all objects.
        method (str): Of :data:`METHODS`. Defaults to 'layercam'.
        score_thr (float): Objects with a lower score are left out.
            Defaults to 0.3.

    Returns:
        Activation: The map.

    Raises:
        PictureError: If grad-cam is not installed, nothing was predicted,
            there is no such class or object, the prediction does not depend
            on a layer, or the network restores images.
    """
    if network.library not in _SCORERS:
        raise PictureError(
            'A restorer predicts no class that pixels could speak for; '
            'vis_heat.py, vis_erf.py and vis_features.py work with it.'
        )
    grad_cam = _import_grad_cam()
    scorer = _SCORERS[network.library](network, sample)
    with torch.no_grad():
        target, title, category = scorer.choose(category, instance, score_thr)
    with _tap(layers, sample.inputs) as taps:
        kinds = [_Checked, getattr(grad_cam, METHODS[method])]
        if method == 'absgradcam':
            kinds.insert(1, _Magnitude)
        cam = type('CAM', tuple(kinds), {})(scorer, taps)
        cam.names = [layer.name for layer in layers]
        try:
            inputs = sample.inputs.detach().clone().requires_grad_()
            with torch.enable_grad():
                values = cam(inputs, [target])[0]
        finally:
            cam.activations_and_grads.release()
            network.model.zero_grad(set_to_none=True)
    return Activation(values, title, category)


def choose_layers(network: Network, method: str = 'layercam') -> list[Layer]:
    """Choose the layers to look at where none are named.

    Of a vHeat the hidden layer of the last MLP of each of the first two
    stages, for 'absgradcam' what that of the first stage returns; of another
    classifier the last stage it returns, of another network the first two, and
    so of a vHeat in a segmentor, with what the last MLP of the second stage
    returns. They were chosen on the training images of the digit scenes.
    """
    stages = list(list_stages(network).values())
    # Heads of classifiers read the last map alone.
    stages = stages[-1:] if network.library == 'mmpretrain' else stages[:2]
    for prefix, module in network.model.named_modules():
        if not isinstance(module, vHeat):
            continue
        first, second = (
            f'{prefix}.layers.{i}.{stage.depth - 1}.mlp'
            for i, stage in enumerate(module.layers[:2])
        )
        if method == 'absgradcam':
            names, stages = [f'{first}.fc2'], []
        elif network.library == 'mmseg':
            names = [f'{second}.fc2']
        else:
            names, stages = [f'{first}.fc1', f'{second}.fc1'], []
        return [*stages, *(find_layer(network.model, n) for n in names)]
    return stages


def find_peak(values: np.ndarray) -> tuple[int, int]:
    """Find row and column of the highest place of a map (H, W)."""
    row, column = np.unravel_index(values.argmax(), values.shape)
    return int(row), int(column)


def draw_cams(
    picture: np.ndarray, activations: Sequence[Activation]
) -> Figure:
    """Draw maps beside the picture and over it, a row a map.

    Args:
        picture (np.ndarray): RGB uint8 of shape (H, W, 3).
        activations (Sequence[Activation]): The maps, of its size.
    """
    figure = new_figure(9.6, 3.0 * len(activations))
    rows = figure.subplots(len(activations), 3, squeeze=False)
    for (left, middle, right), activation in zip(rows, activations):
        show_image(left, picture, 'image')
        show_image(middle, overlay(picture, activation.values), 'both')
        show_map(
            right,
            activation.values,
            fill(activation.title, 36),
            unit='speaks for it (of 1)',
            norm=Normalize(0, 1),
        )
    return figure


def overlay(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Lay a map in [0, 1] over a picture, grey underneath, RGB uint8."""
    grey = picture.mean(-1, keepdims=True)
    mixed = 0.6 * grey + 0.7 * colorize(values)
    return mixed.clip(0, 255).astype('u1')


class MapPooling(nn.Module):
    """Global average pooling behind a layer that holds the map itself.

    Tools that hook a layer and read it channels first, such as mmpretrain's
    ``vis_cam.py``, find in the vHeat of a classifier layers of channels-last
    maps alone. With this neck they find ``neck.map``::

        --cfg-options model.neck.type=mmvheat.visualization.cam.MapPooling
        --target-layers neck.map
    """

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Identity()

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Pool maps (B, C, h, w) to (B, C)."""
        return tuple(self.map(x).mean((2, 3)) for x in maps)


# --- what a task is asked for ---------------------------------------------


class _Scorer(nn.Module):
    """From an image to what a target derives, for the package grad-cam."""

    def __init__(self, network: Network, sample: Sample) -> None:
        super().__init__()
        self.model = network.model
        self.classes = network.classes
        self.network, self.sample = network, sample

    def name(self, category: int) -> str:
        """Name a class."""
        if category < len(self.classes):
            return self.classes[category]
        return f'class {category}'

    def check(self, category: int, count: int) -> None:
        """Raise unless there is such a class."""
        if not 0 <= category < count:
            raise PictureError(
                f'There is no class {category}; the network has {count}, '
                'counted from 0.'
            )


class _ClassifierScorer(_Scorer):
    """The logits of the classes (1, classes)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs, mode='tensor')

    def choose(self, category, instance, score_thr) -> tuple:
        logits = self(self.sample.inputs)[0]
        if category is None:
            category = int(logits.argmax())
        self.check(category, len(logits))
        share = float(logits.softmax(0)[category])
        title = f'{self.name(category)}: {100 * share:.0f} %'
        return lambda output: output[category], title, category


class _SegmentorScorer(_Scorer):
    """The logits of the classes at every place (1, classes, h, w)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs, self.sample.data_samples, mode='tensor')

    def choose(self, category, instance, score_thr) -> tuple:
        logits = self(self.sample.inputs)[0]
        labels = logits.argmax(0)
        counts = labels.flatten().bincount(minlength=len(logits))
        if category is None:
            for index, name in enumerate(self.classes):
                if name.lower() == 'background':
                    counts[index] = 0
            category = int(counts.argmax())
        self.check(category, len(logits))
        mask = labels == category
        if not mask.any():
            raise PictureError(
                f'The network finds no {self.name(category)} in the image; '
                'choose a class that it finds.'
            )
        share = float(mask.float().mean())
        title = f'{self.name(category)}: {100 * share:.0f} % of the image'
        return lambda output: output[category][mask].sum(), title, category


class _DetectorScorer(_Scorer):
    """The scores of the objects (1, objects)."""

    def predict(self, inputs: Tensor) -> Any:
        samples = [self.sample.data_samples[0].clone()]
        (result,) = self.model.predict(inputs, samples, rescale=False)
        return result.pred_instances

    def forward(self, inputs: Tensor) -> Tensor:
        return self.predict(inputs).scores[None]

    def choose(self, category, instance, score_thr) -> tuple:
        found = self.predict(self.sample.inputs)
        chosen = found.scores >= score_thr
        if category is not None:
            chosen &= found.labels == category
        indices = chosen.nonzero()[:, 0]
        indices = indices[found.scores[indices].argsort(descending=True)]
        if instance is not None:
            indices = indices[instance : instance + 1]
        if not len(indices):
            what = 'object' if category is None else self.name(category)
            raise PictureError(
                f'The network finds no such {what} with a score of at least '
                f'{score_thr} in the image; lower --score-thr or choose '
                'another class.'
            )
        labels = found.labels[indices].tolist()
        named = [
            f'{self.name(label)} {100 * score:.0f} %'
            for label, score in zip(labels, found.scores[indices].tolist())
        ]
        title = ', '.join(named[:2])
        if named[2:]:
            title += f' and {len(named) - 2} more'
        return lambda output: output[indices].sum(), title, labels[0]


_SCORERS = dict(
    mmpretrain=_ClassifierScorer,
    mmseg=_SegmentorScorer,
    mmdet=_DetectorScorer,
)


class _Checked:
    """Tells of layers without a gradient, for the package grad-cam."""

    names: list[str]

    def compute_cam_per_layer(self, *args) -> list[np.ndarray]:
        found = self.activations_and_grads
        kept = found.gradients if self.uses_gradients else found.activations
        if len(kept) < len(self.target_layers):
            one = 'one of ' if len(self.names) > 1 else ''
            raise PictureError(
                f'The prediction does not depend on {one}'
                f'{", ".join(self.names)}; choose other layers with --layers.'
            )
        return super().compute_cam_per_layer(*args)


class _Magnitude:
    """Grad-CAM's sums without their sign, for the package grad-cam."""

    def get_cam_image(self, *args, **kwargs) -> np.ndarray:
        return np.abs(super().get_cam_image(*args, **kwargs))


# --- layers for the package grad-cam --------------------------------------


@contextmanager
def _tap(layers: Sequence[Layer], image: Tensor) -> Iterator[list[nn.Module]]:
    """Yield modules that the maps of layers pass through, channels first."""
    taps = [nn.Identity() for _ in layers]

    def insert(layer: Layer, tap: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            maps = layer.read(output, image)
            # The package takes gradients to come in the opposite order of
            # the activations: as those of new tensors do, whenever the maps
            # were computed.
            maps = tap(maps.view_as(maps))
            return _put_back(layer, output, maps)

        return layer.module.register_forward_hook(hook)

    handles = [insert(layer, tap) for layer, tap in zip(layers, taps)]
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()


def _put_back(layer: Layer, output: Any, maps: Tensor) -> Any:
    """Give what a module returned, with a map in it replaced."""
    if isinstance(output, (tuple, list)):
        index = layer.index or 0
        inner = _put_back(layer, output[index], maps)
        changed = [*output[:index], inner, *output[index + 1 :]]
        return type(output)(changed)
    if output.dim() == 4:
        return maps.permute(0, 2, 3, 1) if layer.channels_last else maps
    tokens = maps.flatten(2).transpose(1, 2)
    extra = output.shape[1] - tokens.shape[1]
    return torch.cat([output[:, :extra], tokens], 1)


def _import_grad_cam() -> Any:
    try:
        return importlib.import_module('pytorch_grad_cam')
    except ImportError as error:
        raise PictureError(
            'Class activation maps need the package grad-cam, which does not '
            f"import ({error}); run pip install 'mmvheat[vis]'."
        ) from error
