"""Effective receptive fields, against convolutions by scipy."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch import nn

from mmvheat.visualization.layers import (
    find_layer,
)
from mmvheat.visualization.networks import load_network
from mmvheat.visualization.receptive_field import (
    Field,
    compute_field,
    make_forward,
)

CONFIGS = Path(__file__).parents[1] / 'test_tools/configs'
SIDE = 33
OTHERS = {
    'convnext': dict(
        type='ConvNeXt',
        arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 32, 64]),
    ),
    'resnet': dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
    'swin': dict(
        type='SwinTransformer',
        img_size=64,
        pad_small_map=True,
        arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]),
    ),
}


def stack(*kernels: int) -> tuple[nn.Sequential, np.ndarray]:
    """Convolutions of positive weights, and the kernel of all of them."""
    torch.manual_seed(0)
    layers, whole = [], np.ones((1, 1))
    for size in kernels:
        layer = nn.Conv2d(1, 1, size, padding=size // 2, bias=False)
        nn.init.uniform_(layer.weight, 0.1, 1)
        # symmetric, so that the middle is that of the kernel
        weight = layer.weight.detach() + layer.weight.detach().flip(2, 3)
        layer.weight = nn.Parameter(weight)
        layers.append(layer)
        whole = convolve2d(whole, layer.weight.detach()[0, 0])
    return nn.Sequential(*layers), whole


def make_images(count: int, channels: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (1, channels, SIDE, SIDE)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


def test_field_of_convolutions_is_their_kernel_and_zero_around_it():
    network, kernel = stack(3, 5, 3)
    field = compute_field(network, make_images(2))
    reach, middle = 1 + 2 + 1, SIDE // 2
    assert field.centre == pytest.approx((middle, middle))
    inside = np.s_[middle - reach : middle + reach + 1]
    np.testing.assert_allclose(field.values[inside, inside], kernel, rtol=1e-5)
    outside = field.values.copy()
    outside[inside, inside] = 0
    assert not outside.any()


@pytest.mark.parametrize('share', [0.2, 0.5, 0.99])
def test_radius_agrees_with_a_direct_computation(share):
    network, kernel = stack(3, 5, 3)
    field = compute_field(network, make_images(1))
    y, x = np.mgrid[-4:5, -4:5]
    radii = sorted({float(np.hypot(a, b)) for a in y[:, 0] for b in x[0]})
    total = kernel.sum()
    expected = next(
        radius
        for radius in radii
        if kernel[y**2 + x**2 <= radius**2 + 1e-9].sum() >= share * total
    )
    assert field.find_radius(share) == pytest.approx(expected)


def test_centre_of_a_strided_map_is_between_pixels():
    network = nn.Conv2d(1, 1, 4, 4, bias=False)
    nn.init.constant_(network.weight, 1)
    field = compute_field(network, [torch.ones(1, 1, 32, 32)])
    rows, columns = np.nonzero(field.values)
    assert (rows.mean(), columns.mean()) == (17.5, 17.5)
    assert field.centre == pytest.approx((17.5, 17.5))
    assert field.find_radius(0.5) == pytest.approx(np.hypot(0.5, 1.5))


def test_layer_norm_does_not_cancel_the_field():
    class Norm(nn.Module):
        def forward(self, x):
            x = torch.cat([x, x**2, x.sin()], 1).permute(0, 2, 3, 1)
            return nn.functional.layer_norm(x, (3,)).permute(0, 3, 1, 2)

    field = compute_field(Norm(), make_images(1))
    assert field.values[16, 16] > 0.01
    assert np.count_nonzero(field.values) == 1


def test_no_image_is_refused():
    with pytest.raises(ValueError, match='at least one image'):
        compute_field(nn.Identity(), [])


@pytest.mark.parametrize('stage', range(4))
def test_vheat_sees_the_whole_image_from_the_first_stage(build, stage):
    model = build('pre_norm', out_indices=(stage,)).double().eval()
    images = [torch.rand(1, 3, 96, 96, dtype=torch.float64)]
    field = compute_field(lambda x: model(x)[0], images)
    # of rounding 1e-16 would come, of a convolution nothing at all
    assert field.values.min() > 1e-9 * field.values.max()


def test_field_of_a_named_layer(networks):
    network = networks('mask_rcnn')
    image = network.normalize(np.full((64, 64, 3), 99, np.uint8))
    stem = make_forward(
        network, find_layer(network.model, 'backbone.patch_embed')
    )
    field = compute_field(stem, [image])
    assert stem(image).shape == (1, 8, 16, 16)
    rows, columns = np.nonzero(field.values)
    assert np.ptp(rows) == np.ptp(columns) == 6  # two 3x3 of stride 2
    neck = make_forward(network, find_layer(network.model, 'neck[1]'))
    assert neck(image).shape == (1, 16, 8, 8)


def test_field_of_a_gray_network():
    options = {'model.backbone.in_channels': 1}
    for name, value in (('mean', [99.0]), ('std', [50.0])):
        options[f'data_preprocessor.{name}'] = value
    network = load_network(str(CONFIGS / 'classifier.py'), options=options)
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    image = network.normalize(picture)
    gray = torch.tensor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)).float()
    torch.testing.assert_close(image, (gray[None, None] - 99) / 50)
    layer = find_layer(network.model, 'backbone[0]')
    assert make_forward(network, layer)(image).shape == (1, 64, 2, 3)


def test_field_of_a_single_pixel_has_no_radius():
    values = np.zeros((5, 5))
    values[0, 0] = 1
    field = Field(values)
    assert field.centre == (0, 0)
    assert field.find_radius(0.2) == 0


def test_command_compares_networks_of_other_kinds(run, tmp_path) -> None:
    arguments = []
    for name, backbone in OTHERS.items():
        path = tmp_path / f'{name}.py'
        path.write_text(
            "default_scope = 'mmpretrain'\n"
            'data_preprocessor = dict(num_classes=3, mean=[0, 0, 0], '
            'std=[1, 1, 1])\n'
            f"model = dict(type='ImageClassifier', backbone={backbone}, "
            "head=dict(type='LinearClsHead', in_channels=64, num_classes=3))"
        )
        arguments += ['--beside', path, 'none']
    job = run(
        'vis_erf', CONFIGS / 'classifier.py', 'none', *arguments,
        '--before', '--size', 64, '--random', 2, '--stage', 2,
    )  # fmt: skip
    assert job.code == 0, job
    assert cv2.imread(str(job.out / 'erf.png')).std() > 10
    for name in OTHERS:
        assert f'{name}, random weights, stage 2' in job.printed
    assert 'radius of 99 % (px)' in job.printed


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--stage', 5], 'has no stage 5, but stage 1, stage 2'),
        (['--size', 8], '--size must be at least 32'),
        (['--layer', 'backbone.layer.0'], 'did you mean backbone.layers.0'),
        (['--layer', 'head.fc'], 'head.fc does not run in the backbone or'),
        (['--beside', 'no.py', 'none'], 'no.py does not exist'),
        (['--beside', 'no.py', 'no.pth'], 'checkpoint no.pth does not exist'),
        (['--beside', 'mmdet::no/no.py', 'none'], 'mmdet::no/no.py is no'),
    ],
)
def test_command_with_bad_input(run, arguments, words) -> None:
    job = run('vis_erf', CONFIGS / 'classifier.py', 'none', *arguments)
    assert words in job.error
    assert not job.out.exists()
