"""The backbone against a slow one, written from the paper's definition.

In double precision, channels first, with scipy's transforms and its own cubic
interpolation: it shares no code with the package.
"""

import math

import numpy as np
import pytest
import scipy.fft
import torch
import torch.nn.functional as F

SIZES = [(64, 64), (32, 32), (32, 100), (130, 33), (75, 47), (96, 161)]


def run_slowly(model, image):
    """Compute the outputs of a backbone from its parameters alone.

    Args:
        model (vHeat): Gives the parameters, ``out_indices`` and norm order.
        image (Tensor): Shape (B, C, H, W).

    Returns:
        list[Tensor]: Maps (B, C_i, H_i, W_i) in double precision.
    """
    p = {k: v.detach().double() for k, v in model.state_dict().items()}
    x = image.double()
    for i in (1, 2):
        x = conv(p, f'patch_embed.conv{i}', x, stride=2, padding=1)
        x = norm(p, f'patch_embed.norm{i}.1', x, eps=1e-6)
        x = gelu(x) if i == 1 else x
    outputs = {}
    for i in range(1 + max(model.out_indices)):
        freq_embed = p[f'freq_embed.{i}']
        rows = cubic_matrix(x.shape[2], freq_embed.shape[0])
        columns = cubic_matrix(x.shape[3], freq_embed.shape[1])
        freq_embed = np.einsum(
            'nh,mw,hwc->nmc', rows, columns, freq_embed.numpy()
        )
        post_norm = model.layers[i][0].post_norm
        j = 0
        while f'layers.{i}.{j}.norm1.weight' in p:
            x = run_block(p, f'layers.{i}.{j}', x, freq_embed, post_norm)
            j += 1
        if i in model.out_indices:
            outputs[i] = norm(p, f'outnorm{i}', x)
        if f'layers.{i}.{j}.0.weight' in p:
            x = conv(p, f'layers.{i}.{j}.0', x, stride=2, padding=1)
            x = norm(p, f'layers.{i}.{j}.1', x)
    return [outputs[i] for i in model.out_indices]


def run_block(p, name, x, freq_embed, post_norm):
    def add(x, branch, index):
        scale = p.get(f'{name}.gamma{index}', torch.ones(x.shape[1]))
        layer = f'{name}.norm{index}'
        y = (
            norm(p, layer, branch(x))
            if post_norm
            else branch(norm(p, layer, x))
        )
        return x + scale[:, None, None] * y

    def mlp(x):
        x = gelu(conv(p, f'{name}.mlp.fc1', x))
        return conv(p, f'{name}.mlp.fc2', x)

    def op(x):
        x = conv(p, f'{name}.op.dwconv', x, padding=1, groups=x.shape[1])
        u, z = linear(p, f'{name}.op.linear', x).chunk(2, dim=1)
        weight, bias = (
            p[f'{name}.op.to_k.0.weight'],
            p[f'{name}.op.to_k.0.bias'],
        )
        k = np.maximum(freq_embed @ weight.numpy().T + bias.numpy(), 0)
        height, width = u.shape[2:]
        n = np.pi * np.arange(height)[:, None, None] / height
        m = np.pi * np.arange(width)[:, None] / width
        decay = np.exp(-k * (n**2 + m**2)).transpose(2, 0, 1)
        u = scipy.fft.dctn(u.numpy(), axes=(2, 3), norm='ortho') * decay
        u = scipy.fft.idctn(u, axes=(2, 3), norm='ortho')
        u = norm(p, f'{name}.op.out_norm', torch.from_numpy(u))
        return linear(p, f'{name}.op.out_linear', u * z * torch.sigmoid(z))

    return add(add(x, op, 1), mlp, 2)


def conv(p, name, x, **kwargs):
    weight, bias = p[f'{name}.weight'], p.get(f'{name}.bias')
    return F.conv2d(x, weight, bias, **kwargs)


def linear(p, name, x):
    x = torch.einsum('oc,bchw->bohw', p[f'{name}.weight'], x)
    return x + p[f'{name}.bias'][:, None, None]


def norm(p, name, x, eps=1e-5):
    variance, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
    x = (x - mean) / torch.sqrt(variance + eps)
    weight, bias = p[f'{name}.weight'], p[f'{name}.bias']
    return x * weight[:, None, None] + bias[:, None, None]


def gelu(x):
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def cubic_matrix(new, old, a=-0.75):
    """Weights (new, old) of Keys' cubic convolution, pixel centres at .5."""
    centre = (np.arange(new)[:, None] + 0.5) * old / new - 0.5
    sample = np.floor(centre) + np.arange(-1, 3)
    s = abs(centre - sample)
    near = ((a + 2) * s - (a + 3)) * s * s + 1
    far = a * (((s - 5) * s + 8) * s - 4)
    matrix = np.zeros((new, old))
    index = np.clip(sample, 0, old - 1).astype(int)
    np.add.at(
        matrix, (np.arange(new)[:, None], index), np.where(s <= 1, near, far)
    )
    return matrix


@pytest.fixture
def randomised(build, arch):
    """A small backbone no parameter of which is 0 or 1."""

    def randomise(**kwargs):
        model = build(arch, **kwargs).eval()
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        return model

    return randomise


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_outputs_follow_the_definition(randomised, size):
    model = randomised()
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        outputs = model(image)
    for i, (output, expected) in enumerate(
        zip(outputs, run_slowly(model, image))
    ):
        stride = 2 ** (i + 2)
        assert output.shape[2:] == tuple(math.ceil(s / stride) for s in size)
        assert output.is_contiguous()
        error = (output - expected).norm() / expected.norm()
        assert error <= 2e-5


def test_frequency_grid_may_be_oblong(randomised):
    model = randomised(img_size=(96, 40))
    grids = [tuple(f.shape[:2]) for f in model.freq_embed]
    assert grids == [(24, 10), (12, 5), (6, 2), (3, 1)]
    image = torch.randn(1, 3, 96, 40)
    for output, expected in zip(model(image), run_slowly(model, image)):
        assert (output - expected).norm() / expected.norm() <= 2e-5


@pytest.mark.parametrize('in_channels', [1, 5])
def test_images_may_have_any_channels(randomised, in_channels):
    model = randomised(in_channels=in_channels, out_indices=(1,))
    image = torch.randn(1, in_channels, 64, 48)
    (output,), (expected,) = model(image), run_slowly(model, image)
    assert (output - expected).norm() / expected.norm() <= 2e-5


def test_double_precision_is_double(randomised):
    model = randomised().double()
    image = torch.randn(1, 3, 72, 40).double()
    for output, expected in zip(model(image), run_slowly(model, image)):
        assert (output - expected).norm() / expected.norm() <= 1e-12
