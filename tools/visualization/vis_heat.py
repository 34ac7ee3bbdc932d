"""See what a vHeat conducts: temperature, a film, spectra of k.

    python tools/visualization/vis_heat.py CONFIG CHECKPOINT [IMAGE ...]

For every image: IMAGE_heat.png, heat from its brightest object (or --pixel)
conducted by constant and by predicted k, and a film of it, IMAGE_heat.gif and
.mp4. For the model: spectrum.png, k and its decay by stage and block, with a
table, and with --sizes sizes.png, how they depend on the image size. Without
an image the heat starts in the middle of an empty one.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
from prettytable import PrettyTable
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))
import common  # noqa: E402

from mmvheat.errors import UserError  # noqa: E402
from mmvheat.visualization import films, heat, heat_pictures  # noqa: E402
from mmvheat.visualization.networks import (  # noqa: E402
    find_vheat,
)


def parse_args() -> Namespace:
    """Read the command line."""
    parser = common.make_parser('See what a vHeat conducts.')
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
    images = common.find_images(args.images)
    network = common.load(args)
    backbone = find_vheat(network, args.config)
    size = None
    jobs = max(1, len(images)) + 1 + len(args.sizes)
    with tqdm(total=jobs, desc='vis_heat', unit='picture') as bar:
        for name, path in (images or {'plate': None}).items():
            if path is None:
                picture = np.full((*backbone.img_size, 3), 128, np.uint8)
            else:
                picture = network.prepare(path).picture
            draw_heat(args, backbone, name, picture)
            size = size or picture.shape[:2]
            bar.update()
        spectra = sum_up(backbone, size)
        bar.update()
        by_size = {}
        for side in args.sizes:
            by_size[f'{side}x{side}'] = sum_up(backbone, (side, side))
            bar.update()
    title = f'{Path(args.config).stem}, images of {size[1]}x{size[0]}'
    common.save(
        heat_pictures.draw_spectra(spectra, title),
        args,
        'spectrum',
        heat_pictures.SPECTRUM_CAPTION,
    )
    if by_size:
        common.save(
            heat_pictures.draw_sizes(by_size),
            args,
            'sizes',
            heat_pictures.SIZES_CAPTION,
        )
    print(make_table({f'{size[1]}x{size[0]}': spectra, **by_size}))


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
        if value is not None and not value >= least:
            raise UserError(
                f'{name} must be at least {least}, but {value} was given.'
            )


def draw_heat(
    args: Namespace, backbone: object, name: str, picture: np.ndarray
) -> None:
    """Draw the temperatures of one image, and the film."""
    size = picture.shape[:2]
    chosen = choose(args, backbone)
    conductions = []
    for title, (stage, block) in chosen.items():
        k = predict_k(args, backbone, size, stage, block)
        source = place(args, picture, k.shape[:2], bool(args.images))
        constant = float(k.mean()) if args.k is None else args.k
        conductions.append(
            heat_pictures.Conduction(
                title,
                source,
                heat.conduct(source, constant)[0],
                heat.conduct(source, k)[0],
                constant,
            )
        )
    figure = heat_pictures.draw_conductions(picture, conductions)
    common.save(figure, args, f'{name}_heat', heat_pictures.SOURCE_CAPTION)
    if args.steps:
        title, number = next(iter(chosen.items()))
        k = predict_k(args, backbone, size, *number)
        times = np.linspace(0, args.until, args.steps + 1)
        frames = heat.conduct(conductions[0].source, k, times)
        film = films.draw_film(picture, frames, times, title)
        path = f'{args.out_dir}/{name}_heat'
        with common.writing(f'{path}.gif'):
            films.write_gif(film, f'{path}.gif')
        common.report(f'{path}.gif', films.FILM_CAPTION)
        with common.writing(f'{path}.mp4'):
            has_encoder = films.write_mp4(film, f'{path}.mp4')
        if has_encoder:
            common.report(f'{path}.mp4', films.FILM_CAPTION)
        else:
            tqdm.write('This OpenCV writes no MP4; the GIF is the film.')


def choose(args: Namespace, backbone: object) -> dict[str, tuple[int, int]]:
    """Pick the stages and the block asked for, from 1.

    Raises:
        UserError: If there is no such stage or block.
    """
    chosen = {}
    depths = heat.list_depths(backbone)
    stages = range(1, len(depths) + 1)
    for stage in stages if args.stage is None else [args.stage]:
        _check_number('stage', stage, 1, len(depths))
        depth = depths[stage - 1]
        block = depth if args.block is None else args.block
        _check_number(f'block of stage {stage}', block, 1, depth)
        title = f'stage {stage}, block {block}'
        if args.channels:
            title += f', channels {" ".join(map(str, args.channels))}'
        chosen[title] = stage, block
    return chosen


def predict_k(
    args: Namespace,
    backbone: object,
    size: tuple[int, int],
    stage: int,
    block: int,
) -> np.ndarray:
    """Predict k of a block (from 1) in the channels asked for.

    Raises:
        UserError: If there is no such channel.
    """
    k = heat.predict_k(backbone, size, stage - 1, block - 1)
    for channel in args.channels or ():
        _check_number(f'channel of stage {stage}', channel, 0, k.shape[-1] - 1)
    return k[..., args.channels] if args.channels else k


def _check_number(what: str, number: int, first: int, last: int) -> None:
    if not first <= number <= last:
        raise UserError(
            f'There is no {what} {number}; give one from {first} to {last}.'
        )


def place(
    args: Namespace,
    picture: np.ndarray,
    plate: tuple[int, int],
    has_image: bool,
) -> np.ndarray:
    """Place the source that was asked for on a plate."""
    size = picture.shape[:2]
    if args.pixel:
        return heat.place_point(tuple(args.pixel), size, plate)
    if has_image:
        return heat.place_object(heat.find_brightest_object(picture), plate)
    return heat.place_point((size[1] // 2, size[0] // 2), size, plate)


def sum_up(
    backbone: object, size: tuple[int, int]
) -> list[list[heat.Spectrum]]:
    """Sum up k of every stage and block for images of a size."""
    return [
        [
            heat.compute_spectrum(heat.predict_k(backbone, size, i, j))
            for j in range(depth)
        ]
        for i, depth in enumerate(heat.list_depths(backbone))
    ]


def make_table(
    by_size: dict[str, list[list[heat.Spectrum]]],
) -> PrettyTable:
    """Tabulate the spectra."""
    table = PrettyTable(
        ['image', 'stage', 'block', 'mean k (cells^2)']
        + ['half-decay w (rad/cell)', 'half-decay radius (cells)']
        + ['energy that survives (%)'],
        align='r',
    )
    for size, stages in by_size.items():
        for stage, blocks in enumerate(stages, 1):
            for block, spectrum in enumerate(blocks, 1):
                half = spectrum.half_decay
                is_finite = np.isfinite(half)
                table.add_row(
                    [
                        *(size, stage, block, f'{spectrum.k.mean():.3f}'),
                        f'{half:.2f}' if is_finite else 'never',
                        f'{spectrum.half_decay_cells:.2f}'
                        if is_finite
                        else 'none',
                        f'{100 * spectrum.energy:.1f}',
                    ]
                )
    return table


if __name__ == '__main__':
    common.run(main)
