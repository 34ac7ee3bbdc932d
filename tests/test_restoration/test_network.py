"""The network is SwinIR's frame around vHeat's blocks, for any size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import nn

from mmvheat.models import HeatBlock, vHeatIR

SMALL = dict(in_channels=1, embed_dims=8, depths=(1, 2), grid=6)


def build(**options) -> vHeatIR:
    """Build a small network that corrects something."""
    torch.manual_seed(0)
    network = MODELS.build(dict(type='vHeatIR', **{**SMALL, **options}))
    nn.init.normal_(network.tail.weight, std=0.1)
    return network.eval()


@pytest.mark.parametrize('upscale', [1, 2, 4])
def test_any_size_is_restored(upscale: int) -> None:
    network = build(in_channels=3, upscale=upscale)

    restored = network(torch.rand(2, 3, 13, 22))

    assert restored.shape == (2, 3, 13 * upscale, 22 * upscale)


def test_starts_with_the_image_itself() -> None:
    image = torch.rand(1, 1, 9, 12)
    network = MODELS.build(dict(type='vHeatIR', upscale=2, **SMALL))

    nearest = F.interpolate(image, scale_factor=2, mode='nearest')
    torch.testing.assert_close(network(image), nearest)


def test_is_the_frame_of_swinir_around_the_blocks() -> None:
    network = build()
    image = torch.rand(2, 1, 9, 12)

    # With the convolutions of torch on channels first, FVE by interpolation.
    def conv(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, layer.weight, layer.bias, padding=1)

    freq_embed = network.freq_embed.permute(2, 0, 1)[None]
    freq_embed = F.interpolate(freq_embed, (9, 12), mode='bicubic')
    freq_embed = freq_embed[0].permute(1, 2, 0)
    shallow = conv(network.head, image)
    x = shallow
    for group in network.groups:
        y = x.permute(0, 2, 3, 1)
        for block in group.body.blocks:
            y = block(y, freq_embed)
        x = x + conv(group.conv, y.permute(0, 3, 1, 2))
    x = network.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    expected = image + conv(network.tail, shallow + conv(network.fuse, x))

    torch.testing.assert_close(network(image), expected)


def test_k_is_spread_over_the_channels_at_the_start() -> None:
    network = build(initial_k=(0.5, 8))
    (block, *_) = (m for m in network.modules() if isinstance(m, HeatBlock))

    k = block.op.to_k(network.freq_embed)[0, 0]

    ratios = k[1:] / k[:-1]
    torch.testing.assert_close(
        ratios, torch.full((7,), 16 ** (1 / 7)), atol=0.02, rtol=0
    )
    assert k[0].item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize('k', ['freq_embed', 0])
def test_heat_sees_the_whole_image_and_its_lack_does_not(k) -> None:
    network = build(k=k, initial_k=(5, 500)).double()
    image = torch.rand(1, 1, 40, 40, dtype=float, requires_grad=True)

    network(image)[0, 0, 0, 0].backward()

    # Eight 3x3 kernels in a row reach 8 pixels, and but for rounding in the
    # transforms no further.
    near = image.grad.abs().max()
    far = image.grad[..., 12:, 12:].abs().max()
    assert (far > 1e-10 * near) == bool(k)


def test_nothing_spreads_at_k_0() -> None:
    network = build(k=0)
    image = torch.rand(1, 1, 9, 12)
    expected = network(image)

    class Identity(nn.Module):
        def forward(self, x, k):
            return x

    for module in network.modules():
        if isinstance(module, HeatBlock):
            module.op.propagator = Identity()

    torch.testing.assert_close(network(image), expected)


def test_every_parameter_learns() -> None:
    network = build()

    network(torch.rand(1, 1, 8, 8)).abs().mean().backward()

    assert all(p.grad is not None for p in network.parameters())
    assert network.freq_embed.grad.any()


def test_tells_of_images_with_other_channels() -> None:
    with pytest.raises(ValueError, match=r'takes images \(B, 1, H, W\)'):
        build()(torch.rand(1, 3, 8, 8))


def test_tells_of_another_mixer() -> None:
    with pytest.raises(ValueError, match="'heat' or 'swin', not 'wave'"):
        build(mixer='wave')


@pytest.mark.slow
def test_swin_is_the_mixer_of_the_baseline() -> None:
    pytest.importorskip('mmpretrain')
    network = build(mixer='swin', window_size=4, num_heads=2)
    image = torch.rand(1, 1, 13, 9, requires_grad=True)

    restored = network(image)
    restored.mean().backward()

    assert restored.shape == image.shape
    assert all(p.grad is not None for p in network.parameters())
    assert not any(isinstance(m, HeatBlock) for m in network.modules())


def test_dncnn_has_the_layers_of_its_paper() -> None:
    network = MODELS.build(dict(type='DnCNN'))

    kinds = [type(layer).__name__ for layer in network.layers]
    middle = ['Conv2d', 'BatchNorm2d', 'ReLU'] * 15
    assert kinds == ['Conv2d', 'ReLU', *middle, 'Conv2d']
    # 9 * 64 weights at both ends, 65 biases, 15 times 64 * 64 * 9 + 2 * 64.
    count = sum(p.numel() for p in network.parameters())
    assert count == 2 * 9 * 64 + 65 + 15 * (64 * 64 * 9 + 128)
