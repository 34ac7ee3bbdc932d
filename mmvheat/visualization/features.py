"""Feature response maps: what the layers of a network answer to an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from .layers import (
    Layer,
    PictureError,
    record,
)
from .networks import (
    Network,
    Sample,
)
from .style import new_figure, show_image, show_map

CAPTION = (
    'What each layer answers to the image: the mean size of the answer over '
    'its channels (bright: much), and its three strongest patterns as red, '
    'green and blue (places of one colour look alike to the layer).'
)


def collect_maps(
    network: Network, sample: Sample, layers: Mapping[str, Layer]
) -> dict[str, np.ndarray]:
    """Collect the maps of layers while the network predicts.

    Args:
        network (Network): Of any task.
        sample (Sample): The image.
        layers (Mapping[str, Layer]): From names to layers.

    Returns:
        dict[str, np.ndarray]: From the names to float32 maps (C, h, w).

    Raises:
        PictureError: If a layer does not run or gives no map.
    """
    with record(list(layers.values())) as outputs, torch.no_grad():
        network.predict(sample)
    maps = {}
    for name, layer in layers.items():
        if layer.name not in outputs:
            raise PictureError(
                f'The layer {layer.name} does not run when the network '
                'predicts; choose another one.'
            )
        found = layer.read(outputs[layer.name], sample.inputs)[0]
        maps[name] = found.float().cpu().numpy()
    return maps


def project_to_rgb(maps: np.ndarray) -> np.ndarray:
    """Project channels on their three principal components, as colours.

    Args:
        maps (np.ndarray): Shape (C, h, w).

    Returns:
        np.ndarray: RGB in [0, 1] of shape (h, w, 3): the first component is
        red. Each spans its 1st to 99th percentile; one that does not vary is
        grey. The largest weight of a component is positive.
    """
    channels, height, width = maps.shape
    pixels = maps.reshape(channels, -1).T.astype(np.float64)
    pixels = pixels - pixels.mean(0)
    _, _, weights = np.linalg.svd(pixels, full_matrices=False)
    rgb = np.full((height * width, 3), 0.5)
    for i, direction in enumerate(weights[:3]):
        direction = direction * np.sign(direction[np.abs(direction).argmax()])
        values = pixels @ direction
        low, high = np.percentile(values, (1, 99))
        if high - low > 1e-9 * max(1.0, np.abs(maps).max()):
            rgb[:, i] = np.clip((values - low) / (high - low), 0, 1)
    return rgb.reshape(height, width, 3)


def pick_channels(
    maps: Mapping[str, np.ndarray], channels: Sequence[int]
) -> None:
    """Check that every layer has the channels.

    Raises:
        PictureError: If one does not.
    """
    for name, values in maps.items():
        for channel in channels:
            if not 0 <= channel < len(values):
                raise PictureError(
                    f'{name} has no channel {channel}; give some from 0 to '
                    f'{len(values) - 1}.'
                )


def draw_features(
    picture: np.ndarray,
    maps: Mapping[str, np.ndarray],
    channels: Sequence[int] = (),
) -> Figure:
    """Draw mean size, principal components and channels, a row a layer.

    Args:
        picture (np.ndarray): RGB uint8 of shape (H, W, 3).
        maps (Mapping[str, np.ndarray]): From the name of a layer to its maps
            (C, h, w).
        channels (Sequence[int]): Channels to draw besides. Defaults to ().

    Raises:
        PictureError: If a layer lacks one of the channels.
    """
    pick_channels(maps, channels)
    columns = 3 + len(channels)
    figure = new_figure(3.1 * columns, 2.8 * len(maps))
    rows = figure.subplots(len(maps), columns, squeeze=False)
    for axes, (name, values) in zip(rows, maps.items()):
        show_image(axes[0], picture, 'image')
        shape = f'{values.shape[1]}x{values.shape[2]}'
        show_map(
            axes[1],
            np.abs(values).mean(0),  # of a layer norm the plain mean is 0
            f'{name}: mean of {len(values)} channels',
            unit='|response|',
        )
        show_image(axes[2], project_to_rgb(values), f'patterns, {shape} cells')
        for plot, channel in zip(axes[3:], channels):
            show_map(
                plot, values[channel], f'channel {channel}', unit='response'
            )
    return figure
