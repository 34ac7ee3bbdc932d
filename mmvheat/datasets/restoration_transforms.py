"""Transforms of restoration: load, cut, degrade, pack.

The clean image is ``gt``, the degraded one ``img``; both are (H, W, C),
RGB or gray, in 0 to 255. Random numbers are numpy's, which the run seeds.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from mmengine.structures import BaseDataElement
from PIL import Image

# All of them give eight bits, without an alpha channel, turned by EXIF.
_FLAGS = dict(
    rgb=cv2.IMREAD_COLOR, gray=cv2.IMREAD_GRAYSCALE, y=cv2.IMREAD_ANYCOLOR
)


def to_luma(image: np.ndarray) -> np.ndarray:
    """Compute the luma Y of BT.601 as MATLAB does, 16 to 235.

    Args:
        image (np.ndarray): RGB in 0 to 255, (H, W, 3).

    Returns:
        np.ndarray: (H, W, 1) float, not rounded.
    """
    weights = np.array([65.481, 128.553, 24.966]) / 255
    return image @ weights[:, None] + 16


@TRANSFORMS.register_module()
class LoadPhotograph(BaseTransform):
    """Read ``gt`` and, of a pair, ``img``.

    Args:
        color (str): 'rgb'; 'gray', as OpenCV converts it while reading; or
            'y', the luma of BT.601 in 16 to 235 of a color image, and a gray
            one as it is (the field's way to JPEG artefacts).
            Defaults to 'rgb'.
        keep (bool): Keep what was read in memory: for few photographs that
            are cut again and again. Defaults to False.
    """

    def __init__(self, color: str = 'rgb', keep: bool = False) -> None:
        if color not in _FLAGS:
            raise ValueError(
                f'color must be one of {", ".join(_FLAGS)}, not {color!r}'
            )
        self.color = color
        self.kept = {} if keep else None

    def transform(self, results: dict) -> dict:
        """Read them; a file that is no image raises ``ValueError``."""
        for key, path in (('gt', 'img_path'), ('img', 'lq_path')):
            if path in results:
                results[key] = self.read(results[path])
        return results

    def read(self, path: str) -> np.ndarray:
        """Read (H, W, C) uint8."""
        if self.kept is not None and path in self.kept:
            return self.kept[path]
        image = cv2.imread(path, _FLAGS[self.color])
        if image is None:
            raise ValueError(f'{path} cannot be read as an image')
        if image.ndim == 2:
            image = image[..., None]
        else:
            image = image[..., ::-1]
            if self.color == 'y':
                image = to_luma(image).round().astype(np.uint8)
        if self.kept is not None:
            self.kept[path] = image
        return image


@TRANSFORMS.register_module()
class RandomPatch(BaseTransform):
    """Cut the same random square from ``gt`` and ``img``.

    Args:
        size (int): Side in pixels of the degraded image.
        scale (int): Side of a clean pixel in degraded ones. Defaults to 1.
        flip (bool): Mirror and turn it by a random symmetry of the square.
            Defaults to True.
    """

    def __init__(self, size: int, scale: int = 1, flip: bool = True) -> None:
        self.size, self.scale, self.flip = size, scale, flip

    def transform(self, results: dict) -> dict:
        """Cut; a smaller image raises ``ValueError``."""
        scale = self.scale if 'img' in results else 1
        size = self.size if 'img' in results else self.size * self.scale
        small = results.get('img', results['gt'])
        if min(small.shape[:2]) < size:
            raise ValueError(
                f'{results.get("img_path")} is {small.shape[1]}x'
                f'{small.shape[0]}, smaller than a patch of {size} pixels'
            )
        y, x = (np.random.randint(n - size + 1) for n in small.shape[:2])
        turns = np.random.randint(4) if self.flip else 0
        mirror = self.flip and np.random.randint(2)
        for key, s in (('gt', scale), ('img', 1)):
            if key in results:
                patch = results[key][y * s :, x * s :][: size * s, : size * s]
                patch = np.rot90(patch, turns)
                results[key] = patch[:, ::-1] if mirror else patch
        return results


@TRANSFORMS.register_module()
class AddGaussianNoise(BaseTransform):
    """Make ``img`` by white Gaussian noise, not clipped, as in the field.

    Args:
        sigma (float): Standard deviation, at images in 0 to 255.
        seed (int, optional): Of the noise, which is then the same in every
            image of a size: for tests. Defaults to None.
    """

    def __init__(self, sigma: float, seed: int | None = None) -> None:
        self.sigma, self.seed = sigma, seed

    def transform(self, results: dict) -> dict:
        """Add noise to ``gt``."""
        source = np.random
        if self.seed is not None:
            source = np.random.RandomState(self.seed)
        noise = source.standard_normal(results['gt'].shape) * self.sigma
        results['img'] = (results['gt'] + noise).astype(np.float32)
        return results


@TRANSFORMS.register_module()
class CompressJPEG(BaseTransform):
    """Make ``img`` by JPEG compression with OpenCV's encoder.

    Args:
        quality (int): From 1 to 100.
    """

    def __init__(self, quality: int) -> None:
        self.quality = quality

    def transform(self, results: dict) -> dict:
        """Compress ``gt``."""
        gt = np.ascontiguousarray(results['gt'][..., ::-1])  # BGR, or gray
        options = [cv2.IMWRITE_JPEG_QUALITY, self.quality]
        _, data = cv2.imencode('.jpg', gt, options)
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        results['img'] = np.atleast_3d(image)[..., ::-1]
        return results


@TRANSFORMS.register_module()
class ShrinkBicubic(BaseTransform):
    """Make ``img`` by bicubic shrinking that filters first, by Pillow.

    It has the kernel of MATLAB's ``imresize`` (a = -0.5, as wide as the
    factor), which published figures use; borders and rounding differ.
    ``gt`` is cut to a multiple of the factor.

    Args:
        scale (int): The factor.
    """

    def __init__(self, scale: int) -> None:
        self.scale = scale

    def transform(self, results: dict) -> dict:
        """Shrink ``gt``."""
        height, width = (n // self.scale for n in results['gt'].shape[:2])
        gt = results['gt'][: height * self.scale, : width * self.scale]
        planes = [
            Image.fromarray(np.ascontiguousarray(plane)).resize(
                (width, height), Image.Resampling.BICUBIC
            )
            for plane in np.moveaxis(gt, -1, 0)
        ]
        results['gt'] = gt
        results['img'] = np.stack([np.asarray(p) for p in planes], -1)
        return results


@TRANSFORMS.register_module()
class PackRestoration(BaseTransform):
    """Pack what :class:`mmvheat.models.ImageRestorer` takes."""

    def transform(self, results: dict) -> dict:
        """Give ``inputs`` (C, H, W) and a data sample, with ``gt`` if any."""
        sample = BaseDataElement(
            metainfo={
                key: results[key]
                for key in ('img_path', 'lq_path', 'dataset_name')
                if key in results
            }
        )
        if 'gt' in results:
            sample.set_data(dict(gt=_to_tensor(results['gt']).float()))
        return dict(inputs=_to_tensor(results['img']), data_samples=sample)


def _to_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)))
