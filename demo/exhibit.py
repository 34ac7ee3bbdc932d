"""What the page shows of a network, as arrays; knows nothing of a browser."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps

from mmvheat.visualization import (
    features,
    films,
    heat,
    receptive_field,
)
from mmvheat.visualization.layers import (
    PictureError,
    list_stages,
)
from mmvheat.visualization.networks import (
    Network,
    Sample,
    find_vheat,
)
from mmvheat.visualization.restoration import Restorer, draw_restoration
from mmvheat.visualization.style import new_figure, render

FORMATS = ('BMP', 'GIF', 'JPEG', 'PNG', 'TIFF', 'WEBP')
"""Formats that are decoded. Others, such as EPS, would run programs."""

MAX_PIXELS = 50_000_000
MIN_SIDE = 16
MAX_SIDE = 640
SHOWN_SIDE = 512
RESTORED_SIDE = 256
"""Restorers work at every pixel: of a larger image they get the middle."""


@dataclass
class View:
    """An image that a visitor looks at with one network.

    Attributes:
        sample (Sample): The image as the network sees it.
        sentence (str): What is predicted.
        prediction (np.ndarray): The prediction drawn, RGB uint8.
    """

    sample: Sample
    sentence: str
    prediction: np.ndarray


def decode(data: bytes, is_cropped: bool = False) -> np.ndarray:
    """Decode what a visitor uploads, no larger than needed.

    Args:
        data (bytes): A file of one of :data:`FORMATS`.
        is_cropped (bool): Leave the pixels as they are, and take the middle
            of a large image. Defaults to False.

    Returns:
        np.ndarray: RGB uint8 without transparency, the longer side at most
        :data:`MAX_SIDE`, or :data:`RESTORED_SIDE` if cropped.

    Raises:
        PictureError: If it is no such file, damaged, too small or too large.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        image = None
    except Exception as error:  # decoders raise all sorts of them
        raise PictureError(
            f'This file is no image that can be read; {_list_formats()}.'
        ) from error
    if image is None or image.width * image.height > MAX_PIXELS:
        raise PictureError(
            'This image is too large; at most '
            f'{MAX_PIXELS // 1_000_000} million pixels are taken.'
        )
    if min(image.size) < MIN_SIDE:
        raise PictureError(
            f'This image is too small, {image.width}x{image.height} pixels; '
            f'{MIN_SIDE}x{MIN_SIDE} are the least.'
        )
    try:
        if not is_cropped:  # JPEG: decode it smaller
            image.draft('RGB', (MAX_SIDE, MAX_SIDE))
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith('I'):  # 16 bits, which convert() would clip
            image = Image.fromarray((np.asarray(image) >> 8).astype('u1'))
        image = image.convert('RGB')
    except Exception as error:
        raise PictureError(
            f'This image is damaged; {_list_formats()}.'
        ) from error
    if is_cropped:
        return crop_middle(np.asarray(image))
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    return np.asarray(image)


