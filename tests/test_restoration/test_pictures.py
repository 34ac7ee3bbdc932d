"""What is drawn of a restorer is what it sees, does and conducts."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from mmvheat.models import HeatBlock
from mmvheat.visualization import heat
from mmvheat.visualization.cam import compute_cam
from mmvheat.visualization.features import collect_maps
from mmvheat.visualization.layers import PictureError, list_stages
from mmvheat.visualization.networks import find_vheat, load_network
from mmvheat.visualization.receptive_field import load_stages, make_forward
from mmvheat.visualization.restoration import (
    Restoration,
    Restorer,
    draw_restoration,
)

CONFIGS = Path(__file__).parents[2] / 'configs'
QUICKSTART = str(CONFIGS / 'quickstart/vheatir-n_graydn25_photographs.py')
NARROW = {'model.network.embed_dims': 8, 'model.network.depths': (1, 2)}


def load(config: str = QUICKSTART, **options) -> Restorer:
    found = load_network(config, options=NARROW | options)
    torch.nn.init.normal_(found.backbone.tail.weight, std=0.1)
    return found


@pytest.fixture(scope='module')
def restorer() -> Restorer:
    return load()


@pytest.mark.parametrize('kind', ['file', 'array'])
def test_degrades_as_the_test_of_its_config(
    restorer, photograph, tmp_path, kind: str
) -> None:
    path = str(tmp_path / 'x.png')
    cv2.imwrite(path, photograph[..., ::-1])

    sample = restorer.prepare(path if kind == 'file' else photograph)

    clean = cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY)
    # A decoder rounds in its own way.
    gt = sample.data_samples[0].gt.numpy()[0]
    np.testing.assert_allclose(gt, clean, atol=1.01)
    np.random.seed(0)
    noise = np.random.normal(0, 25, (*clean.shape, 1))[..., 0]
    seen = sample.inputs[0, 0].numpy() * 255
    np.testing.assert_allclose(seen, gt + noise, atol=1e-3)
    for channel in range(3):
        np.testing.assert_allclose(
            sample.picture[..., channel], seen.clip(0, 255), atol=0.51
        )


def test_takes_a_degraded_image_as_it_is(photograph) -> None:
    restorer = load(**{'model.network.upscale': 2})
    gray = photograph.copy()
    gray[:] = cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY)[..., None]

    sample = restorer.prepare(gray, is_degraded=True)
    restoration = restorer.restore(sample)

    np.testing.assert_array_equal(sample.picture, gray)
    assert 'gt' not in sample.data_samples[0]
    assert restoration.clean is None
    assert restoration.restored.shape == (134, 180, 3)
    assert restoration.measure() == {}
    assert len(draw_restoration(restoration).axes) == 3


def test_a_config_of_pairs_degrades_nothing(photograph) -> None:
    restorer = load()
    pipeline = restorer.cfg.test_dataloader.dataset.pipeline
    del pipeline[1]
    with pytest.raises(PictureError, match='degrades none'):
        restorer.prepare(photograph)
    assert restorer.prepare(photograph, is_degraded=True)


def test_other_weights_are_refused(tmp_path) -> None:
    path = tmp_path / 'weights.pth'
    network = load(**{'model.network.embed_dims': 4}).backbone
    weights = {f'network.{k}': v for k, v in network.state_dict().items()}
    torch.save(dict(state_dict=weights), path)
    with pytest.raises(
        PictureError, match=r'lacks \d+ of .* such as network.freq_embed'
    ):
        load_network(QUICKSTART, str(path), options=NARROW)


def test_stage_that_a_restorer_has_not_is_told() -> None:
    with pytest.raises(PictureError, match='has no stage 4, but stage 1, '):
        load_stages(QUICKSTART, stages=(4,), options=NARROW)


def test_pictures_are_measured_and_drawn(photograph) -> None:
    metrics = pytest.importorskip('skimage.metrics')
    noise = np.random.default_rng(1).normal(0, 9, photograph.shape)
    noisy = (photograph + noise).clip(0, 255).astype(np.uint8)

    restoration = Restoration(noisy, photograph, photograph)

    psnr = metrics.peak_signal_noise_ratio(photograph, noisy)
    measured = restoration.measure()
    assert measured['degraded'].startswith(f'{psnr:.2f} dB, SSIM 0.')
    assert measured['restored'] == 'inf dB, SSIM 1.000'
    figure = draw_restoration(restoration)
    images = [axes.images[0].get_array() for axes in figure.axes[:4]]
    np.testing.assert_array_equal(images[0], noisy)
    assert (images[3] == 0).all()
    # A strip is drawn among usual sides, and not measured by SSIM.
    strip = Restoration(*(image[:1].repeat(9, 1) for image in images[:3]))
    assert draw_restoration(strip).get_size_inches()[1] > 1
    assert 'SSIM' not in strip.measure()['degraded']


@pytest.mark.parametrize('k', ['freq_embed', 0.7])
def test_k_is_what_the_blocks_conduct_by(k, photograph) -> None:
    restorer = load(**{'model.network.k': k})
    backbone = find_vheat(restorer, '')
    used = []
    for module in backbone.modules():
        if isinstance(module, HeatBlock):
            module.op.propagator.register_forward_pre_hook(
                lambda _, inputs: used.append(inputs[1])
            )

    restorer.predict(restorer.prepare(photograph))

    assert heat.list_depths(backbone) == [1, 2]
    collected = sum(heat.collect_k(backbone, photograph.shape[:2]), [])
    assert len(used) == len(collected) == 3
    for one, two in zip(used, collected):
        assert two.shape == (67, 90, 8)
        np.testing.assert_allclose(
            torch.as_tensor(one).detach().expand(two.shape), two, rtol=1e-5
        )


def test_features_are_those_of_the_groups(restorer, photograph) -> None:
    stages = list_stages(restorer)
    outputs = []
    for group in restorer.backbone.groups:
        group.register_forward_hook(lambda *args: outputs.append(args[2]))

    sample = restorer.prepare(photograph)
    maps = collect_maps(restorer, sample, stages)

    assert list(maps) == ['stage 1', 'stage 2']
    for one, two in zip(maps.values(), outputs):
        np.testing.assert_array_equal(one, two[0].permute(2, 0, 1).numpy())
    normalized = restorer.normalize(photograph)
    assert normalized.shape == (1, 1, 67, 90)
    forward = make_forward(restorer, stages['stage 2'])
    assert forward(normalized).shape == (1, 8, 67, 90)


def test_a_restorer_without_heat_or_classes_is_told(
    restorer, photograph
) -> None:
    with pytest.raises(PictureError, match='predicts no class'):
        compute_cam(restorer, restorer.prepare(photograph), [])
    network = dict(type='DnCNN', channels=4, depth=3)
    model = MODELS.build(dict(type='ImageRestorer', network=network))
    plain = Restorer(model.eval(), restorer.cfg)
    with pytest.raises(PictureError, match='a DnCNN, of which no heat'):
        find_vheat(plain, 'x.py')
    maps = collect_maps(plain, plain.prepare(photograph), list_stages(plain))
    assert maps['stage 1'].shape == (1, 67, 90)
