"""See which pixels the middle of a network's map listens to.

    python tools/visualization/vis_erf.py CONFIG CHECKPOINT [IMAGE ...]
        [--beside CONFIG CHECKPOINT] [--before]

Effective receptive fields of any models side by side, erf.png, and as a table
the radii that hold 20, 30, 50 and 99 % of them. The checkpoint 'none' stands
for random weights. Without images, random ones are used.
"""

from __future__ import annotations

from argparse import Namespace

import torch
from tqdm import tqdm

from mmvheat.commands import pictures
from mmvheat.errors import UserError, run_main
from mmvheat.visualization import receptive_field
from mmvheat.visualization.layers import Layer, find_layer
from mmvheat.visualization.networks import NONE, Network, read_image


def parse_args() -> Namespace:
    """Read the command line."""
    parser = pictures.make_parser(
        'See which pixels the middle of a map listens to.'
    )
    parser.add_argument(
        '--before',
        action='store_true',
        help='show the first model with random weights, too',
    )
    parser.add_argument(
        '--stage',
        type=int,
        nargs='+',
        default=[4],
        help='stages from 1 (default: 4)',
    )
    parser.add_argument(
        '--layer', help='a layer of the backbone or neck instead, by name'
    )
    parser.add_argument(
        '--size',
        type=int,
        default=224,
        help='side that images are cropped and resized to, in pixels '
        '(default: %(default)s)',
    )
    pictures.add_fields(parser)
    return parser.parse_args()


def main() -> None:
    """Draw."""
    args = parse_args()
    if args.size < 32 or args.random < 1:
        raise UserError(
            f'--size must be at least 32 and --random at least 1, but '
            f'{args.size} and {args.random} were given.'
        )
    paths = pictures.find_images(args.images).values()
    images = [
        receptive_field.cut_square(read_image(path), args.size)
        for path in paths
    ]
    if not images:
        images = [*receptive_field.make_noise(args.random, args.size)]
    models = [(args.config, args.checkpoint), *args.beside]
    if args.before:
        models.insert(0, (args.config, NONE))
    for _, checkpoint in models:
        pictures.check_checkpoint(checkpoint)
    fields = {}
    total = len(models) * len(images) * len(args.stage)
    with tqdm(total=total, desc='vis_erf', unit='image') as bar:
        for title, model in zip(receptive_field.name_models(models), models):
            network, layers = load_layers(args, *model)
            for name, layer in layers.items():
                fields[f'{title}\n{name}'] = receptive_field.measure_field(
                    network, layer, pictures.count(images, bar)
                )
    figure = receptive_field.draw_fields(fields)
    pictures.save(figure, args, 'erf', receptive_field.CAPTION)
    print(receptive_field.tabulate_radii(fields))


def load_layers(
    args: Namespace, config: str, checkpoint: str
) -> tuple[Network, dict[str, Layer]]:
    """Load a network and find the layers to look at."""
    if args.layer:
        network = pictures.load(args, config, checkpoint)
        return network, {args.layer: find_layer(network.model, args.layer)}
    return receptive_field.load_stages(
        *(config, checkpoint, args.stage),
        device=args.device,
        options=args.cfg_options,
    )


if __name__ == '__main__':
    torch.manual_seed(0)
    run_main(main)
