"""Products by oneDNN against torch's and scipy's in double precision."""

import contextlib
import copy

import pytest
import torch
import torch.nn.functional as F
from scipy.fft import dctn, idctn

from mmvheat import fast
from mmvheat.fast import onednn
from mmvheat.ops import dct_basis, heat_decay

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
    dtypes = (torch.float32, torch.bfloat16)
    monkeypatch.setattr(onednn, '_list_dtypes', lambda: dtypes)


def make(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator)


def assert_near(got, expected):
    """Compare with a result in double precision, relative to its scale."""
    assert got.dtype == torch.float32
    error = (got.double() - expected).abs().max()
    assert error <= 2e-5 * expected.abs().max()


ACTIVATIONS = dict(none=lambda x: x, gelu=F.gelu, swish=F.silu)


@pytest.mark.parametrize('activation', ACTIVATIONS)
@pytest.mark.parametrize('with_bias', [False, True])
@pytest.mark.parametrize('shape', [(7,), (1, 7), (3, 40, 7), (2, 3, 5, 7)])
def test_linear(with_bias, shape, activation):
    x, weight = make(*shape), make(5, 7, seed=1)
    bias = make(5, seed=2) if with_bias else None
    expected = x.double() @ weight.double().t()
    if with_bias:
        expected += bias.double()
    expected = ACTIVATIONS[activation](expected)
    assert_near(onednn.linear(x, weight, bias, activation), expected)


@pytest.mark.parametrize('size', [(1, 1, 3), (6, 4, 5), (60, 75, 24)], ids=str)
@pytest.mark.parametrize('batch', [1, 3])
def test_conduct(batch, size):
    x = 5 + make(batch, *size[:2], 2 * size[2])[..., size[2] :]
    decay = heat_decay(make(*size, seed=1).abs())
    spectrum = dctn(x.double().numpy(), axes=(1, 2), norm='ortho')
    spectrum *= decay.double().numpy()
    expected = idctn(spectrum, axes=(1, 2), norm='ortho')
    got = onednn.conduct(x, decay, *map(dct_basis, size[:2]))
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


@pytest.mark.parametrize('autocast', [False, True])
@torch.no_grad()
def test_half_precision_is_as_near_as_plain(
    build, arch, on_any_processor, autocast
):
    """To double precision; under autocast, and of weights in bfloat16."""
    model = build(arch).eval()
    image = torch.randn(2, 3, 64, 96)
    truth = copy.deepcopy(model).double()(image.double())
    if not autocast:
        model, image = model.bfloat16(), image.bfloat16()
    errors = []
    for context in (fast.disabled, contextlib.nullcontext):
        with context(), torch.autocast('cpu', torch.bfloat16, autocast):
            outputs = model(image)
        dtype = torch.float32 if autocast else torch.bfloat16
        assert all(output.dtype == dtype for output in outputs)
        errors.append(
            max((o - t).norm() / t.norm() for o, t in zip(outputs, truth))
        )
    plain, ours = errors
    assert ours <= 1.5 * plain <= 0.1


@torch.no_grad()
def test_other_precisions_are_left_to_torch(build, on_any_processor):
    x = torch.randn(2, 5, 5, 8)
    assert not onednn.has_onednn(x.double())
    assert not onednn.has_onednn(x.half())
    assert not onednn.has_onednn(x.to('meta'))
    with torch.autocast('cpu', torch.float16):
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
