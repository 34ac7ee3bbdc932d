"""The command line ``mmvheat heat``, ``vis_heat.py``."""

from __future__ import annotations

import math
from argparse import Namespace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mmvheat.errors import UserError
from mmvheat.visualization import films, heat, heat_pictures
from mmvheat.visualization.networks import find_vheat

from . import pictures

PLATE = {'plate': None}  # in place of images


def parse_args() -> Namespace:
    """Read the command line."""
    parser = pictures.make_parser('See what a vHeat conducts.')
    parser.add_argument(
        '--pixel',
        nargs=2,
        type=int,
        metavar=('X', 'Y'),
        help='column and row of the heat source in the image as the network '
        'sees it (default: the brightest object)',
    )
    parser.add_argument(
        '--stage', type=int, help='stage from 1 (default: all; film: 1)'
    )
    parser.add_argument(
        '--block', type=int, help='block of the stage from 1 (default: last)'
    )
    parser.add_argument(
        '--channels',
        nargs='+',
        type=int,
        default=[],
        help='channels from 0 to take the mean of (default: all)',
    )
    parser.add_argument(
        '--k',
        type=float,
        help='constant k in cells^2 to compare with (default: the mean of '
        'the predicted k)',
    )
    parser.add_argument(
        '--until',
        type=float,
        default=1.0,
        help='time t at which the film ends; the operator has t = 1 '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--steps',
        type=int,
        default=40,
        help='steps of time in the film, 0 for none (default: %(default)s)',
    )
    parser.add_argument(
        '--sizes',
        nargs='+',
        type=int,
        default=[],
        help='sides of square images, in pixels, to compare k at',
    )
    return parser.parse_args()


def main() -> None:
    """Draw."""
    args = parse_args()
    check(args)
    images = pictures.find_images(args.images)
    network = pictures.load(args)
    backbone = find_vheat(network, args.config)
    size = None
    jobs = max(1, len(images)) + 1 + len(args.sizes)
    with tqdm(total=jobs, desc='vis_heat', unit='picture') as bar:
        for name, path in pictures.count((images or PLATE).items(), bar):
            picture = np.full((*backbone.img_size, 3), 128, np.uint8)
            if path is not None:
                picture = network.prepare(path).picture
            draw_heat(args, backbone, name, picture)
            size = size or picture.shape[:2]
        sizes = [size, *((side, side) for side in args.sizes)]
        spectra = {
            f'{width}x{height}': heat.compute_spectra(
                backbone, (height, width)
            )
            for height, width in pictures.count(sizes, bar)
        }
    first = f'{size[1]}x{size[0]}'
    figure = heat_pictures.draw_spectra(
        spectra[first], f'{Path(args.config).stem}, images of {first}'
    )
    pictures.save(figure, args, 'spectrum', heat_pictures.SPECTRUM_CAPTION)
    if args.sizes:
        chosen = {f'{n}x{n}': spectra[f'{n}x{n}'] for n in args.sizes}
        figure = heat_pictures.draw_sizes(chosen)
        pictures.save(figure, args, 'sizes', heat_pictures.SIZES_CAPTION)
    print(heat_pictures.tabulate_spectra(spectra))


def check(args: Namespace) -> None:
    """Check the numbers that need no network.

    Raises:
        UserError: If one is out of range.
    """
    for name, value, least in (
        ('--k', args.k, 0),
        ('--until', args.until, 0),
        ('--steps', args.steps, 0),
        ('--sizes', min(args.sizes, default=None), 32),
    ):
        if value is not None and not least <= value < math.inf:
            raise UserError(
                f'{name} must be at least {least} and finite, but {value} '
                'was given.'
            )


def draw_heat(
    args: Namespace, backbone: object, name: str, picture: np.ndarray
) -> None:
    """Draw the temperatures of one image, and the film."""
    conductions = heat_pictures.conduct_heat_of(
        picture,
        backbone,
        heat.choose_blocks(backbone, args.stage, args.block),
        pixel=args.pixel,
        channels=args.channels,
        k=args.k,
    )
    figure = heat_pictures.draw_conductions(picture, conductions)
    pictures.save(figure, args, f'{name}_heat', heat_pictures.SOURCE_CAPTION)
    if not args.steps:
        return
    film = films.conduct_film(picture, conductions[0], args.until, args.steps)
    for ending, write in (('gif', films.write_gif), ('mp4', films.write_mp4)):
        path = f'{args.out_dir}/{name}_heat.{ending}'
        with pictures.writing(path):
            written = write(film, path)
        if written is False:
            tqdm.write('This OpenCV writes no MP4; the GIF is the film.')
        else:
            pictures.report(path, films.FILM_CAPTION)
