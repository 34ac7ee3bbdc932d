"""Resizing of frequency value embeddings against slow oracles."""

import math

import pytest
import torch

from mmvheat.ops import resize_freq_embed


def cubic_kernel(distance, a=-0.75):
    """Keys' convolution kernel."""
    s = abs(distance)
    if s <= 1:
        return (a + 2) * s**3 - (a + 3) * s**2 + 1
    if s < 2:
        return a * (s**3 - 5 * s**2 + 8 * s - 4)
    return 0.0


def interpolation_matrix(new, old):
    """Weights of ``old`` samples for ``new`` ones, pixel centres at .5."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        centre = (i + 0.5) * old / new - 0.5
        first = math.floor(centre) - 1
        for j in range(first, first + 4):
            border = min(max(j, 0), old - 1)
            matrix[i, border] += cubic_kernel(centre - j)
    return matrix


def interpolate_slowly(freq_embed, size):
    rows = interpolation_matrix(size[0], freq_embed.shape[0])
    columns = interpolation_matrix(size[1], freq_embed.shape[1])
    return torch.einsum('nh,mw,hwc->nmc', rows, columns, freq_embed.double())


GRIDS = [
    ((14, 14), (50, 84)),
    ((16, 16), (7, 5)),
    ((7, 7), (1, 9)),
    ((5, 6), (5, 7)),
    ((1, 3), (4, 1)),
    ((8, 8), (8, 8)),
]


@pytest.mark.parametrize(('old', 'new'), GRIDS)
def test_bicubic_equals_the_cubic_convolution(old, new):
    freq_embed = torch.randn(*old, 3, dtype=torch.float64)
    expected = interpolate_slowly(freq_embed, new)
    resized = resize_freq_embed(freq_embed, new, mode='bicubic')
    torch.testing.assert_close(resized, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_bicubic_is_in_single_precision_under_autocast(dtype):
    freq_embed = torch.randn(16, 16, 4).to(dtype)
    with torch.autocast('cpu', torch.bfloat16):
        resized = resize_freq_embed(freq_embed, (25, 42), mode='bicubic')
    expected = interpolate_slowly(freq_embed, (25, 42)).to(dtype)
    assert resized.dtype == dtype
    # torch's bicubic weights in single precision are good to about 4e-6.
    error = max(1e-5, torch.finfo(dtype).eps * expected.abs().max().item())
    torch.testing.assert_close(resized, expected, rtol=0, atol=error)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_bicubic_keeps_dtype_and_rounds_once(dtype):
    freq_embed = torch.randn(16, 16, 4).to(dtype)
    resized = resize_freq_embed(freq_embed, (25, 42), mode='bicubic')
    assert resized.dtype == dtype
    torch.testing.assert_close(
        resized,
        interpolate_slowly(freq_embed, (25, 42)).to(dtype),
        rtol=torch.finfo(dtype).eps,
        atol=1e-5,
    )


def test_pad_equals_the_official_converter(official_run):
    for i, padded in enumerate(official_run.expected['padded_freq_embed']):
        freq_embed = official_run.weights[f'freq_embed.{i}']
        resized = resize_freq_embed(freq_embed, padded.shape[:2], mode='pad')
        assert resized.equal(padded)


def test_pad_keeps_the_frequency_index():
    freq_embed = torch.randn(3, 5, 2)
    resized = resize_freq_embed(freq_embed, (4, 2), mode='pad')
    assert resized.shape == (4, 2, 2)
    assert resized[:3].equal(freq_embed[:, :2])
    assert not resized[3].any()


def test_pad_and_crop_are_inverse():
    freq_embed = torch.randn(6, 7, 3)
    padded = resize_freq_embed(freq_embed, (9, 20))
    assert resize_freq_embed(padded, (6, 7)).equal(freq_embed)


@pytest.mark.parametrize('mode', ['pad', 'bicubic'])
def test_gradient_reaches_the_embedding(mode):
    freq_embed = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda f: resize_freq_embed(f, (5, 3), mode), (freq_embed,)
    )


def test_bad_arguments_are_named():
    freq_embed = torch.ones(2, 2, 1)
    with pytest.raises(ValueError, match="'pad' or 'bicubic', .* 'nearest'"):
        resize_freq_embed(freq_embed, (3, 3), mode='nearest')
    with pytest.raises(ValueError, match=r'\(H, W, C\), .* \(2, 2\)'):
        resize_freq_embed(freq_embed[..., 0], (3, 3))
