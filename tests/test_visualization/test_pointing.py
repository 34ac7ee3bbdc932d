"""The pointing game: activation maps peak on what they speak for.

On the validation images of the quickstart, with its trained models; layers
and method were chosen on its training images. Needs ``make quickstart``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from mmvheat.datasets.digit_files import CROP_SIDES, CROP_SIZE, load_splits
from mmvheat.datasets.digit_painting import paint_scene
from mmvheat.visualization import cam
from mmvheat.visualization.networks import Network, load_network

ROOT = Path(__file__).parents[2]
DATA = ROOT / 'data/digit_scenes'
RUNS = ROOT / 'work_dirs/quickstart'
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (RUNS / 'summary.json').is_file(),
        reason='needs the models of make quickstart',
    ),
]


def load(config: str, run: str) -> Network:
    pytest.importorskip('pytorch_grad_cam')
    (checkpoint,) = (RUNS / run).glob('*_[0-9]*.pth')
    return load_network(
        str(ROOT / 'configs/quickstart' / config), str(checkpoint)
    )


def list_scenes() -> Iterator[tuple[np.ndarray, list[tuple]]]:
    """Every other scene of val, and class and mask of its digits."""
    path = DATA / 'annotations/instances_val.json'
    objects = json.loads(path.read_text())['annotations']
    for number in range(0, 100, 2):
        image = mmcv.imread(
            DATA / f'val/{number:06d}.jpg', channel_order='rgb'
        )
        truth = [
            (item['category_id'] - 1, coco_mask.decode(item['segmentation']))
            for item in objects
            if item['image_id'] == number
        ]
        yield image, truth


def report(name: str, hits: list[bool], chance: list[float]) -> None:
    share = np.mean(hits)
    print(
        f'{name}: {100 * share:.1f} % of {len(hits)} peaks hit, by chance '
        f'{100 * np.mean(chance):.1f} %'
    )
    assert share >= 0.8


@pytest.mark.parametrize('method', ['layercam', 'absgradcam'])
def test_classifier_points_at_the_digit(method):
    network = load('vheat-n_12e_digit-crops-64x64.py', 'classification')
    layers = cam.choose_layers(network, method)
    _, val = load_splits(0)
    hits, chance = [], []
    for index in val.indices:
        picture, ((_, mask),) = paint_scene(
            val.generator(1, index, 0),
            val.photos,
            val.digits,
            [index],
            CROP_SIZE,
            CROP_SIDES,
        )
        sample = network.prepare(picture)
        found = cam.compute_cam(network, sample, layers, method=method)
        hits.append(bool(mask[cam.find_peak(found.values)]))
        chance.append(mask.mean())
    report(f'classifier, {method}', hits, chance)


def test_segmentor_points_at_the_digits_of_a_class():
    network = load('upernet_vheat-n_750i_digit-scenes-192x192.py', 'upernet')
    layers = cam.choose_layers(network)
    hits, chance = [], []
    for picture, truth in list_scenes():
        sample = network.prepare(picture)
        with torch.no_grad():
            found = network.predict(sample).pred_sem_seg.data[0].numpy()
        for digit in sorted({digit for digit, _ in truth}):
            mask = np.any([m for d, m in truth if d == digit], axis=0)
            if (found[mask] == digit + 1).mean() < 0.5:
                continue  # it speaks for what it does not see
            activation = cam.compute_cam(
                network, sample, layers, category=digit + 1
            )
            hits.append(bool(mask[cam.find_peak(activation.values)]))
            chance.append(mask.mean())
    report('segmentor', hits, chance)


def test_detector_points_at_the_object():
    network = load('mask-rcnn_vheat-n_fpn_2e_digit-scenes.py', 'mask_rcnn')
    layers = cam.choose_layers(network)
    hits, chance = [], []
    for picture, truth in list_scenes():
        sample = network.prepare(picture)
        with torch.no_grad():
            found = network.predict(sample).pred_instances
        found = found[found.scores >= 0.3]
        for number, (label, mask) in enumerate(
            zip(found.labels.tolist(), found.masks.numpy())
        ):
            overlaps = [
                (mask & (m > 0)).sum() / (mask | (m > 0)).sum()
                for d, m in truth
                if d == label
            ]
            if max(overlaps, default=0) < 0.5:
                continue  # no such digit is there
            masks = [m for d, m in truth if d == label]
            target = masks[int(np.argmax(overlaps))]
            activation = cam.compute_cam(
                network, sample, layers, instance=number
            )
            hits.append(bool(target[cam.find_peak(activation.values)]))
            chance.append(target.mean())
    report('detector', hits, chance)
