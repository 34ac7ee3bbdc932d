"""Rods and volumes: the operator in one, three and four dimensions."""

import functools
import math

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import torch

from mmvheat.ops import conduct_heat, dct_basis, resize_freq_embed, transform

SIZES = [(9,), (1,), (4, 6), (3, 5, 4), (1, 7, 2), (2, 3, 2, 3)]


@pytest.fixture(autouse=True)
def both_states():
    """Pure functions have one state."""


def make_input(sizes, channels=3):
    generator = torch.Generator().manual_seed(len(sizes))
    x = torch.randn(2, *sizes, channels, generator=generator).double()
    k = torch.rand(*sizes, channels, generator=generator).double() * 3
    return x, k


def conduct_heat_slowly(x, k):
    axes = tuple(range(1, x.dim() - 1))
    squares = [(np.arange(n) * math.pi / n) ** 2 for n in k.shape[:-1]]
    s = functools.reduce(np.add.outer, squares)[..., None]
    spectrum = scipy.fft.dctn(x.numpy(), axes=axes, norm='ortho')
    spectrum *= np.exp(-k.numpy() * s)
    return torch.from_numpy(scipy.fft.idctn(spectrum, axes=axes, norm='ortho'))


@pytest.mark.parametrize('sizes', SIZES, ids=str)
def test_transform_equals_scipy(sizes):
    x, _ = make_input(sizes)
    bases = [dct_basis(n, dtype=torch.float64) for n in sizes]
    axes = tuple(range(1, len(sizes) + 1))
    expected = scipy.fft.dctn(x.numpy(), axes=axes, norm='ortho')
    # Some channels of more, as the block hands them over.
    padded = torch.cat([x, x], -1)
    for given in (x, padded[..., :3]):
        spectrum = transform(given, *bases)
        assert abs(spectrum.numpy() - expected).max() <= 1e-12
    back = transform(spectrum, *(basis.t() for basis in bases))
    torch.testing.assert_close(back, x)


@pytest.mark.parametrize('sizes', SIZES, ids=str)
def test_conduction_equals_scipy(sizes):
    x, k = make_input(sizes)
    error = conduct_heat(x + 7, k) - conduct_heat_slowly(x + 7, k)
    assert error.abs().max() <= 1e-11


@pytest.mark.parametrize('sizes', [(5,), (2, 3, 2)], ids=str)
def test_gradients_are_exact(sizes):
    x, k = make_input(sizes, channels=2)
    assert torch.autograd.gradcheck(
        conduct_heat, (x.requires_grad_(), k.requires_grad_())
    )


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('sizes', [(500,), (12, 20, 16)], ids=str)
def test_half_precision_keeps_the_signal(sizes, dtype):
    x, k = make_input(sizes)
    x = x.float() + 10
    with torch.autocast('cpu', dtype):
        u = conduct_heat(x, k.float())
    expected = conduct_heat_slowly(x.double(), k)
    signal = expected - expected.mean(tuple(range(1, x.dim() - 1)), True)
    assert u.dtype == torch.float32
    assert (u - expected).norm() <= 2e-2 * signal.norm()


@pytest.mark.parametrize(
    'sizes',
    [(9,), pytest.param((3, 5, 4), marks=pytest.mark.slow)],
    ids=str,
)
def test_programs_of_any_size_can_be_exported(sizes):
    class Conduct(torch.nn.Module):
        def forward(self, x, k):
            return conduct_heat(x, k)

    x, k = make_input(tuple(n + 2 for n in sizes))
    dims = [torch.export.Dim(f'n{i}', min=2, max=64) for i in range(x.dim())]
    program = torch.export.export(
        Conduct(),
        (x, k),
        dynamic_shapes=(
            dict(enumerate(dims[:-1])),
            dict(enumerate(dims[1:-1])),
        ),
    )
    x, k = make_input(sizes)
    got = program.module()(x, k)
    torch.testing.assert_close(got, conduct_heat_slowly(x, k))


@pytest.mark.parametrize(
    ('old', 'new'), [((6,), (9,)), ((3, 4, 5), (5, 4, 2)), ((4,), (1,))]
)
def test_embeddings_are_resized_axis_by_axis(old, new):
    x = torch.randn(*old, 2, dtype=torch.float64)
    padded = resize_freq_embed(x, new)
    common = tuple(slice(min(a, b)) for a, b in zip(old, new))
    assert padded.shape == (*new, 2)
    assert padded[common].equal(x[common])
    assert padded.sum() == pytest.approx(x[common].sum().item())

    expected = x
    for axis, (a, b) in enumerate(zip(old, new)):
        image = expected.movedim(axis, -1).reshape(1, 1, -1, a)
        # Along one axis of a picture as torch does it.
        image = torch.nn.functional.interpolate(
            image, size=(image.shape[2], b), mode='bicubic'
        )
        rest = [*expected.shape[:axis], *expected.shape[axis + 1 :]]
        expected = image.reshape(*rest, b).movedim(-1, axis)
    got = resize_freq_embed(x, new, mode='bicubic')
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize('shape', [(3, 4), (3, 4, 5, 2, 1), (2, 3, 4, 5)])
def test_volumes_and_images_do_not_mix(shape):
    with pytest.raises(ValueError, match='but got .* and .*'):
        conduct_heat(torch.ones(1, 3, 4, 5, 2), torch.ones(shape))
    with pytest.raises(ValueError, match=r'as many sizes .* \(7, 7\)'):
        resize_freq_embed(torch.ones(3, 4, 5, 2), (7, 7))