def crop_middle(image: np.ndarray) -> np.ndarray:
    """Cut the middle of :data:`RESTORED_SIDE` pixels out of an image."""
    top, left = (
        max(0, (length - RESTORED_SIDE) // 2) for length in image.shape[:2]
    )
    return image[top:, left:][:RESTORED_SIDE, :RESTORED_SIDE].copy()


def _list_formats() -> str:
    return f'upload a whole file of {", ".join(FORMATS)}'


class Exhibit:
    """A network on show. One visitor at a time has it.

    Args:
        network (Network): The network.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.lock = threading.Lock()
        self.is_restorer = isinstance(network, Restorer)
        self.stages = list_stages(network)
        try:
            self.vheat = find_vheat(network, '')
        except PictureError:
            self.vheat = None

    @property
    def depths(self) -> list[int]:
        """list[int]: Blocks of every stage that conducts heat."""
        return [] if self.vheat is None else heat.list_depths(self.vheat)

    def look(self, image: np.ndarray, is_degraded: bool = False) -> View:
        """Predict on an image.

        Args:
            image (np.ndarray): RGB uint8.
            is_degraded (bool): Let a restorer take it as it is, instead of
                degrading it first. Defaults to False.
        """
        if self.is_restorer:
            return self._restore(image, is_degraded)
        with self.lock, torch.no_grad():
            sample = self.network.prepare(image)
            result = self.network.predict(sample)
        draw = dict(
            mmdet=self._draw_objects,
            mmseg=self._draw_labels,
            mmpretrain=self._draw_scores,
        )[self.network.library]
        return View(sample, *draw(sample, result))

    def draw_features(self, view: View) -> np.ndarray:
        """Draw the maps of the stages, RGB uint8."""
        with self.lock:
            maps = features.collect_maps(
                self.network, view.sample, self.stages
            )
        return render(features.draw_features(view.sample.picture, maps))

    def draw_field(self, view: View, stage: int) -> np.ndarray:
        """Draw the receptive field of a stage (from 1) on the image."""
        names = list(self.stages)
        name = f'stage {stage}' if f'stage {stage}' in names else names[-1]
        with self.lock:
            forward = receptive_field.make_forward(
                self.network, self.stages[name]
            )
            field = receptive_field.compute_field(
                forward, [view.sample.inputs]
            )
        return render(receptive_field.draw_fields({name: field}))

    def draw_heat(
        self,
        view: View,
        point: tuple[float, float],
        t: float,
        stage: int,
        block: int,
        channel: int,
    ) -> np.ndarray:
        """Draw how heat has spread from a point.

        Args:
            view (View): The image.
            point (tuple[float, float]): Column and row, in shares of the
                width and height.
            t (float): Time; the operator has t = 1.
            stage (int): From 1; beyond the last it is the last.
            block (int): From 1; likewise.
            channel (int): From 1; 0 is the mean of all.

        Returns:
            np.ndarray: RGB uint8.

        Raises:
            PictureError: If the network conducts no heat.
        """
        if self.vheat is None:
            raise PictureError(
                'This network has no vHeat, so that no heat spreads; '
                'predictions, features and receptive fields work.'
            )
        picture = view.sample.picture
        height, width = picture.shape[:2]
        pixel = (
            min(int(point[0] * width), width - 1),
            min(int(point[1] * height), height - 1),
        )
        blocks = self.depths
        stage = min(max(stage, 1), len(blocks))
        block = min(max(block, 1), blocks[stage - 1])
        with self.lock:
            k = heat.predict_k(
                self.vheat, (height, width), stage - 1, block - 1
            )
        title = f'stage {stage}, block {block}'
        if channel:
            channels = k.shape[-1]
            channel = min(channel, channels)
            k = k[..., channel - 1 : channel]
            title += f', channel {channel} of {channels}'
        else:
            title += ', mean of all channels'
        source = heat.place_point(pixel, (height, width), k.shape[:2])
        after = heat.conduct(source, k, [t])[0]
        return films.draw_film(
            picture, np.stack([source, after]), [0, t], title
        )[-1]

    def _restore(self, image: np.ndarray, is_degraded: bool) -> View:
        with self.lock:
            sample = self.network.prepare(crop_middle(image), is_degraded)
            restoration = self.network.restore(sample)
        measured = restoration.measure()
        sentence = 'restored; there is no clean image to compare with.'
        if measured:
            sentence = (
                f'restored to {measured["restored"]} from '
                f'{measured["degraded"]}.'
            )
        elif not is_degraded:
            sentence = 'restored.'
        return View(sample, sentence, render(draw_restoration(restoration)))

    def _draw_objects(self, sample: Sample, result) -> tuple:
        from mmdet.visualization import DetLocalVisualizer

        scale = _find_scale(sample.picture)
        picture = enlarge(sample.picture, scale)
        found = result.pred_instances
        found = found[found.scores >= 0.3].cpu()
        found.bboxes = found.bboxes * scale
        if 'masks' in found:
            masks = found.masks.numpy().astype('u1')
            found.masks = torch.from_numpy(
                np.array([enlarge(mask, scale) for mask in masks]).reshape(
                    -1, *picture.shape[:2]
                )
            ).bool()
        shown = type(result)(pred_instances=found)
        visualizer = DetLocalVisualizer(line_width=2, alpha=0.6)
        visualizer.dataset_meta = dict(
            classes=self.network.classes or tuple(map(str, range(1000))),
            palette='random',
        )
        visualizer.add_datasample('', picture, shown, draw_gt=False)
        names = [self._name(int(label)) for label in found.labels]
        count = len(names)
        if not count:
            sentence = 'No object was found.'
        else:
            objects = f'{count} object{"s" * (count > 1)}'
            sentence = f'{objects}: {", ".join(names)}.'
        return sentence, visualizer.get_image()

    def _draw_labels(self, sample: Sample, result) -> tuple:
        labels = result.pred_sem_seg.data[0].cpu().numpy()
        scale = _find_scale(sample.picture)
        picture = enlarge(sample.picture, scale).astype(float)
        # the colours of labels mean nothing, so that any that differ will do
        hues = np.arange(256) * 0.618034 % 1
        colors = np.stack(
            [hues * 179, np.full(256, 200), np.full(256, 255)], -1
        ).astype('u1')
        palette = cv2.cvtColor(colors[None], cv2.COLOR_HSV2RGB)[0]
        names, counts = np.unique(labels, return_counts=True)
        painted = enlarge(labels.astype('u1'), scale)
        shown = painted != names[counts.argmax()]
        shown = shown[..., None] * 0.6
        drawn = picture * (1 - shown) + palette[painted] * shown
        found = sorted(zip(counts, names), reverse=True)
        shares = [
            f'{self._name(int(name))}: {100 * count / labels.size:.0f} %'
            for count, name in found[:6]
        ]
        return f'{", ".join(shares)} of the image.', drawn.astype('u1')

    def _draw_scores(self, sample: Sample, result) -> tuple:
        scores = result.pred_score.cpu().numpy()
        best = scores.argsort()[::-1][:10]
        figure = new_figure(5, 0.4 + 0.36 * len(best))
        axes = figure.subplots()
        names = [self._name(int(i)) for i in best]
        axes.barh(range(len(best)), 100 * scores[best], color='0.35')
        axes.set_yticks(range(len(best)), names)
        axes.invert_yaxis()
        axes.set(xlabel='score (%)', xlim=(0, 100))
        axes.spines[['top', 'right']].set_visible(False)
        top = int(best[0])
        sentence = f'{self._name(top)}, with {100 * scores[top]:.0f} %.'
        return sentence, render(figure)

    def _name(self, label: int) -> str:
        classes = self.network.classes
        return classes[label] if label < len(classes) else f'class {label}'


def show(view: View) -> np.ndarray:
    """Enlarge what the network sees, so that one can point at it."""
    return enlarge(view.sample.picture, _find_scale(view.sample.picture))


def enlarge(picture: np.ndarray, scale: int) -> np.ndarray:
    """Repeat the pixels of a picture (H, W) or (H, W, C)."""
    return picture.repeat(scale, 0).repeat(scale, 1)


def _find_scale(picture: np.ndarray) -> int:
    return max(1, SHOWN_SIDE // max(picture.shape[:2]))
