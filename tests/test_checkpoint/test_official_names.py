"""Official detectors and segmentors load strictly into the configs.

The names and shapes of the official checkpoints are written down here by
formulas, independently of any model code, and checked against the published
parameter counts.
"""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import mmvheat  # noqa: F401

CONFIGS = Path(__file__).parents[2] / 'configs'
ARCHS = {
    't': ((96, 192, 384, 768), (2, 2, 6, 2), False),
    's': ((96, 192, 384, 768), (2, 2, 18, 2), True),
    'b': ((128, 256, 512, 1024), (2, 2, 18, 2), True),
}


def layer(name, *shape, bias=True):
    shapes = {f'{name}.weight': shape}
    if bias:
        shapes[f'{name}.bias'] = shape[:1]
    return shapes


def conv_bn(name, out, *rest):
    names = ('weight', 'bias', 'running_mean', 'running_var')
    return {
        f'{name}.conv.weight': (out, *rest),
        **{f'{name}.bn.{key}': (out,) for key in names},
        f'{name}.bn.num_batches_tracked': (),
    }


def backbone(size, img_size=512):
    dims, depths, layer_scale = ARCHS[size]
    shapes = {
        **layer('patch_embed.conv1', dims[0] // 2, 3, 3, 3),
        **layer('patch_embed.norm1.1', dims[0] // 2),
        **layer('patch_embed.conv2', dims[0], dims[0] // 2, 3, 3),
        **layer('patch_embed.norm2.1', dims[0]),
    }
    for i, (c, depth) in enumerate(zip(dims, depths)):
        side = img_size // 2 ** (i + 2)
        shapes[f'freq_embed.{i}'] = (side, side, c)
        shapes.update(layer(f'outnorm{i}', c))
        for j in range(depth):
            start = f'layers.{i}.{j}'
            for norm in ('norm1', 'norm2', 'op.out_norm'):
                shapes.update(layer(f'{start}.{norm}', c))
            shapes.update(layer(f'{start}.op.dwconv', c, 1, 3, 3))
            shapes.update(layer(f'{start}.op.linear', 2 * c, c))
            shapes.update(layer(f'{start}.op.out_linear', c, c))
            shapes.update(layer(f'{start}.op.to_k.0', c, c))
            shapes.update(layer(f'{start}.mlp.fc1', 4 * c, c, 1, 1))
            shapes.update(layer(f'{start}.mlp.fc2', c, 4 * c, 1, 1))
            if layer_scale:
                shapes[f'{start}.gamma1'] = shapes[f'{start}.gamma2'] = (c,)
        if i < 3:
            start = f'layers.{i}.{depth}'
            shapes.update(layer(f'{start}.0', 2 * c, c, 3, 3, bias=False))
            shapes.update(layer(f'{start}.1', 2 * c))
    return {f'backbone.{name}': shape for name, shape in shapes.items()}


def mask_rcnn(size, img_size=512):
    shapes = backbone(size, img_size)
    for i, c in enumerate(ARCHS[size][0]):
        shapes.update(layer(f'neck.lateral_convs.{i}.conv', 256, c, 1, 1))
        shapes.update(layer(f'neck.fpn_convs.{i}.conv', 256, 256, 3, 3))
        mask = f'roi_head.mask_head.convs.{i}.conv'
        shapes.update(layer(mask, 256, 256, 3, 3))
    return {
        **shapes,
        **layer('rpn_head.rpn_conv', 256, 256, 3, 3),
        **layer('rpn_head.rpn_cls', 3, 256, 1, 1),
        **layer('rpn_head.rpn_reg', 12, 256, 1, 1),
        **layer('roi_head.bbox_head.shared_fcs.0', 1024, 256 * 7 * 7),
        **layer('roi_head.bbox_head.shared_fcs.1', 1024, 1024),
        **layer('roi_head.bbox_head.fc_cls', 81, 1024),
        **layer('roi_head.bbox_head.fc_reg', 320, 1024),
        **layer('roi_head.mask_head.upsample', 256, 256, 2, 2),
        **layer('roi_head.mask_head.conv_logits', 80, 256, 1, 1),
    }


def upernet(size, img_size=512):
    dims = ARCHS[size][0]
    head = 'decode_head'
    shapes = backbone(size, img_size)
    for i in range(4):
        name = f'{head}.psp_modules.{i}.1'
        shapes.update(conv_bn(name, 512, dims[3], 1, 1))
    for i in range(3):
        lateral, fpn = f'{head}.lateral_convs.{i}', f'{head}.fpn_convs.{i}'
        shapes.update(conv_bn(lateral, 512, dims[i], 1, 1))
        shapes.update(conv_bn(fpn, 512, 512, 3, 3))
    wide = dims[3] + 4 * 512
    return {
        **shapes,
        **conv_bn(f'{head}.bottleneck', 512, wide, 3, 3),
        **conv_bn(f'{head}.fpn_bottleneck', 512, 4 * 512, 3, 3),
        **layer(f'{head}.conv_seg', 150, 512, 1, 1),
        **conv_bn('auxiliary_head.convs.0', 256, dims[2], 3, 3),
        **layer('auxiliary_head.conv_seg', 150, 256, 1, 1),
    }


def make_weights(shapes):
    """Tensors of these shapes that take no memory."""
    return {key: torch.zeros(()).expand(s) for key, s in shapes.items()}


@pytest.mark.parametrize(
    'model, size, millions',
    [
        (mask_rcnn, 't', 52.74),
        (mask_rcnn, 's', 74.11),
        (mask_rcnn, 'b', 114.69),
        (upernet, 't', 64.89),
        (upernet, 's', 86.26),
        (upernet, 'b', 128.82),
        (backbone, 't', 32.47),
        (backbone, 's', 53.84),
        (backbone, 'b', 94.29),
    ],
)
def test_formulas_give_the_published_parameter_counts(model, size, millions):
    count = sum(
        math.prod(shape)
        for name, shape in model(size).items()
        if not name.endswith(('running_mean', 'running_var', 'tracked'))
    )
    assert round(count / 1e6, 2) == millions


@pytest.mark.parametrize('arch', ['tiny', 'small', 'base'])
def test_backbones_have_the_official_names_and_shapes(arch):
    with torch.device('meta'):
        model = MODELS.build(dict(type='vHeat', arch=arch, img_size=512))
    found = {
        f'backbone.{k}': tuple(v.shape) for k, v in model.state_dict().items()
    }
    assert found == backbone(arch[0])
    # The sizes with layer scale are those that normalise afterwards.
    *_, layer_scale = ARCHS[arch[0]]
    blocks = [block for stage in model.layers for block in stage.blocks]
    assert {block.post_norm for block in blocks} == {layer_scale}


def list_configs():
    for pattern, model in (
        ('mask_rcnn/*_vheat-*_coco.py', mask_rcnn),
        ('upernet/*_vheat-*_ade20k-512x512.py', upernet),
    ):
        paths = sorted(CONFIGS.glob(pattern))
        assert paths
        for path in paths:
            size = path.name.split('_vheat-')[1][0]
            yield pytest.param(path, model, size, id=path.stem)


@pytest.mark.filterwarnings('ignore:.*copying from a non-meta parameter')
@pytest.mark.parametrize('path, model, size', list(list_configs()))
def test_official_weights_load_strictly(path, model, size):
    pytest.importorskip('mmdet' if model is mask_rcnn else 'mmseg')
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    with torch.device('meta'):
        net = MODELS.build(cfg.model)
    expected = model(size)
    found = {k: tuple(v.shape) for k, v in net.state_dict().items()}
    others = {k: s for k, s in found.items() if 'freq_embed' not in k}
    assert others == {k: s for k, s in expected.items() if k in others}
    assert found.keys() == expected.keys()
    # Released files of either grid, whatever grid the config has.
    for img_size in (512, 224):
        net.load_state_dict(make_weights(model(size, img_size)), strict=True)
