"""Restorers that can be looked into, and what they did to an image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from mmengine.dataset import Compose
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from .layers import PictureError
from .networks import Network, Sample, read_image
from .style import new_figure, show_image, show_map

GRAY_LEVELS = 40
"""Differences of so many gray levels of 255, and more, are brightest."""

CAPTION = (
    'The difference is the mean over the channels, in gray levels of 255; '
    'PSNR and SSIM are those of the picture beside the clean one.'
)


@dataclass(frozen=True)
class Restoration:
    """What a restorer did, RGB uint8 of shape (H, W, 3).

    Attributes:
        degraded (np.ndarray): What it saw; in super-resolution it is smaller
            than the others.
        restored (np.ndarray): What it made of it.
        clean (np.ndarray, optional): What it should have made.
    """

    degraded: np.ndarray
    restored: np.ndarray
    clean: np.ndarray | None = None

    def measure(self) -> dict[str, str]:
        """Say how near the first two are to the clean image.

        Returns:
            dict[str, str]: Of ``degraded`` and ``restored`` PSNR and SSIM in
            words, where there is a clean image of their size.
        """
        from mmvheat.evaluation.image_quality import compute_psnr, compute_ssim

        found = {}
        for name in ('degraded', 'restored'):
            image = getattr(self, name)
            if self.clean is not None and image.shape == self.clean.shape:
                found[name] = f'{compute_psnr(image, self.clean):.2f} dB'
                if min(image.shape[:2]) >= 11:
                    ssim = compute_ssim(image, self.clean)
                    found[name] += f', SSIM {ssim:.3f}'
        return found


class Restorer(Network):
    """An ``ImageRestorer`` in evaluation mode."""

    backbone_name = 'network'

    @property
    def backbone(self) -> nn.Module:
        """nn.Module: The network that restores."""
        return self.model.network

    def prepare(
        self, image: str | np.ndarray, is_degraded: bool = False
    ) -> Sample:
        """Degrade an image as the config's test does.

        Args:
            image (str | np.ndarray): A file, or RGB uint8 of shape (H, W, 3).
            is_degraded (bool): Take it as it is. Defaults to False.

        Returns:
            Sample: What the network sees; its data sample has the clean image
            ``gt``, (C, H, W) in 0 to 255, unless ``is_degraded``.

        Raises:
            PictureError: If the file is no readable image, or the test has
                degraded images of its own.
        """
        steps = self._pipeline
        if is_degraded:
            steps = [steps[0], steps[-1]]  # load and pack
        elif len(steps) < 3:
            raise PictureError(
                'The test of this config has degraded images of its own and '
                'degrades none; give degraded images and say so.'
            )
        key = 'img' if is_degraded else 'gt'
        if isinstance(image, str):
            read_image(image)  # tells if it is none
            path = 'lq_path' if is_degraded else 'img_path'
            data = Compose(steps)({path: image})
        else:
            data = Compose(steps[1:])({key: self._convert(image)})
        batch = self.model.data_preprocessor(
            {name: [value] for name, value in data.items()}, False
        )
        picture = show_pixels(data['inputs'])
        return Sample(picture, batch['inputs'], batch['data_samples'])

    def normalize(self, picture: np.ndarray) -> Tensor:
        """Scale a picture, RGB uint8 (H, W, 3), to 0 to 1.

        Returns:
            Tensor: Shape (1, C, H, W), gray where the network is.
        """
        pixels = np.ascontiguousarray(
            self._convert(picture).transpose(2, 0, 1)
        )
        batch = dict(inputs=[torch.from_numpy(pixels)])
        return self.model.data_preprocessor(batch, False)['inputs']

    def predict(self, sample: Sample) -> BaseDataElement:
        """Restore; returns the data sample with ``pred``, as its ``gt``."""
        with torch.no_grad():
            (result,) = self.model(
                sample.inputs, sample.data_samples, mode='predict'
            )
        return result

    def restore(self, sample: Sample) -> Restoration:
        """Restore a sample."""
        result = self.predict(sample)
        clean = show_pixels(result.gt) if 'gt' in result else None
        return Restoration(sample.picture, show_pixels(result.pred), clean)

    @property
    def _pipeline(self) -> list:
        dataset = self.cfg.test_dataloader.dataset
        return dataset.get('datasets', [dataset])[0].pipeline

    def _convert(self, picture: np.ndarray) -> np.ndarray:
        """Give RGB (H, W, 3) the channels that the test reads."""
        from mmvheat.datasets.restoration_transforms import to_luma

        color = self._pipeline[0].get('color', 'rgb')
        if color == 'rgb':
            return picture
        if color == 'y':
            return to_luma(picture).round().astype(np.uint8)
        gray = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
        return gray[..., None]


def show_pixels(image: Tensor) -> np.ndarray:
    """Turn an image (C, H, W) in 0 to 255 into RGB uint8 (H, W, 3)."""
    picture = image.float().cpu().round().clamp(0, 255).byte()
    return picture.expand(3, -1, -1).permute(1, 2, 0).numpy()


def draw_restoration(restoration: Restoration) -> Figure:
    """Draw degraded, restored and clean image, and the difference.

    Returns:
        Figure: Four panels; three without a clean image, with the difference
        of the other two.
    """
    images = {
        name: image
        for name, image in vars(restoration).items()
        if image is not None
    }
    measured = restoration.measure()
    height, width = restoration.restored.shape[:2]
    columns = len(images) + 1
    # A strip of an image gets a panel of another shape around it.
    side = 3.2 * min(max(height / width, 0.3), 3)
    figure = new_figure(3.2 * columns + 0.6, side + 0.4)
    all_axes = figure.subplots(1, columns)
    for axes, (name, image) in zip(all_axes, images.items()):
        title = f'{name}: {measured[name]}' if name in measured else name
        show_image(axes, image, title)
    other = 'degraded' if restoration.clean is None else 'clean'
    axes = all_axes[-1]
    if images[other].shape == restoration.restored.shape:
        difference = restoration.restored.astype(float) - images[other]
        show_map(
            axes,
            np.abs(difference).mean(-1),
            f'|restored - {other}|',
            unit='gray levels',
            norm=Normalize(0, GRAY_LEVELS, clip=True),
        )
    else:
        axes.axis('off')
    return figure
