"""Effective receptive fields: which pixels a unit in the middle listens to.

After Luo et al., *Understanding the Effective Receptive Field in Deep
Convolutional Neural Networks* (NeurIPS 2016), with the positive parts of all
channels added up as Ding et al. do (RepLKNet, CVPR 2022): the sum over a layer
norm's own channels would not depend on the image at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Circle
from prettytable import PrettyTable
from torch import Tensor

from mmvheat.errors import UserError

from .layers import Layer, PictureError, list_stages, record
from .networks import NONE, Network, load_network
from .style import new_figure, show_map

SHARES = (0.2, 0.3, 0.5, 0.99)
CAPTION = (
    'How strongly each pixel of the image moves the unit in its middle: '
    'brighter pixels count more, on a logarithmic scale; within the circles '
    'lie 50 % (solid) and 99 % (dashed) of all influence.'
)
_DECADES = 1e-4


@dataclass(frozen=True)
class Field:
    """An effective receptive field.

    Attributes:
        values (np.ndarray): Mean absolute gradient of every pixel, summed
            over the channels of the image, float64 (H, W).
    """

    values: np.ndarray

    @property
    def centre(self) -> tuple[float, float]:
        """tuple[float, float]: Row and column, in pixels, with one half of
        the field on either side. Where a unit lies is a matter of how its
        network pads, pools and merges, so that the field itself is asked.
        """
        return _find_median(self.values.sum(1)), _find_median(
            self.values.sum(0)
        )

    def find_radius(self, share: float) -> float:
        """Find the radius in pixels of the disc that holds a share of it.

        Args:
            share (float): Between 0 and 1.
        """
        rows, columns = np.indices(self.values.shape)
        distance = np.hypot(rows - self.centre[0], columns - self.centre[1])
        order = np.argsort(distance, axis=None, kind='stable')
        held = np.cumsum(self.values.ravel()[order])
        index = np.searchsorted(held, share * held[-1])
        return float(distance.ravel()[order[min(index, len(held) - 1)]])


def compute_field(
    forward: Callable[[Tensor], Tensor], images: Iterable[Tensor]
) -> Field:
    """Compute the receptive field of the unit in the middle of a map.

    Args:
        forward (Callable): From an image to the map, (1, C, h, w).
        images (Iterable[Tensor]): Images of one size, (1, channels, H, W).

    Returns:
        Field: Mean over the images.

    Raises:
        ValueError: If there is no image.
    """
    total, count = 0.0, 0
    for image in images:
        image = image.detach().clone().requires_grad_()
        with torch.enable_grad():
            maps = forward(image)
            height, width = maps.shape[-2:]
            unit = maps[..., height // 2, width // 2].relu().sum()
            (gradient,) = torch.autograd.grad(unit, image)
        total = total + gradient.abs().sum((0, 1)).double().cpu().numpy()
        count += 1
    if not count:
        raise ValueError('A receptive field needs at least one image.')
    return Field(total / count)


def load_stages(
    config: str,
    checkpoint: str = NONE,
    stages: Sequence[int] = (4,),
    *,
    device: str = 'cpu',
    options: Mapping | None = None,
) -> tuple[Network, dict[str, Layer]]:
    """Load a network, and find stages whether it returns them or not.

    Args:
        config (str): As of :func:`load_network`.
        checkpoint (str): As of :func:`load_network`.
        stages (Sequence[int]): The stages from 1. Defaults to (4,).
        device (str): As of :func:`load_network`.
        options (Mapping, optional): As of :func:`load_network`.

    Returns:
        tuple[Network, dict[str, Layer]]: The network and its layers.

    Raises:
        PictureError: If the backbone has no such stage, or as of
            :func:`load_network`.
    """
    network = load_network(config, checkpoint, device=device, options=options)
    try:
        return network, find_stages(network, config, stages)
    except PictureError:
        more = {**(options or {}), 'model.backbone.out_indices': (0, 1, 2, 3)}
    if type(network.backbone).__name__ == 'ConvNeXt':
        more['model.backbone.gap_before_final_norm'] = False
    # A backbone without such an option: said below.
    with suppress(UserError, AssertionError):
        network = load_network(config, checkpoint, device=device, options=more)
    return network, find_stages(network, config, stages, 'has no')


def find_stages(
    network: Network,
    config: str,
    stages: Sequence[int],
    fault: str = 'does not return',
) -> dict[str, Layer]:
    """Find stages, from 1, that a backbone returns.

    Raises:
        PictureError: If it returns one of them not.
    """
    found = list_stages(network)
    names = [f'stage {stage}' for stage in stages]
    missing = [name for name in names if name not in found]
    if missing:
        raise PictureError(
            f'The {type(network.backbone).__name__} of {config} {fault} '
            f'{missing[0]}, but {", ".join(found)}; choose of these with '
            '--stage, or in vis_erf.py name a layer with --layer.'
        )
    return {name: found[name] for name in names}


def name_models(models: Sequence[tuple[str, str]]) -> list[str]:
    """Name models, config and checkpoint, in a few words each."""
    names = [Path(config.rpartition('::')[2]).stem for config, _ in models]
    counts = Counter(
        name
        for name, (_, checkpoint) in zip(names, models)
        if checkpoint != NONE
    )
    titles = []
    for name, (_, checkpoint) in zip(names, models):
        short = name.split('_')
        # algorithm and backbone: the rest is the recipe
        title = '_'.join(short[:2]) if len(short) > 2 else name
        weights = 'random weights' if checkpoint == NONE else 'trained'
        if counts[name] > 1 and checkpoint != NONE:
            weights = Path(checkpoint).stem
        titles.append(f'{title}, {weights}')
    return titles


def make_forward(network: Network, layer: Layer) -> Callable[[Tensor], Tensor]:
    """Make the function from an image to the map of a layer.

    The layer must lie in the backbone or the neck.

    Args:
        network (Network): The network.
        layer (Layer): Of :func:`find_layer` or :func:`list_stages`.

    Returns:
        Callable: It raises a PictureError where the layer does not run.
    """
    inside = layer.name.startswith(network.backbone_name)
    run = network.backbone if inside else network.model.extract_feat

    def forward(image: Tensor) -> Tensor:
        with record([layer]) as outputs:
            run(image)
        if layer.name not in outputs:
            raise PictureError(
                f'The layer {layer.name} does not run in the backbone or the '
                'neck; choose another one.'
            )
        return layer.read(outputs[layer.name], image)

    return forward


def measure_field(
    network: Network, layer: Layer, images: Iterable[np.ndarray]
) -> Field:
    """Compute the receptive field of a layer of a network.

    Args:
        network (Network): The network.
        layer (Layer): As of :func:`make_forward`.
        images (Iterable[np.ndarray]): RGB uint8 of one shape (H, W, 3).
    """
    inputs = (network.normalize(i).to(network.device) for i in images)
    return compute_field(make_forward(network, layer), inputs)


def make_noise(count: int, side: int) -> Iterator[np.ndarray]:
    """Make random images, the same every time, uint8 (side, side, 3)."""
    noise = np.random.default_rng(0)
    for _ in range(count):
        yield noise.integers(0, 256, (side, side, 3), np.uint8)


def cut_square(image: np.ndarray, side: int) -> np.ndarray:
    """Cut the middle out of an image (H, W, 3) and resize it to a square."""
    short = min(image.shape[:2])
    top, left = ((length - short) // 2 for length in image.shape[:2])
    square = image[top : top + short, left : left + short]
    return cv2.resize(square, (side, side))


def draw_fields(fields: Mapping[str, Field], columns: int = 4) -> Figure:
    """Draw fields side by side.

    Args:
        fields (Mapping[str, Field]): From titles to fields.
        columns (int): At most so many in a row. Defaults to 4.
    """
    rows = -(-len(fields) // columns)
    columns = -(-len(fields) // rows)  # so that no row is all but empty
    figure = new_figure(3.1 * columns + 0.9, 3.4 * rows)
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    norm = LogNorm(_DECADES, 1, clip=True)
    for axes, (title, field) in zip(all_axes, fields.items()):
        draw_field(axes, field, title, norm)
    for axes in all_axes:
        axes.axis('off')
    add_bar(figure, all_axes)
    return figure


def add_bar(figure: Figure | SubFigure, axes: Iterable[Axes]) -> None:
    """Add the colour bar of fields that are drawn already."""
    axes = list(axes)
    label = 'mean |gradient| / largest'
    figure.colorbar(axes[0].images[0], ax=axes, label=label, shrink=0.8)


def draw_field(axes: Axes, field: Field, title: str, norm: LogNorm) -> None:
    """Draw one field with the circles that hold 50 % and 99 % of it."""
    show_map(axes, field.values / field.values.max(), title, norm=norm,
             bar=False)  # fmt: skip
    for share, style in ((0.5, '-'), (0.99, '--')):
        for color, width in (('black', 2.6), ('white', 1.2)):
            axes.add_patch(
                Circle(
                    field.centre[::-1],
                    field.find_radius(share),
                    fill=False,
                    ec=color,
                    ls=style,
                    lw=width,
                )
            )


def tabulate_radii(fields: Mapping[str, Field]) -> PrettyTable:
    """Tabulate the radii of fields by their titles."""
    header = [f'radius of {100 * share:.0f} % (px)' for share in SHARES]
    table = PrettyTable(['model', *header], align='r')
    table.align['model'] = 'l'
    for title, field in fields.items():
        radii = [f'{field.find_radius(share):.1f}' for share in SHARES]
        table.add_row([title.replace('\n', ', '), *radii])
    return table


def _find_median(weights: np.ndarray) -> float:
    """Where one half of some pixels' weight lies on either side."""
    sums = np.concatenate([[0], np.cumsum(weights)])
    return float(np.interp(sums[-1] / 2, sums, np.arange(len(sums)))) - 0.5
