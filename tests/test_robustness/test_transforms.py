"""Images are changed as said, the same way each time."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from mmvheat.errors import UserError
from mmvheat.robustness import CorruptImage, CropBorder, FilterFrequencies
from mmvheat.robustness.transforms import (
    BENCHMARK,
    CORRUPTIONS,
    check_corruptions_package,
)


def make_wave(cycles: int, across: bool, size=(48, 64)) -> np.ndarray:
    """A cosine of whole cycles around grey, (H, W, 3)."""
    axis = int(across)
    phase = 2 * np.pi * cycles * np.arange(size[axis]) / size[axis]
    wave = np.expand_dims(np.cos(phase), 1 - axis)
    plane = np.broadcast_to(128 + 100 * wave, size)
    return np.repeat(plane.round().astype(np.uint8)[..., None], 3, -1)


def apply(transform, image: np.ndarray, path: str = 'a/b.jpg') -> np.ndarray:
    return transform(dict(img=image.copy(), img_path=path))['img']


@pytest.mark.parametrize(
    ('cycles', 'across', 'radius'),
    # 48 rows, 64 columns: 8 cycles across are 6 along the shorter side
    [(6, False, 6), (8, True, 6)],
)
def test_a_cosine_passes_up_to_its_own_frequency(
    cycles: int, across: bool, radius: int
) -> None:
    wave = make_wave(cycles, across)
    grey = np.full_like(wave, round(wave.mean()))

    def near(image: np.ndarray) -> int:
        return np.abs(image.astype(int) - wave).max()

    assert near(apply(FilterFrequencies('low_pass', radius), wave)) <= 1
    assert near(apply(FilterFrequencies('high_pass', radius - 1), wave)) <= 1
    for kind, other in (('low_pass', radius - 1), ('high_pass', radius)):
        filtered = apply(FilterFrequencies(kind, other), wave)
        assert np.abs(filtered.astype(int) - grey).max() <= 1


def test_low_and_high_frequencies_make_the_image() -> None:
    image = np.random.default_rng(0).integers(
        100, 156, (33, 40, 3), dtype=np.uint8
    )
    low = apply(FilterFrequencies('low_pass', 7), image).astype(float)
    high = apply(FilterFrequencies('high_pass', 7), image).astype(float)

    both = low + high - image.mean((0, 1))
    assert np.abs(both - image).max() <= 1


@pytest.mark.parametrize('size', [(28, 28), (15, 28)])
@pytest.mark.parametrize('kind', ['low_pass', 'high_pass'])
def test_a_gray_image_is_filtered_as_one_of_colours(kind, size) -> None:
    gray = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    colours = apply(FilterFrequencies(kind, 5), np.stack([gray] * 3, -1))

    assert (apply(FilterFrequencies(kind, 5), gray) == colours[..., 0]).all()


def test_an_unknown_filter_is_named() -> None:
    with pytest.raises(ValueError, match="'band'"):
        FilterFrequencies('band', 3)


def test_the_border_goes() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image[2:-2, 2:-2] = 9
    results = CropBorder(2)(dict(img=image))

    assert results['img_shape'] == (16, 26)
    assert (results['img'] == 9).all()


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for imagecorruptions: red doubles, and noise on all."""

    def corrupt(image, severity, corruption_name, seed=None):
        noise = np.random.default_rng(seed) if seed else np.random
        noise = noise.normal(size=image.shape) * severity
        image = image * np.array([2, 1, 1]) + 50 + noise
        return image.clip(0, 255).astype(np.uint8)

    monkeypatch.setitem(
        sys.modules, 'imagecorruptions', SimpleNamespace(corrupt=corrupt)
    )


@pytest.mark.parametrize('name', ['gaussian_noise', 'glass_blur'])
def test_the_pixels_follow_from_the_name_of_the_file(package, name) -> None:
    image = np.full((32, 40, 3), 60, np.uint8)
    transform = CorruptImage(name, 3)
    np.random.seed(1)
    first = apply(transform, image)
    np.random.seed(2)
    before = np.random.get_state()[1].copy()

    assert (apply(transform, image, 'elsewhere/b.jpg') == first).all()
    assert (apply(transform, image, 'a/c.jpg') != first).any()
    # the stream that others draw from is where it was
    assert (np.random.get_state()[1] == before).all()


def test_the_package_sees_rgb(package) -> None:
    image = np.full((32, 32, 3), 60, np.uint8)
    blue, green, red = apply(CorruptImage('fog', 1), image).mean((0, 1))

    assert abs(blue - 110) < 2 and abs(green - 110) < 2 and abs(red - 170) < 2


def test_a_gray_image_stays_gray_and_is_not_mirrored(package) -> None:
    image = np.tile(np.arange(40, dtype=np.uint8), (32, 1))
    # the weight of red is 0.299: x becomes 1.299 x + 50
    expected = 1.299 * image + 50
    found = apply(CorruptImage('fog', 1), image)

    assert found.shape == image.shape and found.dtype == np.uint8
    assert np.abs(found.mean(0) - expected.mean(0)).max() < 2


def test_a_small_image_is_named(package) -> None:
    with pytest.raises(UserError, match=r'a/b\.jpg has 40x31 pixels'):
        apply(CorruptImage('fog', 1), np.zeros((31, 40, 3), np.uint8))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'imagecorruptions', None)

    with pytest.raises(UserError, match=r"pip install 'mmvheat\[robust\]'"):
        check_corruptions_package()


@pytest.mark.slow
def test_names_and_pixels_are_those_of_the_package() -> None:
    package = pytest.importorskip('imagecorruptions')
    every = [name for names in CORRUPTIONS.values() for name in names]
    image = np.random.default_rng(0).integers(
        0, 255, (48, 64, 3), dtype=np.uint8
    )

    assert list(BENCHMARK) == package.get_corruption_names('common')
    assert every == package.get_corruption_names('all')
    for name in every:
        ours = apply(CorruptImage(name, 4), image)
        assert (apply(CorruptImage(name, 4), image) == ours).all(), name
        assert (ours != image).any(), name
    # what draws nothing is the same whoever calls it
    for name in ('defocus_blur', 'contrast', 'pixelate', 'saturate'):
        theirs = package.corrupt(
            image[..., ::-1].copy(), severity=4, corruption_name=name
        )
        ours = apply(CorruptImage(name, 4), image)
        assert (ours[..., ::-1] == theirs).all(), name
