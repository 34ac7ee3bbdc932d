"""Images are measured, and refused, as OpenMMLab reads them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mmvheat.projects.images import probe


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'WEBP', 'TIFF', 'MPO'])
def test_turned_images_have_the_size_that_mmcv_sees(tmp_path, kind):
    exif = Image.Exif()
    exif[274] = 6  # the camera was held upright
    path = str(tmp_path / 'a.jpg')
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path, kind, exif=exif)
    height, width = LoadImageFromFile()(dict(img_path=path))['img'].shape[:2]
    assert probe(path).size == (width, height)


@pytest.mark.parametrize(
    ('kind', 'values'), [('GIF', np.uint8), ('TIFF', np.float32)]
)
def test_images_that_opencv_cannot_read_are_broken(tmp_path, kind, values):
    path = str(tmp_path / 'a.jpg')
    Image.fromarray(np.ones((48, 64), values)).save(path, kind)
    if cv2.imread(path) is not None:
        pytest.skip('this OpenCV can')
    assert kind in probe(path).fault


def test_a_file_that_is_no_image_is_told_alike_every_time(tmp_path):
    path = tmp_path / 'a.jpg'
    path.write_text('<html>not found</html>')
    assert probe(str(path)).fault == 'it is no image of a known format'
