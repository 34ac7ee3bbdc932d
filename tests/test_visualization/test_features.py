"""Feature maps are those the layers give, and networks are told apart."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from sklearn.decomposition import PCA

from mmvheat.visualization.features import collect_maps, project_to_rgb
from mmvheat.visualization.layers import (
    PictureError,
    find_layer,
    list_stages,
    record,
)
from mmvheat.visualization.networks import (
    load_network,
)

CONFIGS = Path(__file__).parents[1] / 'test_tools/configs'
TASKS = ('classifier', 'mask_rcnn', 'upernet')


@pytest.mark.parametrize('task', TASKS)
def test_stages_are_what_the_backbone_returns(networks, image, task):
    network = networks(task)
    sample = network.prepare(str(image))
    stages = list_stages(network)
    maps = collect_maps(network, sample, stages)
    with torch.no_grad():
        expected = network.backbone(sample.inputs)
    first = 4 if task == 'classifier' else 1
    assert list(maps) == [f'stage {n}' for n in range(first, 5)]
    for found, stage in zip(maps.values(), expected):
        np.testing.assert_allclose(found, stage[0].numpy(), atol=1e-5)


def test_inner_layers_come_channels_first(networks, image):
    network = networks('mask_rcnn')
    sample = network.prepare(str(image))
    names = ('backbone.layers.1.0', 'backbone.layers.1', 'neck[0]')
    layers = {name: find_layer(network.model, name) for name in names}
    layers['backbone.layers.1'] = find_layer(
        network.model, 'backbone.layers.1[0]'
    )
    maps = collect_maps(network, sample, layers)
    assert maps['backbone.layers.1.0'].shape == (16, 8, 8)
    np.testing.assert_allclose(
        maps['backbone.layers.1.0'], maps['backbone.layers.1'], atol=1e-6
    )
    norm = network.backbone.outnorm1
    with torch.no_grad():
        block = torch.tensor(maps['backbone.layers.1.0']).permute(1, 2, 0)
        expected = network.backbone(sample.inputs)[1][0].permute(1, 2, 0)
        torch.testing.assert_close(norm(block), expected)


def test_inner_layers_of_timms_vheat_come_channels_first():
    timm = pytest.importorskip('timm')
    import mmvheat.timm  # noqa: F401

    arch = dict(
        embed_dims=8, depths=(1, 1, 1, 1), post_norm=True, layer_scale=0.1
    )
    model = timm.create_model('vheat_tiny', arch=arch, img_size=64).eval()
    image = torch.rand(1, 3, 64, 96)
    names = [f'layers.{i}[0]' for i in range(4)]
    names += ['patch_embed', 'layers.1.0.mlp', 'layers.0.1.0', 'norm']
    layers = [find_layer(model, name) for name in names]
    with torch.no_grad(), record(layers) as outputs:
        _, expected = model.forward_intermediates(image)
    maps = [layer.read(outputs[layer.name], image) for layer in layers]
    for found, stage in zip(maps, expected):
        assert torch.equal(found, stage)
    shapes = [(8, 16, 24), (16, 8, 12), (16, 8, 12), (64, 2, 3)]
    assert [tuple(m.shape[1:]) for m in maps[4:]] == shapes
    head = find_layer(model, 'head')
    assert not head.channels_last


def test_tokens_are_folded_into_maps_of_the_image_shape():
    layer = find_layer(torch.nn.Sequential(torch.nn.Identity()), '0')
    maps = torch.rand(1, 5, 6, 9)
    tokens = maps.flatten(2).transpose(1, 2)
    image = torch.zeros(1, 3, 24, 36)
    torch.testing.assert_close(layer.read(tokens, image), maps)
    with_class = torch.cat([tokens[:, :1], tokens], 1)
    torch.testing.assert_close(layer.read(with_class, image), maps)


def test_principal_components_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    maps = (
        generator.normal(size=(6, 7, 9)) * np.arange(6, 0, -1)[:, None, None]
    )
    rgb = project_to_rgb(maps)
    expected = PCA(3).fit_transform(maps.reshape(6, -1).T)
    for i in range(3):
        ours, theirs = rgb[..., i].ravel(), expected[:, i]
        inside = (ours > 0) & (ours < 1)  # not cut at the percentiles
        correlation = np.corrcoef(ours[inside], theirs[inside])[0, 1]
        assert abs(correlation) == pytest.approx(1)
    assert rgb.min() == 0 and rgb.max() == 1


@pytest.mark.parametrize('shape', [(1, 4, 4), (2, 1, 1), (5, 3, 3)])
def test_components_that_do_not_exist_are_grey(shape):
    rgb = project_to_rgb(np.ones(shape))
    np.testing.assert_array_equal(rgb, 0.5)


def test_segmentor_that_slides_is_shown_the_whole_image(image):
    slide = dict(mode='slide', crop_size=(32, 32), stride=(32, 32))
    network = load_network(
        str(CONFIGS / 'upernet.py'), options={'model.test_cfg': slide}
    )
    sample = network.prepare(str(image))
    maps = collect_maps(network, sample, list_stages(network))
    assert maps['stage 1'].shape[1:] == (16, 16)


def test_what_the_network_sees_is_shown_padded(networks, tmp_path):
    picture = np.zeros((40, 64, 3), np.uint8)
    picture[:, :32] = (200, 10, 30)
    sample = networks('mask_rcnn').prepare(picture)
    assert sample.picture.shape[:2] == sample.inputs.shape[-2:] == (64, 64)
    np.testing.assert_array_equal(sample.picture[:40], picture)
    assert not sample.picture[40:].any()


def test_types_of_a_pipeline_may_be_classes(networks, image):
    network = networks('classifier')
    expected = network.prepare(str(image))
    cfg = copy.deepcopy(network.cfg)
    for step in cfg.test_dataloader.dataset.pipeline:
        step.type = TRANSFORMS.get(f'mmpretrain.{step.type}')
    found = replace(network, cfg=cfg).prepare(str(image))
    assert torch.equal(found.inputs, expected.inputs)


@pytest.mark.parametrize('task', TASKS)
def test_command_works_with_every_task(run, checkpoint, image, task) -> None:
    folder = image.parent / 'images'
    folder.mkdir()
    shutil.move(image, folder)
    config = CONFIGS / f'{task}.py'
    job = run(
        'vis_features', config, checkpoint(task), folder, '--channels', 0
    )
    assert job.code == 0, job
    assert cv2.imread(str(job.out / 'discs_features.png')).std() > 10
    assert 'What each layer answers' in job.printed


@pytest.mark.parametrize(
    ('layers', 'words'),
    [
        ('backbone.layer.2', 'did you mean backbone.layers.2'),
        ('necks', 'did you mean neck'),
        ('xyz', 'it has data_preprocessor, backbone, neck'),
        ('backbone', "from 'backbone[0]' to 'backbone[3]'"),
        ('backbone[4]', 'returns 4 maps, counted from 0'),
        ('rpn_head.loss_cls', 'does not run'),
        ('backbone.layers.2.0.op.to_k', 'which is no map'),
        ('roi_head.bbox_head.fc_cls', 'which is no map'),
    ],
)
def test_command_with_a_layer_that_is_none(
    run, checkpoint, image, layers, words
) -> None:
    job = run(
        'vis_features', CONFIGS / 'mask_rcnn.py', checkpoint('mask_rcnn'),
        image, '--layers', layers,
    )  # fmt: skip
    assert words in job.error
    assert not job.out.exists()


@pytest.mark.parametrize('kind', ['empty', 'missing', 'none', 'text'])
def test_command_without_a_usable_image(run, tmp_path, kind) -> None:
    path = tmp_path / kind
    if kind == 'empty':
        path.mkdir()
    elif kind == 'text':
        path = tmp_path / 'text.png'
        path.write_text('no image')
    config = CONFIGS / 'classifier.py'
    job = run('vis_features', config, 'none', *[path] * (kind != 'none'))
    words = dict(
        empty='holds no image',
        missing='does not exist',
        none='Give at least one image',
        text='cannot be read as an image',
    )
    assert words[kind] in job.error
    assert not job.out.exists()


def test_checkpoint_of_another_model_is_refused(checkpoint, tmp_path):
    other = tmp_path / 'other.pth'
    torch.save(
        dict(state_dict={'backbone.conv1.weight': torch.ones(1)}), other
    )
    with pytest.raises(PictureError, match='lacks .* of the .* weights'):
        load_network(str(CONFIGS / 'upernet.py'), str(other))
    network = load_network(
        str(CONFIGS / 'classifier.py'), str(checkpoint('classifier'))
    )
    assert network.classes == ('box', 'disc', 'stripe')


def test_command_of_heat_without_a_vheat(run, tmp_path) -> None:
    config = tmp_path / 'resnet.py'
    config.write_text(
        f"_base_ = '{CONFIGS}/classifier.py'\n"
        'model = dict(backbone=dict(_delete_=True, '
        "type='ResNet', depth=18))\n"
    )
    job = run('vis_heat', config, 'none')
    assert "has no type='vHeat' but a ResNet" in job.error
    assert 'vis_cam.py work with it' in job.error
