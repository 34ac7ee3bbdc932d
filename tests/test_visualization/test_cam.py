"""Class activation maps, against what can be derived by hand."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.hub import get_config

from mmvheat.visualization import cam
from mmvheat.visualization.layers import (
    PictureError,
    find_layer,
)
from mmvheat.visualization.networks import (
    load_network,
)

pytest.importorskip('pytorch_grad_cam')
CONFIGS = Path(__file__).parents[1] / 'test_tools/configs'


def stretch(values: np.ndarray) -> np.ndarray:
    """From 0 to 1."""
    values = values - values.min()
    return values / (1e-7 + values.max())


def scale(size: tuple[int, int], *maps: np.ndarray) -> np.ndarray:
    """How grad-cam shows maps: their positive parts, enlarged, the mean."""
    enlarged = [
        cv2.resize(stretch(np.maximum(values, 0)), size[::-1])
        for values in maps
    ]
    return stretch(np.mean(enlarged, 0))


def compute(network, sample, layers, category: int) -> np.ndarray:
    found = cam.compute_cam(
        network, sample, layers, category=category, method='gradcam'
    )
    return found.values


@pytest.fixture
def classifier(networks, image):
    network = networks('classifier')
    return network, network.prepare(str(image))


@pytest.mark.parametrize('method', ['gradcam', 'absgradcam'])
@pytest.mark.parametrize('layer', ['backbone[0]', 'backbone.outnorm3'])
def test_map_of_a_linear_head_is_the_closed_form(classifier, layer, method):
    network, sample = classifier
    layers = [find_layer(network.model, layer)]
    with torch.no_grad():
        (maps,) = network.backbone(sample.inputs)
        # behind mean pooling, the gradient is the weight of the class
        weight = network.model.head.fc.weight
        expected = torch.einsum('kc,chw->khw', weight, maps[0]).numpy()
    if method == 'absgradcam':
        category = int(expected.min((1, 2)).argmin())
        assert expected[category].any()
        expected = np.abs(expected)
    else:
        category = int(expected.max((1, 2)).argmax())
        assert expected[category].max() > 0
    expected = expected[category]
    found = cam.compute_cam(
        network, sample, layers, category=category, method=method
    )
    size = sample.picture.shape[:2]
    np.testing.assert_allclose(found.values, scale(size, expected), atol=1e-4)
    assert found.title.startswith(f'class {category}: ')


def test_segmentor_asks_for_its_class_where_it_predicts_it(networks, image):
    network = networks('upernet')
    sample = network.prepare(str(image))
    layers = [find_layer(network.model, 'backbone[1]')]
    found = cam.compute_cam(network, sample, layers, method='gradcam')
    with torch.enable_grad():
        maps = network.backbone(sample.inputs)
        maps = [m.detach().requires_grad_() for m in maps]
        logits = network.model.decode_head(maps)[0]
        labels = logits.argmax(0)
        mask = labels == found.category
        (gradient,) = torch.autograd.grad(
            logits[found.category][mask].sum(), maps[1]
        )
    assert mask.any()
    weight = gradient.mean((2, 3), keepdim=True)
    expected = (weight * maps[1]).sum(1)[0].detach().numpy()
    np.testing.assert_allclose(
        found.values, scale(sample.picture.shape[:2], expected), atol=1e-3
    )


def test_detector_asks_for_the_score_of_an_object(networks, image):
    network = networks('mask_rcnn')
    sample = network.prepare(str(image))
    layers = [find_layer(network.model, 'backbone[0]')]
    found = cam.compute_cam(
        network, sample, layers, instance=0, score_thr=0.0, method='gradcam'
    )
    stored = []
    handle = network.backbone.register_forward_hook(
        lambda module, inputs, output: stored.extend(output)
    )
    with torch.enable_grad():
        image = sample.inputs.clone().requires_grad_()
        (result,) = network.model.predict(
            image, [sample.data_samples[0].clone()], rescale=False
        )
        best = result.pred_instances.scores.max()
        (gradient,) = torch.autograd.grad(best, stored[0])
    handle.remove()
    weight = gradient.mean((2, 3), keepdim=True)
    expected = (weight * stored[0]).sum(1)[0].detach().numpy()
    np.testing.assert_allclose(
        found.values, scale(sample.picture.shape[:2], expected), atol=1e-3
    )


def test_weights_get_no_gradient_and_layers_keep_no_hook(classifier):
    network, sample = classifier
    layers = [find_layer(network.model, 'backbone[0]')]
    cam.compute_cam(network, sample, layers, method='layercam')
    assert all(p.grad is None for p in network.model.parameters())
    assert not network.backbone._forward_hooks


def test_layers_by_default_are_hidden_ones_of_two_stages(classifier):
    network, sample = classifier
    layers = cam.choose_layers(network)
    names = [f'backbone.layers.{i}.0.mlp.fc1' for i in (0, 1)]
    assert [layer.name for layer in layers] == names
    found = cam.compute_cam(network, sample, layers, category=2)
    expected = []
    for name in names:
        kept = []
        handle = network.model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, kept=kept: kept.append(output)
        )
        with torch.enable_grad():
            image = sample.inputs.clone().requires_grad_()
            logit = network.model(image, mode='tensor')[0, 2]
            (gradient,) = torch.autograd.grad(logit, kept[0])
        handle.remove()
        # LayerCAM: positive gradient times activation, at every place
        map_ = (gradient.relu() * kept[0]).sum(-1)[0].detach().numpy()
        expected.append(map_)
    size = sample.picture.shape[:2]
    np.testing.assert_allclose(found.values, scale(size, *expected), atol=1e-3)


def test_layers_of_a_segmentor_are_its_maps_and_a_hidden_one(networks, image):
    network = networks('upernet')
    sample = network.prepare(str(image))
    layers = cam.choose_layers(network)
    names = ['backbone[0]', 'backbone[1]', 'backbone.layers.1.0.mlp.fc2']
    assert [layer.name for layer in layers] == names
    # The maps are returned behind the hidden layer, and computed before it.
    found = cam.compute_cam(network, sample, layers)
    kept = {}
    handles = [
        network.model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: kept.update(
                {name: output}
            )
        )
        for name in ('backbone', names[2])
    ]
    with torch.enable_grad():
        image = sample.inputs.clone().requires_grad_()
        logits = network.model(image, sample.data_samples, mode='tensor')[0]
        own = logits.argmax(0) == found.category
        hidden = kept[names[2]]
        maps = [*kept['backbone'][:2], hidden]
        gradients = torch.autograd.grad(
            logits[found.category][own].sum(), maps
        )
    for handle in handles:
        handle.remove()
    expected = [
        (gradient.relu() * map_)[0].detach()
        for gradient, map_ in zip(gradients, maps)
    ]
    expected = [m.sum(-1 if m is expected[2] else 0).numpy() for m in expected]
    size = sample.picture.shape[:2]
    np.testing.assert_allclose(found.values, scale(size, *expected), atol=1e-3)


def test_a_layer_without_influence_is_named(image):
    options = {'model.backbone.out_indices': (0, 3)}
    network = load_network(str(CONFIGS / 'classifier.py'), options=options)
    sample = network.prepare(str(image))
    layers = [find_layer(network.model, f'backbone[{i}]') for i in (0, 1)]
    for chosen in (layers[:1], layers):
        with pytest.raises(PictureError, match=r'depend on .*backbone\[0\]'):
            cam.compute_cam(network, sample, chosen)
    cam.compute_cam(network, sample, layers[1:])


def test_layers_of_another_classifier_are_what_its_head_reads(image):
    backbone = dict(
        _delete_=True,
        type='ConvNeXt',
        arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 32, 64]),
        out_indices=(0, 1, 3),
        gap_before_final_norm=False,
    )
    options = {'model.backbone': backbone}
    network = load_network(str(CONFIGS / 'classifier.py'), options=options)
    layers = cam.choose_layers(network)
    assert [layer.name for layer in layers] == ['backbone[2]']
    cam.compute_cam(network, network.prepare(str(image)), layers)


def test_title_of_many_objects_is_short(networks, image):
    network = networks('mask_rcnn')
    sample = network.prepare(str(image))
    with torch.no_grad():
        count = len(network.predict(sample).pred_instances)
    layers = cam.choose_layers(network)
    title = cam.compute_cam(network, sample, layers, score_thr=0).title
    assert count > 2
    assert title.endswith(f'% and {count - 2} more')
    assert title.count('%') == 2


def test_magnitudes_are_looked_at_behind_the_first_stage(classifier):
    (layer,) = cam.choose_layers(classifier[0], 'absgradcam')
    assert layer.name == 'backbone.layers.0.0.mlp.fc2'


@pytest.mark.parametrize('task', ['classifier', 'mask_rcnn', 'upernet'])
def test_command_draws_every_task(run, checkpoint, image, task) -> None:
    job = run(
        'vis_cam', CONFIGS / f'{task}.py', checkpoint(task), image,
        '--score-thr', 0, '--method', 'gradcam++',
    )  # fmt: skip
    assert job.code == 0, job
    assert cv2.imread(str(job.out / 'discs_cam.png')).std() > 10
    assert 'speaks for the prediction' in job.printed


@pytest.mark.parametrize(
    ('task', 'arguments', 'words'),
    [
        ('classifier', ['--category', 3], 'has 3, counted from 0'),
        ('mask_rcnn', ['--score-thr', 1.1], 'finds no such object'),
        ('mask_rcnn', ['--layers', 'nek'], 'did you mean neck'),
    ],
)
def test_command_with_bad_input(
    run, checkpoint, image, task, arguments, words
) -> None:
    job = run(
        'vis_cam', CONFIGS / f'{task}.py', checkpoint(task), image, *arguments
    )
    assert words in job.error
    assert not job.out.exists()


def test_command_needs_the_weights_of_the_head(run, checkpoint, image) -> None:
    job = run(
        'vis_cam', CONFIGS / 'upernet.py', checkpoint('mask_rcnn'), image
    )
    assert 'no weights for' in job.error
    assert not job.out.exists()


def test_missing_package_is_named(classifier, monkeypatch):
    network, sample = classifier
    monkeypatch.setitem(sys.modules, 'pytorch_grad_cam', None)
    with pytest.raises(PictureError, match=r"'mmvheat\[vis\]'"):
        cam.compute_cam(network, sample, [])


def test_mmpretrains_own_tool_gives_the_same_map(
    checkpoint, image, tmp_path, monkeypatch
) -> None:
    script = Path(
        get_config('mmpretrain::resnet/resnet18_8xb32_in1k.py').filename
    ).parents[2]
    script = script / 'tools/visualization/vis_cam.py'
    config, weights = CONFIGS / 'classifier.py', checkpoint('classifier')
    network = load_network(str(config), str(weights))
    sample = network.prepare(str(image))
    layers = [find_layer(network.model, 'backbone[0]')]
    category, ours = next(
        (i, found)
        for i in range(3)
        if (found := compute(network, sample, layers, i)).std() > 0
    )
    out = tmp_path / 'theirs.png'
    neck = 'mmvheat.visualization.cam.MapPooling'
    monkeypatch.setattr(
        sys,
        'argv',
        ['vis_cam.py', str(image), str(config), str(weights)]
        + ['--save-path', str(out), '--target-layers', 'neck.map']
        + ['--target-category', str(category)]
        + ['--cfg-options', f'model.neck.type={neck}'],
    )
    runpy.run_path(str(script), run_name='__main__')

    from pytorch_grad_cam.utils.image import show_cam_on_image

    picture = np.float32(sample.picture[..., ::-1]) / 255
    expected = show_cam_on_image(picture, ours, use_rgb=False)
    np.testing.assert_array_equal(cv2.imread(str(out)), expected)


def test_mmsegs_own_tool_works(
    checkpoint, image, tmp_path, monkeypatch
) -> None:
    script = Path(
        get_config(
            'mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py'
        ).filename
    ).parents[2]
    script = script / 'tools/analysis_tools/visualization_cam.py'
    config, weights = CONFIGS / 'upernet.py', checkpoint('upernet')
    out = tmp_path / 'theirs.png'
    monkeypatch.setattr(
        sys,
        'argv',
        ['visualization_cam.py', str(image), str(config), str(weights)]
        + ['--out-file', str(tmp_path / 'prediction.png')]
        + ['--cam-file', str(out), '--device', 'cpu']
        + ['--target-layers', 'decode_head.fpn_bottleneck']
        + ['--category-index', '1'],
    )
    runpy.run_path(str(script), run_name='__main__')
    assert cv2.imread(str(out)).shape == (64, 64, 3)
