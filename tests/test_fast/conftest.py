"""Small images are to be cut as large ones."""

import importlib
import importlib.util

import pytest


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Several tiles of a small image; the interpreter takes long for one."""
    if importlib.util.find_spec('triton') is None:
        return
    kernels = importlib.import_module('mmvheat.fast.gpu.kernels')
    names = 'gate_backward', 'means', 'mlp', 'norm_backward', 'norm_sum'
    for name in (*names, 'post_norm'):
        module = importlib.import_module(f'mmvheat.fast.gpu.kernels.{name}')
        monkeypatch.setitem(module.TILE, 'tiles', 2)
    weight = importlib.import_module(
        'mmvheat.fast.gpu.kernels.convolution_backward'
    )
    branch = importlib.import_module('mmvheat.fast.gpu.kernels.mlp_branch')
    monkeypatch.setitem(branch.TILE, 'rows', 16)
    for tile in (kernels.convolution.TILE, weight.TILE):
        for name, size in (('ROWS', 2), ('W', 4), ('C', 16)):
            monkeypatch.setitem(tile, name, size)
