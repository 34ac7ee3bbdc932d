"""What the heat conduction operators of a vHeat do, as arrays.

All that is taken from a model comes through :func:`predict_k`. Heat is
counted in shares of the source: it sums up to 1 over the plate. A *plate* has
H x W cells, those of the features of a stage; frequencies are in radians per
cell, up to pi along each axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from mmvheat.models import vHeat, vHeatIR
from mmvheat.ops import heat_decay, propagate, resize_freq_embed

from .layers import PictureError

Size = tuple[int, int]


def list_depths(backbone: vHeat | vHeatIR) -> list[int]:
    """Count the blocks of every stage; those of a vHeatIR are its groups."""
    return [len(blocks) for blocks in _list_blocks(backbone)]


def choose_blocks(
    backbone: vHeat | vHeatIR,
    stage: int | None = None,
    block: int | None = None,
) -> list[tuple[int, int]]:
    """List stages with one block of each, both counted from 1.

    Args:
        backbone (vHeat | vHeatIR): The backbone.
        stage (int, optional): The only stage. Defaults to None, all.
        block (int, optional): The block. Defaults to None, the last.

    Raises:
        PictureError: If there is no such stage or block.
    """
    depths = list_depths(backbone)
    chosen = []
    for number in range(1, len(depths) + 1) if stage is None else [stage]:
        _check_number('stage', number, 1, len(depths))
        depth = depths[number - 1]
        chosen.append((number, depth if block is None else block))
        _check_number(f'block of stage {number}', chosen[-1][1], 1, depth)
    return chosen


def _check_number(what: str, number: int, first: int, last: int) -> None:
    if not first <= number <= last:
        raise PictureError(
            f'There is no {what} {number}; give one from {first} to {last}.'
        )


def predict_k(
    backbone: vHeat | vHeatIR,
    size: Size,
    stage: int,
    block: int,
    channels: Sequence[int] = (),
) -> np.ndarray:
    """Predict k of one block for images of a size.

    The paper predicts k from the frequency value embeddings of a stage. It
    depends on the size of the image, not on what the image shows.

    Args:
        backbone (vHeat | vHeatIR): The backbone, or the restorer, whose
            plates all have the size of the image.
        size (tuple[int, int]): Height and width of the images in pixels, as
            the backbone gets them.
        stage (int): The stage from 0.
        block (int): Its block from 0.
        channels (Sequence[int]): Channels from 0. Defaults to all.

    Returns:
        np.ndarray: Diffusivity times time of every frequency and channel,
        float32 (H, W, C) on the plate of the stage.

    Raises:
        PictureError: If the block does not conduct heat with such a k, or
            has no such channel.
    """
    op = _list_blocks(backbone)[stage][block].op
    if isinstance(backbone, vHeat):
        embedding, plate = backbone.freq_embed[stage], find_plate(size, stage)
    else:
        embedding, plate = backbone.freq_embed, size
    with torch.no_grad():
        if embedding is None:  # k does not come from it
            embedding = op.dwconv.weight.new_zeros(
                *plate, len(op.dwconv.weight)
            )
        else:
            embedding = resize_freq_embed(embedding, plate, mode='bicubic')
        k = _predict_k(op, embedding).float().cpu().numpy()
    for channel in channels:
        name = f'channel of stage {stage + 1}'
        _check_number(name, channel, 0, k.shape[-1] - 1)
    return k[..., list(channels)] if channels else k


def collect_k(backbone: vHeat | vHeatIR, size: Size) -> list[list[np.ndarray]]:
    """Predict k of every block for images of a size.

    Args:
        backbone (vHeat | vHeatIR): As of :func:`predict_k`.
        size (tuple[int, int]): As of :func:`predict_k`.

    Returns:
        list[list[np.ndarray]]: What :func:`predict_k` gives for every stage,
        for every block.

    Raises:
        PictureError: If the blocks do not conduct heat with such a k.

    Example:
        >>> from mmvheat.models import vHeat, vHeatIR
        >>> arch = dict(
        ...     embed_dims=8, depths=(1, 1, 2, 1), post_norm=False,
        ...     layer_scale=None,
        ... )
        >>> k = collect_k(vHeat(arch, img_size=64), size=(64, 96))
        >>> [len(blocks) for blocks in k], k[0][0].shape
        ([1, 1, 2, 1], (16, 24, 8))
    """
    return [
        [predict_k(backbone, size, i, j) for j in range(depth)]
        for i, depth in enumerate(list_depths(backbone))
    ]


def _list_blocks(backbone: vHeat | vHeatIR) -> list[Sequence[nn.Module]]:
    if isinstance(backbone, vHeat):
        return [stage.blocks for stage in backbone.layers]
    return [group.body.blocks for group in backbone.groups]


def _predict_k(op: nn.Module, embedding: Tensor) -> Tensor:
    """Predict k of one operator, (H, W, C) as the embedding.

    Operators may have another law of propagation, or another source of k.
    """
    law = type(getattr(op, 'propagator', None)).__name__
    if law not in ('NoneType', 'HeatPropagator'):
        raise PictureError(
            f'The blocks spread features by {law}, not by heat conduction; '
            'vis_erf.py, vis_features.py and vis_cam.py work with it.'
        )
    if type(op.to_k).__name__ == 'PooledSource':
        raise PictureError(
            'The blocks predict k from the features of every image, so that '
            'there is none to draw for a size; vis_erf.py, vis_features.py '
            'and vis_cam.py work with it.'
        )
    # one number, one a channel, or one for every frequency and channel
    return op.to_k(embedding).expand(embedding.shape)


def find_plate(size: Size, stage: int) -> Size:
    """Compute the feature size of a stage (from 0) for an image size."""
    stride = 2 ** (stage + 2)
    return -(-size[0] // stride), -(-size[1] // stride)


# --- sources --------------------------------------------------------------


def place_point(pixel: Size, image: Size, plate: Size) -> np.ndarray:
    """Put all heat into the cell that holds a pixel.

    Args:
        pixel (tuple[int, int]): Column x and row y, from the top left.
        image (tuple[int, int]): Height and width of the image.
        plate (tuple[int, int]): Height and width of the plate.

    Returns:
        np.ndarray: The source, float64 of shape ``plate``, sum 1.

    Raises:
        PictureError: If the pixel is outside the image.
    """
    x, y = pixel
    if not (0 <= x < image[1] and 0 <= y < image[0]):
        raise PictureError(
            f'The pixel ({x}, {y}) lies outside the image, which has '
            f'{image[1]}x{image[0]} pixels (width x height).'
        )
    source = np.zeros(plate)
    source[y * plate[0] // image[0], x * plate[1] // image[1]] = 1
    return source


def place_object(mask: np.ndarray, plate: Size) -> np.ndarray:
    """Spread the heat evenly over an object.

    Args:
        mask (np.ndarray): True where the object is, shape (H, W) of the
            image.
        plate (tuple[int, int]): Height and width of the plate.

    Returns:
        np.ndarray: The source, float64 of shape ``plate``, sum 1.
    """
    source = cv2.resize(
        mask.astype(np.float64), plate[::-1], interpolation=cv2.INTER_AREA
    )
    return source / source.sum()


def place_heat(
    picture: np.ndarray, plate: Size, pixel: Size | None = None
) -> np.ndarray:
    """Put the heat into a pixel, or the brightest object of a picture.

    Args:
        picture (np.ndarray): RGB uint8 of shape (H, W, 3). Of an empty one
            the middle gets the heat.
        plate (tuple[int, int]): Height and width of the plate.
        pixel (tuple[int, int], optional): Column x and row y.

    Returns:
        np.ndarray: The source, float64 of shape ``plate``, sum 1.
    """
    height, width = picture.shape[:2]
    if pixel is None and np.ptp(picture):
        return place_object(find_brightest_object(picture), plate)
    return place_point(
        pixel or (width // 2, height // 2), (height, width), plate
    )


def find_brightest_object(picture: np.ndarray) -> np.ndarray:
    """Find the brightest connected part of a picture.

    It holds the brightest pixel of the smoothed picture and all around it
    that is brighter than halfway between the median and that pixel.

    Args:
        picture (np.ndarray): RGB uint8 of shape (H, W, 3).

    Returns:
        np.ndarray: True inside, shape (H, W).
    """
    gray = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    smooth = cv2.GaussianBlur(gray, (0, 0), max(1.0, min(gray.shape) / 100))
    brightest = np.unravel_index(smooth.argmax(), smooth.shape)
    threshold = (np.median(smooth) + float(smooth.max())) / 2
    _, labels = cv2.connectedComponents((smooth >= threshold).astype('u1'))
    return labels == labels[brightest]


# --- conduction -----------------------------------------------------------


def conduct(
    source: np.ndarray, k: np.ndarray | float, times: Sequence[float] = (1,)
) -> np.ndarray:
    r"""Let a source spread, by the operator itself.

    Every frequency decays by :math:`e^{-k \omega^2 t}`; the model's own
    operators have t = 1.

    Args:
        source (np.ndarray): Heat before, shape (H, W).
        k (np.ndarray | float): Of every frequency and channel, (H, W, C), or
            one constant.
        times (Sequence[float]): Times t. Defaults to (1,).

    Returns:
        np.ndarray: Mean over the channels at every time, float64 of shape
        (len(times), H, W).

    Example:
        >>> source = np.zeros((9, 9))
        >>> source[4, 4] = 1
        >>> float(conduct(source, k=2.0).sum().round(9))  # nothing is lost
        1.0
    """
    if np.ndim(k) == 0:
        k = np.full((*source.shape, 1), k)
    k = torch.from_numpy(np.array(k, np.float64))
    x = torch.from_numpy(np.array(source, np.float64))[None, ..., None]
    # All channels start alike, so that their mean decay gives their mean.
    decays = (heat_decay(k * t).mean(-1, keepdim=True) for t in times)
    return np.stack([propagate(x, decay)[0, ..., 0] for decay in decays])


# --- spectra --------------------------------------------------------------


@dataclass(frozen=True)
class Spectrum:
    """k and the decay of one block over the frequency plane.

    Attributes:
        k (np.ndarray): Mean of k over the channels, (H, W).
        decay (np.ndarray): Mean of exp(-k w^2) over the channels, (H, W).
        w (np.ndarray): Distance from frequency 0 in radians per cell, (n,):
            the middle of every ring.
        k_rings (np.ndarray): Mean, lower quartile, median and upper quartile
            over the channels of the mean k of every ring, (4, n).
        decay_rings (np.ndarray): The same of the decay, (4, n).
        half_decay (float): Distance at which the mean decay falls to one
            half, in radians per cell; infinite where it never does.
        energy (float): Share of the energy of white noise without its mean
            that survives: the mean of the squared decay.
    """

    k: np.ndarray
    decay: np.ndarray
    w: np.ndarray
    k_rings: np.ndarray
    decay_rings: np.ndarray
    half_decay: float
    energy: float

    @property
    def half_decay_cells(self) -> float:
        """float: Half a wave of that frequency, in cells: the radius below
        which a detail loses more than half of its height; 0 if none does.
        """
        return float(np.pi / self.half_decay)


def compute_spectrum(k: np.ndarray) -> Spectrum:
    """Sum up k and the decay of one block.

    Args:
        k (np.ndarray): Of every frequency and channel, (H, W, C).

    Returns:
        Spectrum: The summary.
    """
    k = torch.from_numpy(np.array(k, np.float64))
    decay = heat_decay(k).numpy()
    k = k.numpy()
    rows, columns = (np.arange(n) * np.pi / n for n in k.shape[:2])
    distance = np.hypot(rows[:, None], columns)
    width = np.pi / max(2, min(k.shape[:2]))
    ring = np.floor(distance / width).astype(int)
    rings = [ring == i for i in range(ring.max() + 1) if (ring == i).any()]
    w = np.array([distance[inside].mean() for inside in rings])
    decay_rings = _summarize([decay[inside].mean(0) for inside in rings])
    return Spectrum(
        k=k.mean(-1),
        decay=decay.mean(-1),
        w=w,
        k_rings=_summarize([k[inside].mean(0) for inside in rings]),
        decay_rings=decay_rings,
        half_decay=_find_crossing(w, decay_rings[0], 0.5),
        energy=_mean_energy(decay),
    )


def compute_spectra(
    backbone: vHeat | vHeatIR, size: Size
) -> list[list[Spectrum]]:
    """Sum up every block, of every stage, for images of a size.

    Raises:
        PictureError: If the blocks do not conduct heat with such a k.
    """
    return [
        [compute_spectrum(predict_k(backbone, size, i, j)) for j in range(n)]
        for i, n in enumerate(list_depths(backbone))
    ]


def _summarize(rings: Iterable[np.ndarray]) -> np.ndarray:
    """Mean and quartiles over channels of the values (C,) of every ring."""
    values = np.stack(list(rings))
    quartiles = np.percentile(values, (25, 50, 75), axis=1)
    return np.stack([values.mean(1), *quartiles])


def _mean_energy(decay: np.ndarray) -> float:
    if decay[..., 0].size == 1:
        return 1.0  # a plate of one cell has nothing but its mean
    energy = (decay**2).mean(-1)
    return float((energy.sum() - energy[0, 0]) / (energy.size - 1))


def _find_crossing(x: np.ndarray, y: np.ndarray, level: float) -> float:
    """Where y first falls to a level, by linear interpolation."""
    below = np.flatnonzero(y <= level)
    if not len(below):
        return float('inf')
    i = below[0]
    if i == 0:
        return float(x[0])
    share = (y[i - 1] - level) / (y[i - 1] - y[i])
    return float(x[i - 1] + share * (x[i] - x[i - 1]))
