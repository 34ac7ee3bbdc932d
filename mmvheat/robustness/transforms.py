"""What is done to the images: corruptions and filters, the same each time."""

from __future__ import annotations

import os.path as osp
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from mmengine.registry import TRANSFORMS

from mmvheat.errors import UserError

CORRUPTIONS = {
    'noise': ('gaussian_noise', 'shot_noise', 'impulse_noise'),
    'blur': ('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'),
    'weather': ('snow', 'frost', 'fog', 'brightness'),
    'digital': (
        'contrast',
        'elastic_transform',
        'pixelate',
        'jpeg_compression',
    ),
    'extra': ('speckle_noise', 'gaussian_blur', 'spatter', 'saturate'),
}
"""Those of ImageNet-C by group. Published means leave ``extra`` out."""

BENCHMARK = tuple(
    n
    for group, names in CORRUPTIONS.items()
    if group != 'extra'
    for n in names
)
SEVERITIES = (1, 2, 3, 4, 5)
FILTERS = ('low_pass', 'high_pass')

_OWN_SEED = ('impulse_noise', 'glass_blur')  # blind to numpy's


def check_corruptions_package() -> None:
    """Check that images can be corrupted here.

    Raises:
        UserError: The package is missing.
    """
    try:
        import imagecorruptions  # noqa: F401
    except ImportError as error:
        raise UserError(
            'Corruptions need the package imagecorruptions-imaug, which does '
            f"not import ({error}); run pip install 'mmvheat[robust]', or "
            'without touching OpenCV: pip install --no-deps '
            'imagecorruptions-imaug numba llvmlite scikit-image imageio '
            'lazy-loader tifffile.'
        ) from error


@TRANSFORMS.register_module()
class CorruptImage:
    """Corrupt an image as ImageNet-C does, by ``imagecorruptions``.

    mmdet's ``Corrupt`` with two differences. The noise follows from the name
    of the file alone, so that every model, rank and resumed run sees the same
    pixels; and colours are handed over as RGB, which the package expects. A
    gray image becomes what a corrupted colour image is when read as gray.

    Args:
        corruption (str): A name in :data:`CORRUPTIONS`.
        severity (int): From 1 to 5.
    """

    def __init__(self, corruption: str, severity: int) -> None:
        self.corruption = corruption
        self.severity = severity

    def __call__(self, results: dict) -> dict:
        """Replace ``results['img']``, BGR (H, W, 3) or gray (H, W)."""
        from imagecorruptions import corrupt

        image = results['img'].astype(np.uint8)
        is_gray = image.ndim == 2
        if is_gray:
            image = image[..., None].repeat(3, -1)
        if min(image.shape[:2]) < 32:
            raise UserError(
                f'{results.get("img_path")} has {image.shape[1]}x'
                f'{image.shape[0]} pixels where it is corrupted, but '
                'corruptions need 32 or more per side; leave it out.'
            )
        name = osp.basename(results.get('img_path', ''))
        seed = zlib.crc32(f'{name} {self.corruption}'.encode())
        options = {'seed': seed} if self.corruption in _OWN_SEED else {}
        with _numpy_seed(seed):
            image = corrupt(
                np.ascontiguousarray(image[..., ::-1]),
                severity=self.severity,
                corruption_name=self.corruption,
                **options,
            )
        if is_gray:
            results['img'] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        else:
            results['img'] = np.ascontiguousarray(image[..., ::-1])
        return results


@contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


@TRANSFORMS.register_module()
class FilterFrequencies:
    """Keep the low or the high spatial frequencies of an image.

    Args:
        kind (str): ``'low_pass'`` keeps frequencies up to ``radius``,
            ``'high_pass'`` those above it and the mean colour.
        radius (float): In cycles along the shorter side of the image.
    """

    def __init__(self, kind: str, radius: float) -> None:
        if kind not in FILTERS:
            raise ValueError(f'Unknown filter {kind!r}, expected {FILTERS}.')
        self.kind = kind
        self.radius = radius

    def __call__(self, results: dict) -> dict:
        """Replace ``results['img']``, (H, W, C) or (H, W), 0 to 255."""
        image = results['img']
        height, width = image.shape[:2]
        cycles = np.hypot(
            np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
        ) * min(height, width)
        keep = (cycles <= self.radius) == (self.kind == 'low_pass')
        keep[0, 0] = True
        keep = keep.reshape(keep.shape + (1,) * (image.ndim - 2))
        spectrum = np.fft.rfft2(image, axes=(0, 1)) * keep
        image = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
        results['img'] = image.round().clip(0, 255).astype(np.uint8)
        return results


@TRANSFORMS.register_module()
class CropBorder:
    """Cut a border off, such as the red line around images of ObjectNet.

    Args:
        width (int): In pixels.
    """

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self, results: dict) -> dict:
        """Replace ``results['img']`` (H, W, C) and its shape."""
        inside = slice(self.width, -self.width)
        results['img'] = results['img'][inside, inside]
        results['img_shape'] = results['img'].shape[:2]
        return results
