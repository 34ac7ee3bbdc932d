"""count_activations.py counts what the backward pass needs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools/analysis_tools'))

import count_activations  # noqa: E402


@pytest.mark.parametrize('device', ['cpu', 'meta'])
def test_counts_each_activation_once_and_no_parameter(device):
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(8, 5, 1),
        nn.Flatten(),  # a view
        nn.ReLU(),
    ).to(device)
    images = torch.zeros(2, 3, 10, 20, device=device)
    pixels = 2 * 10 * 20
    # The image, GELU's input and output, and ReLU's output.
    expected = 4 * pixels * (3 + 8 + 8 + 5)
    assert count_activations.count_saved_bytes(network, images) == expected


def test_command_prints_a_table(monkeypatch, capsys):
    monkeypatch.setattr(
        'sys.argv',
        ['tool', '--models', 'vheat-n', 'resnet-50', '--size', '8x256x256'],
    )
    count_activations.main()
    table = capsys.readouterr().out.splitlines()
    assert '8x256x256' in table[0]
    vheat, resnet = (
        [float(w) for w in row.split() if '.' in w] for row in table[2:4]
    )
    assert vheat[0] < 0.8 * vheat[1]
    assert resnet[0] == resnet[1] > 0


def test_wrong_arguments_are_named(monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['tool', '--size', '1x2'])
    with pytest.raises(SystemExit):
        count_activations.parse_args()
    assert 'batch x height x width' in capsys.readouterr().err
