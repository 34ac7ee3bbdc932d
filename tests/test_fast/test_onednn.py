"""Products by oneDNN against those of numpy in double precision."""

import copy

import numpy as np
import pytest
import torch

from mmvheat import fast
from mmvheat.fast import onednn

pytestmark = [
    pytest.mark.skipif(
        not torch.backends.mkldnn.is_available()
        or not hasattr(torch.ops.mkldnn, '_linear_pointwise'),
        reason='this torch has no oneDNN',
    ),
    pytest.mark.filterwarnings('ignore:TF32 acceleration'),
]


@pytest.fixture
def on_any_processor(monkeypatch):
    """Take oneDNN also where it is slower."""
    monkeypatch.setattr(onednn, '_is_available', lambda: True)


def make(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator)


def assert_near(got, expected):
    """Compare with a result in double precision, relative to its scale."""
    assert got.dtype == torch.float32
    error = (got.double() - expected).abs().max()
    assert error <= 2e-5 * expected.abs().max()


@pytest.mark.parametrize('with_bias', [False, True])
@pytest.mark.parametrize('shape', [(7,), (1, 7), (3, 40, 7), (2, 3, 5, 7)])
def test_linear(with_bias, shape):
    x, weight = make(*shape), make(5, 7, seed=1)
    bias = make(5, seed=2) if with_bias else None
    expected = x.double() @ weight.double().t()
    if with_bias:
        expected += bias.double()
    assert_near(onednn.linear(x, weight, bias), expected)


# Products an image at once, and those of many images of few pixels.
@pytest.mark.parametrize('size', [(6, 4, 5), (60, 75, 24)], ids=str)
@pytest.mark.parametrize('batch', [1, 3])
def test_transform(batch, size):
    height, width, channels = size
    x = make(batch, height, width, 2 * channels)[..., channels:]
    rows, columns = make(8, height, seed=1), make(9, width, seed=2)
    expected = np.einsum(
        'nh,mw,bhwc->bnmc', rows.double(), columns.double(), x.double()
    )
    got = onednn.transform(x, rows, columns)
    assert_near(got, torch.from_numpy(expected))


@torch.no_grad()
def test_backbones_equal_plain_ones(build, arch, on_any_processor):
    model = build(arch).eval()
    image = torch.randn(2, 3, 72, 100)
    x = torch.randn(2, 5, 5, 8)
    assert onednn.has_onednn(x)
    outputs = model(image)
    with fast.disabled():
        expected = model(image)
    for output, plain in zip(outputs, expected):
        assert not output.equal(plain)  # other products
        torch.testing.assert_close(output, plain, rtol=0, atol=1e-5)


@torch.no_grad()
def test_other_precisions_are_left_to_torch(build, on_any_processor):
    x = torch.randn(2, 5, 5, 8)
    assert not onednn.has_onednn(x.double())
    assert not onednn.has_onednn(x.half())
    assert not onednn.has_onednn(x.to('meta'))
    with torch.autocast('cpu', torch.bfloat16):
        assert not onednn.has_onednn(x)
    with torch.backends.mkldnn.flags(enabled=False):
        assert not onednn.has_onednn(x)


def test_gradients_are_left_to_torch(build, on_any_processor):
    model = build().train()
    expected = copy.deepcopy(model)
    image = torch.randn(1, 3, 64, 64)
    sum(o.pow(3).mean() for o in model(image)).backward()
    with fast.disabled():
        sum(o.pow(3).mean() for o in expected(image)).backward()
    for a, b in zip(model.parameters(), expected.parameters()):
        assert (a.grad - b.grad).norm() <= 1e-4 * b.grad.norm()
