"""See in one picture what a vHeat has learned.

    python tools/visualization/vis_overview.py CONFIG CHECKPOINT IMAGE
        [--beside CONFIG CHECKPOINT]

Draws overview.png: heat from the brightest object of the image, conducted by
the first stage; what every stage keeps of every frequency, before and after
training; receptive fields of the network and of others beside it.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))
import common  # noqa: E402

from mmvheat.errors import UserError  # noqa: E402
from mmvheat.visualization import (  # noqa: E402
    heat,
    overview,
    receptive_field,
)
from mmvheat.visualization.layers import (  # noqa: E402
    list_stages,
)
from mmvheat.visualization.networks import (  # noqa: E402
    find_vheat,
    load_network,
)

SIDE = 224


def parse_args() -> Namespace:
    """Read the command line."""
    parser = common.make_parser('See in one picture what a vHeat learned.')
    parser.add_argument(
        '--beside',
        nargs=2,
        action='append',
        default=[],
        metavar=('CONFIG', 'CHECKPOINT'),
        help='another model whose receptive field to show; may be repeated',
    )
    parser.add_argument(
        '--stage',
        type=int,
        default=2,
        help='stage of the receptive fields, from 1 (default: %(default)s)',
    )
    parser.add_argument(
        '--titles',
        nargs='+',
        default=[],
        help='titles of the receptive fields, of the one before training '
        'first (default: the configs)',
    )
    parser.add_argument(
        '--random',
        type=int,
        default=10,
        help='random images that the receptive fields are the mean of '
        '(default: %(default)s)',
    )
    return parser.parse_args()


def main() -> None:
    """Draw."""
    args = parse_args()
    images = common.find_images(args.images)
    if not images:
        raise UserError('Give an image.')
    models = [(args.config, args.checkpoint), *args.beside]
    for _, checkpoint in models:
        common.check_checkpoint(checkpoint)
    network = common.load(args)
    backbone = find_vheat(network, args.config)
    picture = network.prepare(next(iter(images.values()))).picture
    size = picture.shape[:2]
    k = heat.collect_k(backbone, size)
    mask = heat.find_brightest_object(picture)
    source = heat.place_object(mask, k[0][-1].shape[:2])
    start = load_network(
        args.config, device=args.device, options=args.cfg_options
    )
    spectra = tuple(
        [heat.compute_spectrum(blocks[-1]) for blocks in predicted]
        for predicted in (
            heat.collect_k(find_vheat(start, args.config), size),
            k,
        )
    )
    fields = {}
    names = [Path(config).stem for config, _ in models]
    titles = [f'{names[0]}, before', *names]
    titles[: len(args.titles)] = args.titles[: len(titles)]
    networks = [lambda: start, lambda: network]
    networks += [
        lambda model=model: load_network(*model, device=args.device)
        for model in args.beside
    ]
    with tqdm(
        total=len(titles) * args.random, desc='vis_overview', unit='image'
    ) as bar:
        for title, config, get in zip(titles, [names[0], *names], networks):
            fields[title] = measure_field(get(), config, args, bar)
    figure = overview.draw_overview(
        picture,
        source,
        heat.conduct(source, k[0][-1])[0],
        f'stage 1, block {len(k[0])}, t = 1',
        spectra,
        fields,
        f'receptive fields of stage {args.stage}, on random images',
    )
    common.save(figure, args, 'overview', overview.CAPTION)


def measure_field(
    network: object, config: str, args: Namespace, bar: tqdm
) -> receptive_field.Field:
    """Compute the receptive field on random images.

    Raises:
        UserError: If the backbone does not return the stage.
    """
    stages = list_stages(network)
    name = f'stage {args.stage}'
    if name not in stages:
        raise UserError(
            f'The backbone of {config} does not return {name}, but '
            f'{", ".join(stages)}; choose of these with --stage.'
        )
    noise = np.random.default_rng(0)

    def make_images():
        for _ in range(args.random):
            image = noise.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            yield network.normalize(image).to(network.device)
            bar.update()

    forward = receptive_field.make_forward(network, stages[name])
    return receptive_field.compute_field(forward, make_images())


if __name__ == '__main__':
    common.run(main)
