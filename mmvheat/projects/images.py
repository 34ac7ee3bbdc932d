"""Open every image once: its size, its hash, whether it is whole."""

from __future__ import annotations

import hashlib
import io
import os
from typing import NamedTuple

from tqdm import tqdm
from tqdm.contrib.concurrent import thread_map

from .records import DataSet

_ORIENTATION = 274  # the EXIF tag
_ALIKE = ('JPEG', 'MPO', 'PNG', 'BMP')  # that OpenCV reads like Pillow
_TURNED = (5, 6, 7, 8)  # its values that swap width and height


class Probe(NamedTuple):
    """What a file turned out to be."""

    size: tuple[int, int] = (0, 0)  # width and height as mmcv reads the image
    digest: str = ''  # hash of its bytes
    fault: str = ''  # why it cannot be read, or ''
    turned: bool = False  # whether a camera's orientation swaps the sides


def probe(path: str) -> Probe:
    """Read an image to its end."""
    from PIL import Image

    try:
        with open(path, 'rb') as file:
            content = file.read()
        with Image.open(io.BytesIO(content)) as image:
            turned = image.getexif().get(_ORIENTATION) in _TURNED
            size = image.size[::-1] if turned else image.size
            # A JPEG is read to its end, but at an eighth of its size.
            image.draft('RGB', (1, 1))
            image.load()
            if image.format not in _ALIKE:
                size, turned = _size_of_opencv(content, image.format), False
    except Exception as error:  # Pillow raises a dozen kinds
        return Probe(fault=name_fault(error, path))
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return Probe(size, digest, '', turned)


def name_fault(error: Exception, path: str) -> str:
    """Why a file cannot be read as an image, in one line."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return 'it is no image of a known format'  # Pillow names an object
    reason = ' '.join(str(error).split()) or type(error).__name__
    return reason.replace(path, 'the file')


def _size_of_opencv(content: bytes, kind: str) -> tuple[int, int]:
    """Width and height of an image that mmcv may read unlike Pillow.

    Raises:
        ValueError: It cannot read it.
    """
    import mmcv

    pixels = mmcv.imfrombytes(content)
    if pixels is None:
        raise ValueError(f'OpenCV cannot read it, a file of {kind}')
    return pixels.shape[1::-1]


def _probe_all(paths: list[str]) -> list[Probe]:
    """Probe files in threads; links to one file are read once."""
    keys = []
    for path in paths:
        try:
            status = os.stat(path)
            keys.append((status.st_dev, status.st_ino))
        except OSError:
            keys.append(path)
    first = dict(zip(reversed(keys), reversed(paths)))
    probes = thread_map(
        probe,
        first.values(),
        tqdm_class=tqdm,
        max_workers=os.cpu_count(),
        desc='images',
        unit='image',
        disable=None,  # where nobody sees it
        mininterval=0.5,
    )
    found = dict(zip(first, probes))
    return [found[key] for key in keys]


def check_images(data: DataSet) -> None:
    """Fill in sizes and hashes, and leave out images that are broken.

    Sizes that the labels name are compared with those of the images.
    """
    paths = [os.path.join(data.root, s.path) for s in data.samples]
    whole = []
    for sample, found in zip(data.samples, _probe_all(paths)):
        if found.fault:
            data.findings.add('broken image', sample.path, found.fault)
            continue
        if all(sample.size) and tuple(sample.size) != found.size:
            listed, size = (
                'x'.join(map(str, s)) for s in (sample.size, found.size)
            )
            data.findings.add(
                'size that is not of the image',
                sample.place,
                f'{listed} for {sample.path}, which has {size}',
                'the size of the image counts; look whether the labels fit',
            )
        sample.size, sample.digest = found.size, found.digest
        if found.turned:
            data.findings.add(
                'image turned by its camera',
                sample.path,
                'its EXIF orientation swaps width and height',
                'read as OpenMMLab reads it: turned',
            )
        whole.append(sample)
    data.samples = whole
