"""The code of docs/propagators.md runs."""

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import torch
from mmengine.registry import MODELS

TUTORIAL = Path(__file__).parents[2] / 'docs/propagators.md'


@pytest.fixture(autouse=True)
def both_states():
    """What the tutorial uses is tested in both."""


def test_tutorial_runs_from_top_to_bottom():
    pytest.importorskip('timm')
    blocks = re.findall(r'```python\n(.*?)```', TUTORIAL.read_text(), re.S)
    assert len(blocks) == 4
    names = {'__name__': 'tutorial'}
    try:
        for block in blocks:
            exec(block, names)
    finally:
        MODELS.module_dict.pop('ScreenedPoisson', None)
    law = names['backbone'].layers[0][0].op.propagator
    side, k = 9, 0.7
    x = torch.randn(1, side, side, law.dims, dtype=torch.float64)
    y = law(x, torch.tensor(k, dtype=torch.float64))
    # (1 - k L) y = x, with L by scipy.
    s = np.add.outer(*[(np.arange(side) * np.pi / side) ** 2] * 2)
    spectrum = scipy.fft.dctn(y.numpy(), axes=(1, 2), norm='ortho')
    spectrum *= -s[..., None]
    laplace = scipy.fft.idctn(spectrum, axes=(1, 2), norm='ortho')
    assert abs(y.numpy() - k * laplace - x.numpy()).max() <= 1e-10
    assert names['y'].shape == (1, 16, 10, 20, 20)
    assert names['model'](torch.randn(1, 3, 64, 64)).shape == (1, 10)
