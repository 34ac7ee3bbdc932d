"""What heat does, against closed solutions and scipy."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn, idctn
from scipy.stats import norm

from mmvheat.visualization import films, heat, heat_pictures
from mmvheat.visualization.layers import (
    PictureError,
)

CONFIGS = Path(__file__).parents[1] / 'test_tools/configs'
PLATE = (20, 31)


def fold_gaussian(size: int, cell: int, variance: float) -> np.ndarray:
    """A Gaussian in a cell of an insulated rod, by its image charges."""
    x = np.arange(size) + 0.5
    centre, deviation = cell + 0.5, variance**0.5
    return sum(
        norm.pdf(x, sign * centre + 2 * size * turn, deviation)
        for turn in range(-20, 21)
        for sign in (-1, 1)
    )


@pytest.mark.parametrize('cell', [(9, 15), (0, 30), (18, 2)])
@pytest.mark.parametrize('k', [1.5, 8.0, 200.0])
def test_constant_k_equals_the_sum_of_image_charges(cell, k):
    pixel = (cell[1] * 4 + 1, cell[0] * 4 + 2)
    source = heat.place_point(pixel, (80, 124), PLATE)
    (after,) = heat.conduct(source, k)
    expected = np.outer(
        *(fold_gaussian(n, c, 2 * k) for n, c in zip(PLATE, cell))
    )
    np.testing.assert_allclose(after, expected, atol=1e-4 * expected.max())


def test_a_gaussian_stays_one_whatever_k_and_time_make_of_it():
    start = 1.4**2  # so wide that a cell sees no edge of it
    source = np.outer(*(fold_gaussian(n, 7, start) for n in PLATE))
    after = heat.conduct(source, 3.0, times=(0, 0.25, 2))
    for t, frame in zip((0, 0.25, 2), after):
        expected = np.outer(
            *(fold_gaussian(n, 7, start + 2 * 3 * t) for n in PLATE)
        )
        np.testing.assert_allclose(frame, expected, atol=1e-4)


@pytest.fixture
def k(build) -> np.ndarray:
    """A predicted k on a plate that is not that of the embeddings."""
    return heat.collect_k(build('pre_norm'), (80, 124))[0][0]


def test_film_conserves_heat_and_every_frame_is_one_conduction(k):
    assert k.shape[:2] == PLATE
    source = heat.place_point((50, 30), (80, 124), PLATE)
    times = np.linspace(0, 2, 5)
    film = heat.conduct(source, k, times)
    np.testing.assert_allclose(film.sum((1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(film[0], source, atol=1e-6)
    w = [np.arange(n) * np.pi / n for n in PLATE]
    squared = (w[0][:, None] ** 2 + w[1] ** 2)[..., None]
    spectrum = dctn(source, norm='ortho')[..., None]
    for t, frame in zip(times, film):
        decayed = (spectrum * np.exp(-k * squared * t)).mean(-1)
        expected = idctn(decayed, norm='ortho')
        np.testing.assert_allclose(frame, expected, atol=1e-6)
        np.testing.assert_allclose(
            frame, heat.conduct(source, k, [t])[0], atol=1e-12
        )


@pytest.mark.parametrize('size', [(64, 64), (75, 130)])
def test_collected_k_is_what_the_blocks_compute(build, size):
    model, computed = build('post_norm').eval(), []
    for stage in model.layers:
        for block in stage.blocks:
            block.op.to_k.register_forward_hook(
                lambda module, inputs, output: computed.append(output)
            )
    with torch.no_grad():
        model(torch.zeros(1, 3, *size))
    collected = heat.collect_k(model, size)
    assert [len(blocks) for blocks in collected] == [1, 2, 1, 1]
    flat = [k for blocks in collected for k in blocks]
    for ours, theirs in zip(flat, computed):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


class Source(torch.nn.Module):
    """k that is no prediction from the embedding."""

    def __init__(self, k) -> None:
        super().__init__()
        self.k = torch.tensor(k)

    def forward(self, embedding):
        return self.k


class PooledSource(Source):
    pass


class WavePropagator(torch.nn.Module):
    pass


@pytest.mark.parametrize('k', [2.0, [3.0], list(range(8))])
def test_k_that_is_the_same_for_every_frequency(build, k):
    model = build('pre_norm', out_indices=(0,))
    model.layers[0][0].op.to_k = Source(k)
    ((collected,),) = heat.collect_k(model, (64, 64))
    expected = np.broadcast_to(k, (16, 16, 8))
    np.testing.assert_array_equal(collected, expected)


def test_blocks_without_such_a_k_are_refused(build):
    model = build('pre_norm')
    model.layers[2][0].op.to_k = PooledSource(1.0)
    with pytest.raises(PictureError, match='from the features of every'):
        heat.collect_k(model, (64, 64))
    model.layers[2][0].op.propagator = WavePropagator()
    with pytest.raises(PictureError, match='by WavePropagator, not by heat'):
        heat.collect_k(model, (64, 64))


def test_spectrum_of_a_constant_k():
    k = 0.7
    spectrum = heat.compute_spectrum(np.full((64, 96, 3), k))
    half = np.sqrt(np.log(2) / k)  # exp(-k w^2) = 1 / 2
    assert spectrum.half_decay == pytest.approx(half, rel=0.02)
    assert spectrum.half_decay_cells == pytest.approx(np.pi / half, rel=0.02)
    w = [np.arange(n) * np.pi / n for n in (64, 96)]
    energy = np.exp(-2 * k * (w[0][:, None] ** 2 + w[1] ** 2)).ravel()[1:]
    assert spectrum.energy == pytest.approx(energy.mean())
    np.testing.assert_allclose(spectrum.k_rings, k)


def test_quartiles_are_those_of_the_channels():
    k = np.broadcast_to(np.arange(5.0), (8, 8, 5))
    rings = heat.compute_spectrum(k).k_rings
    expected = np.array([2.0, 1.0, 2.0, 3.0])[:, None]
    np.testing.assert_allclose(rings, np.broadcast_to(expected, rings.shape))


def test_spectrum_of_no_conduction_and_of_a_single_cell():
    none = heat.compute_spectrum(np.zeros((8, 6, 2)))
    assert none.half_decay == np.inf
    assert (none.half_decay_cells, none.energy) == (0, 1)
    assert heat.compute_spectrum(np.ones((1, 1, 2))).energy == 1


def test_brightest_object_is_the_brightest_not_the_largest(image):
    picture = cv2.imread(str(image))[..., ::-1]
    mask = heat.find_brightest_object(picture)
    y, x = np.nonzero(mask)
    assert abs(x.mean() - 44) < 1 and abs(y.mean() - 20) < 1
    assert mask.sum() == pytest.approx(np.pi * 9**2, rel=0.2)
    source = heat.place_object(mask, (16, 16))
    assert source.sum() == pytest.approx(1)
    assert np.unravel_index(source.argmax(), (16, 16))[1] in range(8, 14)


def test_pixel_finds_its_cell_and_must_be_inside():
    source = heat.place_point((63, 8), (64, 64), (16, 16))
    assert source[2, 15] == source.sum() == 1
    with pytest.raises(PictureError, match='64x64'):
        heat.place_point((64, 8), (64, 64), (16, 16))
    with pytest.raises(PictureError, match='outside'):
        heat.place_point((3, -1), (64, 64), (16, 16))


def test_film_is_written_as_gif_and_mp4(tmp_path):
    source = heat.place_point((30, 30), (64, 64), (16, 16))
    times = [0, 0.5, 1]
    frames = heat.conduct(source, 2.0, times)
    picture = np.full((64, 64, 3), 90, np.uint8)
    film = films.draw_film(picture, frames, times, 'stage 1')
    assert len({image.shape for image in film}) == 1
    assert (film[0] != film[1]).any() and (film[1] != film[2]).any()
    back = films.draw_film(picture, frames[[0, 1, 0]], [0, 0.5, 0], 'stage 1')
    assert (back[0] == back[2]).all()  # nothing of a frame is left in others
    films.write_gif(film, tmp_path / 'new/film.gif')
    with Image.open(tmp_path / 'new/film.gif') as gif:
        assert gif.n_frames == 3
        gif.seek(1)
        shown = np.asarray(gif.convert('RGB')).astype(int)
    assert np.abs(shown - film[1]).mean() < 6  # of 255: the palette
    if films.write_mp4(film, tmp_path / 'film.mp4'):
        video = cv2.VideoCapture(str(tmp_path / 'film.mp4'))
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_command_draws_all_of_it(run, checkpoint, image) -> None:
    config = CONFIGS / 'mask_rcnn.py'
    job = run(
        'vis_heat', config, checkpoint('mask_rcnn'), image,
        '--steps', 2, '--sizes', 64, 96,
    )  # fmt: skip
    assert job.code == 0, job
    for name in ('discs_heat.png', 'spectrum.png', 'sizes.png'):
        assert cv2.imread(str(job.out / name)).std() > 10
        assert f'{name}\n' in job.printed
    assert (job.out / 'discs_heat.gif').is_file()
    assert heat_pictures.SPECTRUM_CAPTION in job.printed
    assert '96x96' in job.printed
    assert not list(job.out.glob('*.partial'))


def test_command_without_an_image_in_a_vector_format(run) -> None:
    config = CONFIGS / 'classifier.py'
    job = run(
        'vis_heat', config, 'none', '--format', 'svg', '--steps', 0,
        '--stage', 1, '--channels', 0, 3, '--k', 2,
    )  # fmt: skip
    assert job.code == 0, job
    names = sorted(path.name for path in job.out.iterdir())
    assert names == ['plate_heat.svg', 'spectrum.svg']
    assert '<svg' in (job.out / 'plate_heat.svg').read_text()


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--pixel', 64, 0], 'outside the image'),
        (['--stage', 5], 'from 1 to 4'),
        (['--stage', 1, '--block', 2], 'from 1 to 1'),
        (['--stage', 1, '--channels', 8], 'from 0 to 7'),
        (['--k', -1], '--k must be at least 0'),
        (['--sizes', 8], '--sizes must be at least 32'),
        (['--until', 'inf'], '--until must be at least 0 and finite'),
    ],
)
def test_command_with_a_number_out_of_range(run, image, arguments, words):
    config = CONFIGS / 'classifier.py'
    job = run('vis_heat', config, 'none', image, *arguments)
    assert words in job.error
    assert not job.out.exists()


def test_command_that_cannot_write(run, tmp_path) -> None:
    (tmp_path / 'out').write_text('a file, no folder')
    job = run('vis_heat', CONFIGS / 'classifier.py', 'none', '--stage', 1)
    assert 'plate_heat.png cannot be written' in job.error
    assert job.out.read_text() == 'a file, no folder'
