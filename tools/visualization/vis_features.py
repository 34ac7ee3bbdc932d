"""See what the layers of a network answer to an image.

    python tools/visualization/vis_features.py CONFIG CHECKPOINT IMAGE [...]
        [--layers NAME ...] [--channels N ...]

Draws IMAGE_features.png, a row a layer: the mean over the channels, their
principal components as colours, and chosen channels. Layers are the stages of
the backbone, or any others by name, such as 'backbone.layers.2.0' or
'neck[0]'. Works with models of any task.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))
import common  # noqa: E402

from mmvheat.errors import UserError  # noqa: E402
from mmvheat.visualization import features  # noqa: E402
from mmvheat.visualization.layers import (  # noqa: E402
    find_layer,
    list_stages,
)


def parse_args() -> Namespace:
    """Read the command line."""
    parser = common.make_parser('See what layers answer to an image.')
    parser.add_argument(
        '--layers',
        nargs='+',
        metavar='NAME',
        help='layers by name (default: the stages of the backbone)',
    )
    parser.add_argument(
        '--channels',
        nargs='+',
        type=int,
        default=[],
        help='channels from 0 to draw besides',
    )
    return parser.parse_args()


def main() -> None:
    """Draw."""
    args = parse_args()
    images = common.find_images(args.images)
    if not images:
        raise UserError('Give at least one image, or a folder of images.')
    network = common.load(args)
    if args.layers:
        layers = {
            name: find_layer(network.model, name) for name in args.layers
        }
    else:
        layers = list_stages(network)
    for name, path in tqdm(images.items(), desc='vis_features', unit='image'):
        sample = network.prepare(path)
        maps = features.collect_maps(network, sample, layers)
        figure = features.draw_features(sample.picture, maps, args.channels)
        common.save(figure, args, f'{name}_features', features.CAPTION)


if __name__ == '__main__':
    common.run(main)
