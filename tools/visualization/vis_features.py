"""See what the layers of a network answer to an image.

    python tools/visualization/vis_features.py CONFIG CHECKPOINT IMAGE [...]
        [--layers NAME ...] [--channels N ...]

Draws IMAGE_features.png, a row a layer: the mean over the channels, their
principal components as colours, and chosen channels. Layers are the stages of
the backbone, or any others by name, such as 'backbone.layers.2.0' or
'neck[0]'. Works with models of any task.
"""

from __future__ import annotations

from argparse import Namespace

from tqdm import tqdm

from mmvheat.commands import pictures
from mmvheat.errors import run_main
from mmvheat.visualization import features
from mmvheat.visualization.layers import find_layer, list_stages


def parse_args() -> Namespace:
    """Read the command line."""
    parser = pictures.make_parser('See what layers answer to an image.')
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
    images = pictures.find_images(args.images, needed=True)
    network = pictures.load(args)
    layers = {n: find_layer(network.model, n) for n in args.layers or ()}
    layers = layers or list_stages(network)
    for name, path in tqdm(images.items(), desc='vis_features', unit='image'):
        sample = network.prepare(path)
        maps = features.collect_maps(network, sample, layers)
        figure = features.draw_features(sample.picture, maps, args.channels)
        pictures.save(figure, args, f'{name}_features', features.CAPTION)


if __name__ == '__main__':
    run_main(main)
