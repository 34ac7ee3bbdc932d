"""The operator as a layer: its definition, sizes, exports, other networks."""

import copy
import math

import numpy as np
import pytest
import scipy.fft
import torch
import torch.nn.functional as F
from torch import nn

from mmvheat.models import HeatConduction
from mmvheat.nn import (
    DampedWavePropagator,
    FractionalHeatPropagator,
    HeatConduction2d,
    HeatConduction3d,
    HeatPropagator,
    TailPropagator,
)

C = 6
LAYERS = {2: HeatConduction2d, 3: HeatConduction3d}
LAWS = [
    HeatPropagator,
    FractionalHeatPropagator,
    TailPropagator,
    DampedWavePropagator,
]
SOURCES = ['freq_embed', 'input', 'scalar', 'vector', 5.0]


def make_layer(dims=2, grid=6, law=HeatPropagator, k='freq_embed'):
    torch.manual_seed(0)
    layer = LAYERS[dims](C, grid, law(C), k)
    for parameter in layer.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return layer


def make_features(*sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, C, *sizes, generator=generator)


def run_slowly(layer, x):
    """Heat conduction by scipy, with an embedding of the features' size."""
    p = {k: v.detach().double() for k, v in layer.state_dict().items()}
    axes = tuple(range(2, x.dim()))
    convolve = {4: F.conv2d, 5: F.conv3d}[x.dim()]
    x = convolve(
        x.double(),
        p['dwconv.weight'],
        p['dwconv.bias'],
        padding=1,
        groups=x.shape[1],
    )
    x = torch.einsum('oc,bc...->bo...', p['linear.weight'], x)
    x = x + p['linear.bias'].view(1, -1, *[1] * len(axes))
    u, z = x.chunk(2, 1)
    k = p['freq_embed'] @ p['to_k.0.weight'].t() + p['to_k.0.bias']
    squares = [(np.arange(n) * math.pi / n) ** 2 for n in x.shape[2:]]
    s = sum(np.meshgrid(*squares, indexing='ij'))
    decay = np.exp(-k.clamp(min=0).movedim(-1, 0).numpy() * s)
    u = scipy.fft.dctn(u.numpy(), axes=axes, norm='ortho') * decay
    u = torch.from_numpy(scipy.fft.idctn(u, axes=axes, norm='ortho'))
    u = (u - u.mean(1, True)) / (
        u.var(1, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    shape = (1, -1, *[1] * len(axes))
    u = u * p['out_norm.weight'].view(shape) + p['out_norm.bias'].view(shape)
    u = u * z * torch.sigmoid(z)
    u = torch.einsum('oc,bc...->bo...', p['out_linear.weight'], u)
    return u + p['out_linear.bias'].view(shape)


@pytest.mark.parametrize('sizes', [(5, 7), (1, 4), (4, 3, 5)], ids=str)
@pytest.mark.parametrize('training', [False, True])
def test_layers_follow_the_definition(sizes, training):
    layer = make_layer(len(sizes), sizes).train(training)
    x = make_features(*sizes)
    expected = run_slowly(layer, x)
    for _ in range(2):  # the second time with what was kept
        y = layer(x)
        assert y.shape == x.shape
        torch.testing.assert_close(y.double(), expected, rtol=0, atol=1e-4)


def test_layers_take_weights_of_a_vheat():
    operator = HeatConduction(C)
    for parameter in operator.parameters():
        nn.init.normal_(parameter, std=0.3)
    layer = make_layer()
    missing, unexpected = layer.load_state_dict(
        operator.state_dict(), strict=False
    )
    assert missing == ['freq_embed']
    assert not unexpected
    x = make_features(6, 6)
    expected = operator(x.movedim(1, -1), layer.freq_embed).movedim(-1, 1)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(
    ('dims', 'sizes'), [(2, (9, 3)), (2, (1, 1)), (3, (2, 7, 4))]
)
def test_layers_take_any_size(dims, sizes):
    layer = make_layer(dims)
    x = make_features(*sizes)
    assert layer(x).shape == x.shape
    # An embedding that is the same everywhere stays so at any size.
    layer.freq_embed.data[:] = 0.3
    same = make_layer(dims, sizes)
    weights = {**layer.state_dict(), 'freq_embed': same.freq_embed}
    same.load_state_dict(weights)
    same.freq_embed.data[:] = 0.3
    torch.testing.assert_close(layer(x), same(x))


@pytest.mark.parametrize('law', LAWS)
@pytest.mark.parametrize('k', SOURCES)
class TestCombinations:
    @pytest.mark.parametrize('dims', [2, 3])
    def test_all_parameters_train(self, law, k, dims):
        layer = make_layer(dims, law=law, k=k)
        x = make_features(*[4, 5, 3][:dims]).requires_grad_()
        layer(x).pow(3).sum().backward()
        assert x.grad.isfinite().all()
        for name, parameter in layer.named_parameters():
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name

    def test_evaluation_gives_the_same_and_copies_too(self, law, k):
        layer = make_layer(law=law, k=k)
        x = make_features(4, 5)
        expected = layer(x)
        layer.eval()
        other = make_layer(law=law, k=k).eval()
        other.load_state_dict(layer.state_dict())
        with torch.no_grad():
            for same in (layer, layer, copy.deepcopy(layer), other):
                torch.testing.assert_close(same(x), expected)
            for parameter in layer.parameters():
                parameter.add_(0.1)
            assert not torch.allclose(layer(x), expected)
            torch.testing.assert_close(layer(x), copy.deepcopy(layer)(x))


@pytest.mark.parametrize('law', LAWS)
def test_autocast_stays_near(law):
    layer, x = make_layer(law=law), make_features(9, 8)
    expected = layer(x)
    with torch.autocast('cpu', torch.bfloat16):
        y = layer(x)
    assert (y - expected).norm() <= 0.05 * expected.norm()


def test_precision_is_double():
    layer = make_layer(law=DampedWavePropagator, k='scalar').double()
    x = make_features(2, 3)[:1].double().requires_grad_()
    assert layer(x).dtype == torch.float64
    assert torch.autograd.gradcheck(layer, (x,))


@pytest.mark.parametrize(
    ('make', 'sentence'),
    [
        (
            lambda: make_layer()(torch.ones(1, C, 3, 4, 5)),
            'HeatConduction2d takes (B, C) and 2 sizes, but got '
            '(1, 6, 3, 4, 5)',
        ),
        (
            lambda: make_layer(3)(torch.ones(1, C, 4, 5)),
            'HeatConduction3d takes (B, C) and 3 sizes, but got (1, 6, 4, 5)',
        ),
        (
            lambda: make_layer(3, (4, 4)),
            'grid of HeatConduction3d must be a positive int or 3 of them, '
            'but got (4, 4)',
        ),
        (
            lambda: make_layer(2, 0),
            'grid of HeatConduction2d must be a positive int or 2 of them, '
            'but got (0, 0)',
        ),
    ],
)
def test_faults_are_told_in_a_sentence(make, sentence):
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == sentence


def test_models_have_the_layers_too():
    from mmvheat import models

    assert models.HeatConduction2d is HeatConduction2d
    assert models.HeatConduction3d is HeatConduction3d
