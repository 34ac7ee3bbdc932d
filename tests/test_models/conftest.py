"""Small backbones."""

import pytest
import torch
from mmengine.registry import MODELS

import mmvheat  # noqa: F401

ARCHS = {
    'pre_norm': dict(
        embed_dims=8, depths=(1, 2, 1, 1), post_norm=False, layer_scale=None
    ),
    'post_norm': dict(
        embed_dims=8, depths=(1, 2, 1, 1), post_norm=True, layer_scale=1e-2
    ),
}


@pytest.fixture
def build():
    """Builds a small backbone whose heat visibly spreads."""

    def build(arch='pre_norm', **kwargs):
        torch.manual_seed(0)
        kwargs = {**dict(img_size=64, drop_path_rate=0.0), **kwargs}
        model = MODELS.build(
            dict(type='vHeat', arch=ARCHS.get(str(arch), arch), **kwargs)
        )
        for name, parameter in model.named_parameters():
            if 'freq_embed' in name or 'to_k' in name:
                # As initialised, k is all but zero.
                torch.nn.init.normal_(parameter, std=0.5)
        return model

    return build


@pytest.fixture(params=list(ARCHS))
def arch(request):
    return request.param
