"""The model: its loss, what it predicts, and images in tiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement

from mmvheat.models import ImageRestorer
from mmvheat.models.restorer import split_side


@MODELS.register_module()
class Enlarged(BaseModule):
    """Repeats pixels; ``sizes`` are those of the images it was given."""

    def __init__(self, upscale: int = 1) -> None:
        super().__init__()
        self.upscale, self.sizes = upscale, []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(tuple(x.shape[2:]))
        s = self.upscale
        return x.repeat_interleave(s, 2).repeat_interleave(s, 3)


def build(upscale: int = 1, **options) -> ImageRestorer:
    network = dict(type='Enlarged', upscale=upscale)
    return ImageRestorer(network, **options).eval()


def sample_of(gt: torch.Tensor) -> BaseDataElement:
    return BaseDataElement(gt=gt, metainfo=dict(img_path='x.png'))


def test_loss_is_charbonniers() -> None:
    model = build(eps=1e-2)
    inputs, clean = torch.rand(2, 2, 1, 5, 6)

    loss = model(inputs, [sample_of(c * 255) for c in clean], mode='loss')

    d = (inputs - clean).double().numpy()
    expected = np.sqrt(d**2 + 1e-4).mean()
    assert loss['loss'].item() == pytest.approx(expected, rel=1e-5)


def test_predictions_are_in_0_to_255() -> None:
    image = torch.tensor([[[-20.0, 100.0, 300.0]]])

    (sample,) = build().test_step(
        dict(inputs=[image], data_samples=[sample_of(image)])
    )

    torch.testing.assert_close(sample.pred, image.clamp(0, 255))


@pytest.mark.parametrize(
    ('length', 'tile', 'overlap'), [(50, 20, 5), (40, 20, 0), (21, 20, 7)]
)
def test_tiles_cover_a_side_and_overlap(length, tile, overlap) -> None:
    tiles = list(split_side(length, tile, overlap))

    assert {i for t in tiles for i in range(length)[t]} == set(range(length))
    assert all(t.stop - t.start == tile for t in tiles)
    for one, two in zip(tiles, tiles[1:]):
        assert one.start < two.start <= one.stop - overlap
    assert len(tiles) == 1 + int(np.ceil((length - tile) / (tile - overlap)))


@pytest.mark.parametrize('upscale', [1, 2])
def test_tiles_are_put_together_in_place(upscale: int) -> None:
    model = build(upscale, tile=16, overlap=4)
    image = torch.rand(1, 3, 37, 16)

    restored = model.restore(image)

    assert model.network.sizes == 3 * [(16, 16)]
    torch.testing.assert_close(restored, model.network(image))


def test_an_image_of_a_tile_is_restored_whole() -> None:
    model = build(tile=64)

    model.restore(torch.rand(1, 1, 40, 64))

    assert model.network.sizes == [(40, 64)]


@pytest.mark.parametrize('tile', [None, 16])
def test_self_ensemble_is_the_mean_over_eight_symmetries(tile) -> None:
    torch.manual_seed(0)
    model = build(2, tile=tile, overlap=4, self_ensemble=True)
    kernel = torch.randn(3, 3, 3, 3)  # of no symmetry
    network = model.network.forward
    model.network.forward = lambda x: network(
        torch.nn.functional.conv2d(x, kernel, padding=1).sigmoid()
    )
    image = torch.rand(3, 21, 16) * 255

    (sample,) = model.test_step(dict(inputs=[image]))

    views = []
    for turns in range(4):
        for mirror in (False, True):
            view = np.rot90(image.numpy(), turns, (1, 2))
            view = view[:, ::-1] if mirror else view
            one = torch.from_numpy(view.copy())[None] / 255
            one = model.restore(one)[0].numpy()
            one = one[:, ::-1] if mirror else one
            views.append(np.rot90(one, -turns, (1, 2)))
    expected = np.mean(views, 0) * 255
    np.testing.assert_allclose(sample.pred.numpy(), expected, atol=1e-3)
    assert np.abs(views[0] * 255 - expected).max() > 10


def test_bad_arguments_are_told() -> None:
    with pytest.raises(ValueError, match='overlap=32 and tile=32'):
        build(tile=32)
    model = build()
    with pytest.raises(ValueError, match='x.png: the clean image is'):
        model(torch.rand(1, 1, 4, 4), [sample_of(torch.rand(1, 8, 8))], 'loss')
