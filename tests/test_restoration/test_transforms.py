"""Degradations are those that the field measures with."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS

import mmvheat.datasets.restoration  # noqa: F401


def run(kind: str, data: dict, **options) -> dict:
    return TRANSFORMS.build(dict(type=kind, **options))(data)


def test_noise_has_its_sigma_and_is_not_clipped() -> None:
    clean = np.full((200, 300, 1), 250, np.uint8)

    noisy = run('AddGaussianNoise', dict(gt=clean), sigma=25)['img']

    noise = noisy - 250.0
    assert noise.std() == pytest.approx(25, rel=0.01)
    assert abs(noise.mean()) < 0.3
    assert noisy.max() > 300


def test_a_seed_gives_the_noise_of_the_published_tests() -> None:
    clean = np.zeros((20, 30, 1), np.uint8)
    step = dict(sigma=15, seed=0)

    one = run('AddGaussianNoise', dict(gt=clean), **step)['img']

    np.random.seed(0)
    expected = np.random.normal(0, 15, clean.shape)
    np.testing.assert_allclose(one, expected, rtol=1e-6)


@pytest.mark.parametrize('channels', [1, 3])
def test_jpeg_is_opencvs(photograph, channels: int) -> None:
    clean = photograph[..., :channels]

    result = run('CompressJPEG', dict(gt=clean), quality=10)['img']

    options = [cv2.IMWRITE_JPEG_QUALITY, 10]
    _, data = cv2.imencode('.jpg', clean[..., ::-1].copy(), options)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(result, decoded[..., :channels])
    error = np.abs(result.astype(int) - clean)
    assert 1 < error.mean() < 12


@pytest.mark.parametrize('scale', [2, 4])
def test_shrinking_is_that_of_imresize(photograph, scale: int) -> None:
    result = run('ShrinkBicubic', dict(gt=photograph), scale=scale)

    height, width = (n // scale for n in photograph.shape[:2])
    clean = photograph[: height * scale, : width * scale]
    np.testing.assert_array_equal(result['gt'], clean)
    expected = clean.astype(float)
    for axis, size in ((0, height), (1, width)):
        weights = cubic_weights(size, scale)
        expected = np.moveaxis(
            np.tensordot(weights, expected, (1, axis)), 0, axis
        )
    inside = np.s_[3:-3, 3:-3]
    difference = np.abs(result['img'] - expected.clip(0, 255))[inside]
    assert difference.max() <= 1.5  # both passes are rounded


def cubic_weights(size: int, scale: int) -> np.ndarray:
    """MATLAB's: Keys' cubic, a = -0.5, as wide as the factor."""
    centers = (np.arange(size) + 0.5) * scale - 0.5
    x = np.abs(centers[:, None] - np.arange(size * scale)) / scale
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x <= 1, near, np.where(x <= 2, far, 0))
    return weights / weights.sum(1, keepdims=True)


def test_a_patch_is_one_place_of_both_images() -> None:
    small = np.arange(12 * 15).reshape(12, 15, 1)
    large = small.repeat(2, 0).repeat(2, 1)
    seen = set()
    for _ in range(60):
        data = run('RandomPatch', dict(gt=large, img=small), size=5, scale=2)
        patch = data['img'][..., 0]
        np.testing.assert_array_equal(
            data['gt'][..., 0], patch.repeat(2, 0).repeat(2, 1)
        )
        steps = patch[0, 1] - patch[0, 0], patch[1, 0] - patch[0, 0]
        seen.add(steps)
    # All symmetries of the square, and no other.
    symmetries = {(i, 15 * j) for i in (1, -1) for j in (1, -1)}
    assert seen == symmetries | {(b, a) for a, b in symmetries}


def test_a_patch_of_a_clean_image_is_degraded_later() -> None:
    clean = np.zeros((40, 40, 3), np.uint8)

    data = run('RandomPatch', dict(gt=clean), size=8, scale=4)

    assert data['gt'].shape == (32, 32, 3)
    with pytest.raises(ValueError, match='smaller than a patch of 44'):
        run('RandomPatch', dict(gt=clean), size=11, scale=4)


def test_photographs_are_read_in_three_ways(tmp_path, photograph) -> None:
    color = pytest.importorskip('skimage.color')
    path = str(tmp_path / 'x.png')
    cv2.imwrite(path, photograph[..., ::-1])

    def read(**options) -> np.ndarray:
        return run('LoadPhotograph', dict(img_path=path), **options)['gt']

    np.testing.assert_array_equal(read(), photograph)
    gray = cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY)
    # A decoder rounds in its own way.
    np.testing.assert_allclose(read(color='gray')[..., 0], gray, atol=1.01)
    luma = color.rgb2ycbcr(photograph)[..., 0].round()
    np.testing.assert_array_equal(read(color='y')[..., 0], luma)
    cv2.imwrite(path, gray)
    np.testing.assert_array_equal(read(color='y')[..., 0], gray)
    # Sixteen bits and an alpha channel are left out, whatever is asked for.
    for deep in (gray.astype(np.uint16) * 257, photograph[..., ::-1]):
        if deep.ndim == 3:
            alpha = np.full((*deep.shape[:2], 1), 9, np.uint8)
            deep = np.concatenate([deep, alpha], -1)
        cv2.imwrite(path, deep)
        images = {c: read(color=c) for c in ('rgb', 'gray', 'y')}
        assert {image.dtype for image in images.values()} == {gray.dtype}
        assert [i.shape[2] for i in images.values()] == [3, 1, 1]
        expected = luma if deep.ndim == 3 else gray
        np.testing.assert_array_equal(images['y'][..., 0], expected)


def test_kept_photographs_are_read_once(tmp_path, photograph) -> None:
    path = tmp_path / 'x.png'
    cv2.imwrite(str(path), photograph)
    step = TRANSFORMS.build(dict(type='LoadPhotograph', keep=True))
    first = step(dict(img_path=str(path)))['gt']
    path.unlink()

    assert step(dict(img_path=str(path)))['gt'] is first


def test_packs_channels_first() -> None:
    data = dict(
        gt=np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
        img=np.ones((2, 4, 3), np.float32),
        img_path='a.png',
        dataset_name='Set12',
    )

    packed = run('PackRestoration', data)

    assert packed['inputs'].shape == (3, 2, 4)
    sample = packed['data_samples']
    assert sample.gt[1, 0].tolist() == [1, 4, 7, 10]
    assert (sample.img_path, sample.dataset_name) == ('a.png', 'Set12')
