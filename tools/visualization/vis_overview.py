"""See in one picture what a vHeat has learned.

    python tools/visualization/vis_overview.py CONFIG CHECKPOINT IMAGE
        [--beside CONFIG CHECKPOINT]

Draws overview.png: heat from the brightest object of the image, conducted by
the first stage; what every stage keeps of every frequency, before and after
training; receptive fields of the network and of others beside it.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from tqdm import tqdm

from mmvheat.commands import pictures
from mmvheat.errors import UserError, run_main
from mmvheat.visualization import heat, overview, receptive_field
from mmvheat.visualization.networks import find_vheat, load_network

SIDE = 224


def parse_args() -> Namespace:
    """Read the command line."""
    parser = pictures.make_parser('See in one picture what a vHeat learned.')
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
    pictures.add_fields(parser)
    return parser.parse_args()


def main() -> None:
    """Draw."""
    args = parse_args()
    images = pictures.find_images(args.images)
    if not images:
        raise UserError('Give an image.')
    models = [(args.config, args.checkpoint), *args.beside]
    for _, checkpoint in models:
        pictures.check_checkpoint(checkpoint)
    network = pictures.load(args)
    backbone = find_vheat(network, args.config)
    picture = network.prepare(next(iter(images.values()))).picture
    size = picture.shape[:2]
    ((stage, block),) = heat.choose_blocks(backbone, stage=1)
    k = heat.predict_k(backbone, size, stage - 1, block - 1)
    mask = heat.find_brightest_object(picture)
    source = heat.place_object(mask, k.shape[:2])
    start = load_network(
        args.config, device=args.device, options=args.cfg_options
    )
    spectra = tuple(
        [blocks[-1] for blocks in heat.compute_spectra(model, size)]
        for model in (find_vheat(start, args.config), backbone)
    )
    names = [Path(config).stem for config, _ in models]
    titles = [f'{names[0]}, before', *names]
    titles[: len(args.titles)] = args.titles[: len(titles)]
    networks = [lambda: start, lambda: network]
    networks += [
        lambda model=model: load_network(*model, device=args.device)
        for model in args.beside
    ]
    fields = {}
    with tqdm(
        total=len(titles) * args.random, desc='vis_overview', unit='image'
    ) as bar:
        for title, config, get in zip(titles, [names[0], *names], networks):
            model = get()
            (layer,) = receptive_field.find_stages(
                model, config, [args.stage]
            ).values()
            noise = receptive_field.make_noise(args.random, SIDE)
            fields[title] = receptive_field.measure_field(
                model, layer, pictures.count(noise, bar)
            )
    figure = overview.draw_overview(
        picture,
        source,
        heat.conduct(source, k)[0],
        f'stage {stage}, block {block}, t = 1',
        spectra,
        fields,
        f'receptive fields of stage {args.stage}, on random images',
    )
    pictures.save(figure, args, 'overview', overview.CAPTION)


if __name__ == '__main__':
    run_main(main)
