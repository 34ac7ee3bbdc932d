"""The layer pasted into networks of others, which then train."""

import pytest
import torch
from torch import nn

from mmvheat.nn import DampedWavePropagator, HeatConduction2d

torchvision = pytest.importorskip('torchvision')


@pytest.fixture(autouse=True)
def both_states():
    """Training is the same in both."""


def train(network, compute_loss, steps=12):
    """Overfit one batch; return the losses."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = compute_loss(network)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


class Residual(nn.Module):
    """x + layer(x)."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return x + self.layer(x)


def test_a_resnet_of_torchvision_trains():
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=4)
    network.layer2.append(Residual(HeatConduction2d(128, 6)))
    layer = network.layer2[-1].layer
    before = layer.freq_embed.detach().clone()
    images, labels = torch.randn(8, 3, 48, 48), torch.arange(8) % 4

    losses = train(
        network.train(),
        lambda network: nn.functional.cross_entropy(network(images), labels),
    )

    assert losses[-1] < 0.3 * losses[0]
    assert all(p.grad.any() for p in layer.parameters())
    assert not layer.freq_embed.equal(before)
    assert network.eval()(torch.randn(1, 3, 96, 70)).shape == (1, 4)


class UNet(nn.Module):
    """Two resolutions, heat conduction at both."""

    def __init__(self, dims=16):
        super().__init__()
        self.enter = nn.Conv2d(1, dims, 3, padding=1)
        self.fine = Residual(HeatConduction2d(dims, 24))
        self.down = nn.Conv2d(dims, 2 * dims, 2, stride=2)
        wave = DampedWavePropagator(2 * dims)
        self.coarse = Residual(
            HeatConduction2d(2 * dims, 12, wave, k='vector')
        )
        self.up = nn.ConvTranspose2d(2 * dims, dims, 2, stride=2)
        self.leave = nn.Conv2d(2 * dims, 1, 3, padding=1)

    def forward(self, x):
        fine = self.fine(self.enter(x))
        coarse = self.up(self.coarse(self.down(fine)))
        return self.leave(torch.cat([fine, coarse], 1))


def test_a_unet_learns_to_remove_noise():
    torch.manual_seed(0)
    axis = torch.linspace(-1, 1, 24)
    centres = torch.rand(6, 2) - 0.5
    clean = torch.stack(
        [
            ((axis[:, None] - y) ** 2 + (axis - x) ** 2 < 0.15).float()
            for y, x in centres
        ]
    )[:, None]
    noisy = clean + 0.4 * torch.randn_like(clean)
    network = UNet()

    losses = train(
        network,
        lambda network: nn.functional.mse_loss(network(noisy), clean),
        steps=40,
    )

    assert losses[-1] < 0.2 * nn.functional.mse_loss(noisy, clean)
    for layer in (network.fine.layer, network.coarse.layer):
        assert all(p.grad.any() for p in layer.parameters())
    assert network(torch.randn(1, 1, 30, 44)).shape == (1, 1, 30, 44)
