"""Products by oneDNN against those of numpy in double precision."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmvheat.ops import linear, pack_weight
from mmvheat.ops.products import multiply_columns, multiply_rows

pytestmark = pytest.mark.filterwarnings('ignore:TF32 acceleration')
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2}
ACTIVATIONS = {
    None: lambda x: x,
    'relu': lambda x: x.clamp(min=0),
    'gelu': lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    'silu': lambda x: x / (1 + torch.exp(-x)),
}


@pytest.fixture(params=TOLERANCE, ids=str)
def dtype(request):
    return request.param


@pytest.fixture(params=[True, False], ids=['onednn', 'torch'])
def onednn(request):
    with torch.backends.mkldnn.flags(enabled=request.param):
        yield request.param


def make(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(dtype)


def assert_near(got, expected, dtype):
    """Compare with a result in double precision, relative to its scale."""
    assert got.dtype == dtype
    error = (got.double() - expected).abs().max()
    assert error <= TOLERANCE[dtype] * expected.abs().max()


@pytest.mark.parametrize('activation', ACTIVATIONS)
@pytest.mark.parametrize('with_bias', [False, True])
@pytest.mark.parametrize('shape', [(7,), (1, 7), (3, 40, 7), (2, 3, 5, 7)])
def test_linear(dtype, onednn, activation, with_bias, shape):
    x, weight = make(*shape, dtype=dtype), make(5, 7, dtype=dtype, seed=1)
    bias = make(5, dtype=dtype, seed=2) if with_bias else None
    expected = x.double() @ weight.double().t()
    if with_bias:
        expected += bias.double()
    expected = ACTIVATIONS[activation](expected)
    got = linear(x, weight, bias, activation)
    assert_near(got, expected, dtype)
    packed = linear(x, pack_weight(weight), bias, activation)
    assert_near(packed, expected, dtype)


@pytest.mark.parametrize('activation', ACTIVATIONS)
def test_gradients_of_linear(dtype, onednn, activation):
    leaves = [
        make(*shape, dtype=dtype, seed=i).requires_grad_()
        for i, shape in enumerate([(2, 30, 7), (5, 7), (5,)])
    ]
    copies = [leaf.detach().double().requires_grad_() for leaf in leaves]
    out = linear(*leaves, activation)
    expected = ACTIVATIONS[activation](F.linear(*copies))
    grad = make(*out.shape, dtype=dtype, seed=3)
    out.backward(grad)
    expected.backward(grad.double())
    for leaf, double in zip(leaves, copies):
        assert_near(leaf.grad, double.grad, dtype)


@pytest.mark.parametrize('trained', range(3))
def test_one_trained_argument_is_enough(trained):
    leaves = [make(4, 7), make(5, 7), make(5)]
    leaves = [leaf.float() for leaf in leaves]
    leaves[trained].requires_grad_()
    linear(*leaves).sum().backward()
    assert leaves[trained].grad.any()


def test_linear_follows_autocast():
    x, weight, bias = make(9, 7).float(), make(5, 7).float(), make(5).float()
    with torch.autocast('cpu', torch.bfloat16):
        out = linear(x, weight, bias)
    assert_near(out, F.linear(x, weight, bias).double(), torch.bfloat16)


def test_empty_batch():
    assert linear(torch.empty(0, 7), torch.ones(5, 7)).shape == (0, 5)


@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize(
    'multiply, rule, size',
    [
        (multiply_rows, 'mh,bhwc->bmwc', 6),
        (multiply_columns, 'mw,bhwc->bhmc', 4),
    ],
    ids=['rows', 'columns'],
)
def test_products_along_an_axis(dtype, onednn, batch, multiply, rule, size):
    matrix = make(8, size, dtype=dtype)
    x = make(batch, 6, 4, 5, dtype=dtype, seed=1).requires_grad_()
    out = multiply(matrix, x)
    expected = np.einsum(rule, matrix.double(), x.detach().double())
    assert_near(out, torch.from_numpy(expected), dtype)
    grad = make(*out.shape, dtype=dtype, seed=2)
    out.backward(grad)
    back, source, target = rule.replace('->', ',').split(',')
    expected = np.einsum(
        f'{back},{target}->{source}', matrix.double(), grad.double()
    )
    assert_near(x.grad, torch.from_numpy(expected), dtype)


def test_products_may_be_derived_twice():
    x = make(2, 6, 4, 5).float().requires_grad_()
    out = multiply_rows(make(6, 6).float(), x).pow(3).sum()
    (grad,) = torch.autograd.grad(out, x, create_graph=True)
    grad.sum().backward()
    assert x.grad.any()
