"""A narrow classifier of volumes learns to tell solids apart."""

import math

import pytest
import torch
from torch import nn

from mmvheat.nn import HeatConduction3d

SIDE = 16
SOLIDS = ['ball', 'cube', 'rod', 'ring', 'shell']


@pytest.fixture(autouse=True)
def both_states():
    """Training is the same in both."""


def make_volumes(count, seed):
    """Draw noisy solids, turned and shifted at random, and their classes."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=generator)

    labels = torch.arange(count) % len(SOLIDS)
    axis = torch.linspace(-1, 1, SIDE)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing='ij'), -1)
    volumes = []
    for label in labels:
        turned, _ = torch.linalg.qr(draw(3, 3) - 0.5)
        p = (grid - 0.4 * (draw(3) - 0.5)) @ turned
        size = 0.5 + 0.25 * draw(1)
        radius, (x, y, z) = p.norm(dim=-1), p.unbind(-1)
        flat = torch.hypot(x, y)
        inside = {
            'ball': radius < size,
            'cube': p.abs().amax(-1) < 0.8 * size,
            'rod': (flat < 0.35 * size) & (z.abs() < 1.3 * size),
            'ring': torch.hypot(flat - size, z) < 0.35 * size,
            'shell': (radius - size).abs() < 0.15,
        }[SOLIDS[label]]
        noise = torch.randn(inside.shape, generator=generator)
        volumes.append(inside.float() + 0.5 * noise)
    return torch.stack(volumes)[:, None], labels


class Block(nn.Module):
    """The block of vHeat around the operator for volumes."""

    def __init__(self, dims, grid):
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(1, dims) for _ in range(2))
        self.op = HeatConduction3d(dims, grid)
        self.mlp = nn.Sequential(
            nn.Conv3d(dims, 2 * dims, 1),
            nn.GELU(),
            nn.Conv3d(2 * dims, dims, 1),
        )

    def forward(self, x):
        x = x + self.op(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 16, 3, stride=2, padding=1),
        Block(16, SIDE // 2),
        nn.Conv3d(16, 32, 3, stride=2, padding=1),
        Block(32, SIDE // 4),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(32, len(SOLIDS)),
    )


def train(network, volumes, labels, epochs):
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    batches = math.ceil(len(volumes) / 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 4e-3, total_steps=epochs * batches
    )
    for _ in range(epochs):
        for batch in torch.randperm(len(volumes)).split(32):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(
                network(volumes[batch]), labels[batch]
            )
            loss.backward()
            optimizer.step()
            schedule.step()


@pytest.mark.slow
def test_solids_are_told_apart():
    network = make_network().train()
    for module in network.modules():
        if isinstance(module, nn.Conv3d):  # a third less time on a CPU
            module.to(memory_format=torch.channels_last_3d)
    train(network, *make_volumes(1000, seed=1), epochs=12)

    volumes, labels = make_volumes(300, seed=2)
    with torch.no_grad():
        guesses = network.eval()(volumes).argmax(1)
    # Measured: 0.83. Guessing gives 0.2.
    assert (guesses == labels).float().mean() >= 0.78


def test_a_step_on_volumes_moves_all_parameters():
    network = make_network()
    before = [p.detach().clone() for p in network.parameters()]
    train(network, *make_volumes(10, seed=1), epochs=3)
    for parameter, old in zip(network.parameters(), before):
        assert not parameter.equal(old)
    assert network(torch.randn(1, 1, 12, 20, 9)).shape == (1, len(SOLIDS))
