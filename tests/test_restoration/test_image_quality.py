"""PSNR and SSIM are scikit-image's, with the conventions of the field."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS

from mmvheat.evaluation.image_quality import prepare_image

metrics = pytest.importorskip('skimage.metrics')
color = pytest.importorskip('skimage.color')


@pytest.fixture
def pair(photograph) -> tuple[np.ndarray, np.ndarray]:
    """A restored image, float and out of range, and the clean one."""
    noise = np.random.default_rng(1).normal(0, 20, photograph.shape)
    return photograph + noise, photograph


def evaluate(kind: str, pairs: list, **options) -> dict:
    metric = METRICS.build(dict(type=kind, **options))
    samples = [
        dict(
            pred=torch.from_numpy(image).permute(2, 0, 1),
            gt=torch.from_numpy(clean).permute(2, 0, 1).float(),
            dataset_name=name,
        )
        for image, clean, name in pairs
    ]
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def round_off(image: np.ndarray) -> np.ndarray:
    return image.round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize('border', [0, 4])
def test_psnr_is_scikit_images(pair, border: int) -> None:
    image, clean = pair

    result = evaluate('PSNR', [(*pair, 'Set12')], crop_border=border)

    inside = np.s_[border : 67 - border, border : 90 - border]
    expected = metrics.peak_signal_noise_ratio(
        clean[inside], round_off(image)[inside], data_range=255
    )
    assert result == {'Set12/PSNR': pytest.approx(expected, rel=1e-9)}


@pytest.mark.parametrize('channels', [1, 3])
def test_ssim_is_scikit_images(pair, channels: int) -> None:
    image, clean = (value[..., :channels] for value in pair)

    result = evaluate('SSIM', [(image, clean, 'Set12')])

    expected = metrics.structural_similarity(
        clean,
        round_off(image),
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=-1,
    )
    assert result['Set12/SSIM'] == pytest.approx(expected, rel=1e-6)


def test_color_can_be_measured_on_the_luma(pair) -> None:
    image, clean = pair

    result = evaluate('PSNR', [(*pair, 'LIVE1')], luma=True)

    expected = metrics.peak_signal_noise_ratio(
        color.rgb2ycbcr(clean)[..., 0],
        color.rgb2ycbcr(round_off(image))[..., 0],
        data_range=255,
    )
    assert result['LIVE1/PSNR'] == pytest.approx(expected, rel=1e-6)


def test_every_data_set_has_its_mean(photograph) -> None:
    def shifted(by: float) -> np.ndarray:
        return np.full((20, 20, 1), 100.0) + by

    clean = np.full((20, 20, 1), 100, np.uint8)

    result = evaluate(
        'PSNR',
        [
            *((shifted(1), clean, 'a'), (shifted(10), clean, 'a')),
            (shifted(100), clean, 'b'),
        ],
    )

    peak = 20 * np.log10(255)
    assert result == pytest.approx({'a/PSNR': peak - 10, 'b/PSNR': peak - 40})


def test_equal_images_are_perfect(photograph) -> None:
    pairs = [(photograph.astype(float), photograph, 'x')]

    assert evaluate('SSIM', pairs)['x/SSIM'] == pytest.approx(1)
    assert evaluate('PSNR', pairs)['x/PSNR'] == np.inf


def test_small_images_have_no_ssim() -> None:
    image = np.zeros((30, 10, 1), np.uint8)

    with pytest.raises(ValueError, match='at least 11x11 .* one of 10x30'):
        evaluate('SSIM', [(image.astype(float), image, 'x')])


def test_gray_has_no_other_luma(photograph) -> None:
    gray = torch.rand(1, 8, 9) * 255

    image = prepare_image(gray, luma=True)

    np.testing.assert_array_equal(image[..., 0], gray[0].round().numpy())
