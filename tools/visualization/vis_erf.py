"""See which pixels the middle of a network's map listens to.

    python tools/visualization/vis_erf.py CONFIG CHECKPOINT [IMAGE ...]
        [--beside CONFIG CHECKPOINT] [--before]

Effective receptive fields of any models side by side, erf.png, and as a table
the radii that hold 20, 30, 50 and 99 % of them. The checkpoint 'none' stands
for random weights. Without images, random ones are used.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from prettytable import PrettyTable
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))
import common  # noqa: E402

from mmvheat.errors import UserError  # noqa: E402
from mmvheat.visualization import receptive_field  # noqa: E402
from mmvheat.visualization.layers import (  # noqa: E402
    Layer,
    find_layer,
    list_stages,
)
from mmvheat.visualization.networks import (  # noqa: E402
    NONE,
    Network,
    load_network,
    read_image,
)

ALL_STAGES = (0, 1, 2, 3)


def parse_args() -> Namespace:
    """Read the command line."""
    parser = common.make_parser(
        'See which pixels the middle of a map listens to.'
    )
    parser.add_argument(
        '--beside',
        nargs=2,
        action='append',
        default=[],
        metavar=('CONFIG', 'CHECKPOINT'),
        help='another model to show; may be repeated',
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
    parser.add_argument(
        '--random',
        type=int,
        default=10,
        help='number of random images where none are given '
        '(default: %(default)s)',
    )
    return parser.parse_args()


def main() -> None:
    """Draw."""
    args = parse_args()
    if args.size < 32 or args.random < 1:
        raise UserError(
            f'--size must be at least 32 and --random at least 1, but '
            f'{args.size} and {args.random} were given.'
        )
    images = read_images(args)
    models = [(args.config, args.checkpoint), *args.beside]
    if args.before:
        models.insert(0, (args.config, NONE))
    for _, checkpoint in models:
        common.check_checkpoint(checkpoint)
    fields = {}
    total = len(models) * len(images) * len(args.stage)
    with tqdm(total=total, desc='vis_erf', unit='image') as bar:
        for title, (config, checkpoint) in zip(make_titles(models), models):
            network, layers = load_layers(args, config, checkpoint)
            for name, layer in layers.items():
                forward = receptive_field.make_forward(network, layer)
                fields[f'{title}\n{name}'] = receptive_field.compute_field(
                    forward, normalized(network, images, bar)
                )
    common.save(
        receptive_field.draw_fields(fields),
        args,
        'erf',
        receptive_field.CAPTION,
    )
    print(make_table(fields))


def read_images(args: Namespace) -> list[np.ndarray]:
    """Read images, cropped and resized to a square; else make random ones."""
    if not args.images:
        noise = np.random.default_rng(0)
        shape = (args.size, args.size, 3)
        return [
            noise.integers(0, 256, shape, np.uint8) for _ in range(args.random)
        ]
    squares = []
    for path in common.find_images(args.images).values():
        image = read_image(path)
        side = min(image.shape[:2])
        top, left = ((length - side) // 2 for length in image.shape[:2])
        square = image[top : top + side, left : left + side]
        squares.append(cv2.resize(square, (args.size, args.size)))
    return squares


def normalized(network: Network, images: Sequence[np.ndarray], bar: tqdm):
    """Yield images as the network gets them."""
    for image in images:
        yield network.normalize(image).to(network.device)
        bar.update()


def make_titles(models: Sequence[tuple[str, str]]) -> list[str]:
    """Name models by their configs, and by their weights."""
    names = [Path(config.rpartition('::')[2]).stem for config, _ in models]
    counts = Counter(
        name
        for name, (_, checkpoint) in zip(names, models)
        if checkpoint != NONE
    )
    titles = []
    for name, (_, checkpoint) in zip(names, models):
        short = name.split('_')
        # algorithm and backbone: the rest is the recipe
        title = '_'.join(short[:2]) if len(short) > 2 else name
        weights = 'random weights' if checkpoint == NONE else 'trained'
        if counts[name] > 1 and checkpoint != NONE:
            weights = Path(checkpoint).stem
        titles.append(f'{title}, {weights}')
    return titles


def load_layers(
    args: Namespace, config: str, checkpoint: str
) -> tuple[Network, dict[str, Layer]]:
    """Load a network and find the layers to look at.

    Raises:
        UserError: If the backbone has no such stage.
    """

    def load(options: dict) -> Network:
        options = {**(args.cfg_options or {}), **options}
        return load_network(
            config, checkpoint, device=args.device, options=options
        )

    network = load({})
    if args.layer:
        return network, {args.layer: find_layer(network.model, args.layer)}
    names = [f'stage {stage}' for stage in args.stage]
    stages = list_stages(network)
    if not set(names) <= set(stages):
        options: dict = {'model.backbone.out_indices': ALL_STAGES}
        if type(network.backbone).__name__ == 'ConvNeXt':
            options['model.backbone.gap_before_final_norm'] = False
        try:
            network = load(options)
            stages = list_stages(network)
        except (TypeError, AssertionError, KeyError, ValueError):
            pass  # a backbone without such an option: said below
    missing = [name for name in names if name not in stages]
    if missing:
        raise UserError(
            f'The {type(network.backbone).__name__} of {config} has no '
            f'{missing[0]}, but {", ".join(stages)}; choose of these with '
            '--stage, or name a layer with --layer.'
        )
    return network, {name: stages[name] for name in names}


def make_table(fields: dict[str, receptive_field.Field]) -> PrettyTable:
    """Tabulate the radii."""
    shares = receptive_field.SHARES
    header = [f'radius of {100 * share:.0f} % (px)' for share in shares]
    table = PrettyTable(['model', *header], align='r')
    table.align['model'] = 'l'
    for title, field in fields.items():
        radii = receptive_field.list_radii(field)
        row = [f'{radius:.1f}' for radius in radii]
        table.add_row([title.replace('\n', ', '), *row])
    return table


if __name__ == '__main__':
    torch.manual_seed(0)
    common.run(main)
