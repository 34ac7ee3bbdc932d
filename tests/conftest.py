"""Fixtures shared by all tests."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

DATA = Path(__file__).parent / 'data'


@pytest.fixture(
    scope='session', params=['pre_norm_64', 'post_norm_layer_scale_64']
)
def official_run(request) -> SimpleNamespace:
    """Random weights of the official model and what it computed with them.

    ``path`` is its checkpoint, ``weights`` are those of its backbone,
    ``expected`` is what it computed.
    """
    # A config pickled by yacs lies beside the weights.
    stand_in = (OrderedDict, 'yacs.config.CfgNode')
    with torch.serialization.safe_globals([stand_in]):
        checkpoint = torch.load(DATA / f'{request.param}.pth')
    return SimpleNamespace(
        path=DATA / f'{request.param}.pth',
        weights={
            name: value
            for name, value in checkpoint['model'].items()
            if not name.startswith('classifier')
        },
        expected=torch.load(DATA / f'{request.param}_expected.pt'),
    )
