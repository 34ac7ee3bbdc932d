"""The DCT basis against scipy."""

import numpy as np
import pytest
import scipy.fft
import torch

from mmvheat.ops import dct_basis


@pytest.mark.parametrize('n', [1, 2, 3, 7, 8, 56, 200, 336, 1024])
def test_equals_scipy(n):
    expected = scipy.fft.dct(np.eye(n), axis=0, norm='ortho')
    basis = dct_basis(n, dtype=torch.float64).numpy()
    np.testing.assert_allclose(basis, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    [
        (torch.float32, 1e-6),
        (torch.float16, 2**-11),
        (torch.bfloat16, 2**-8),
    ],
)
def test_entries_are_as_exact_as_the_dtype(dtype, tolerance):
    # Large products of frequency and sample must not cost digits.
    n = 336
    expected = scipy.fft.dct(np.eye(n), axis=0, norm='ortho')
    basis = dct_basis(n, dtype=dtype)
    assert basis.dtype == dtype
    error = np.abs(basis.double().numpy() - expected).max()
    assert error <= tolerance * np.abs(expected).max()


def test_device_is_that_asked_for():
    assert dct_basis(4, device='meta').device.type == 'meta'
    with torch.device('meta'):
        assert dct_basis(4).device.type == 'meta'
