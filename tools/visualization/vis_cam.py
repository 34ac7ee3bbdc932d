"""See which pixels speak for a prediction: Grad-CAM's kin.

    python tools/visualization/vis_cam.py CONFIG CHECKPOINT IMAGE [...]
        [--category N] [--instance N] [--method layercam] [--layers NAME ...]

Draws IMAGE_cam.png for classifiers, detectors and segmentors. Needs the
package grad-cam: pip install 'mmvheat[vis]'.
"""

from __future__ import annotations

from argparse import Namespace

from tqdm import tqdm

from mmvheat.commands import pictures
from mmvheat.errors import run_main
from mmvheat.visualization import cam
from mmvheat.visualization.layers import find_layer


def parse_args() -> Namespace:
    """Read the command line."""
    parser = pictures.make_parser('See which pixels speak for a prediction.')
    parser.add_argument(
        '--category',
        type=int,
        help='class from 0 (default: the predicted one; detectors: all)',
    )
    parser.add_argument(
        '--instance',
        type=int,
        help='of detectors: an object, from 0, by falling score '
        '(default: all together)',
    )
    parser.add_argument(
        '--method',
        choices=list(cam.METHODS),
        default='layercam',
        help='default: %(default)s',
    )
    parser.add_argument(
        '--layers',
        nargs='+',
        metavar='NAME',
        help='layers by name, of which the mean is taken (default: of a vHeat '
        'layers of the first two stages)',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='least score of an object (default: %(default)s)',
    )
    return parser.parse_args()


def main() -> None:
    """Draw."""
    args = parse_args()
    images = pictures.find_images(args.images, needed=True)
    network = pictures.load(args, whole=True)
    layers = [find_layer(network.model, name) for name in args.layers or ()]
    for name, path in tqdm(images.items(), desc='vis_cam', unit='image'):
        sample = network.prepare(path)
        activation = cam.compute_cam(
            network,
            sample,
            layers or cam.choose_layers(network, args.method),
            category=args.category,
            instance=args.instance,
            method=args.method,
            score_thr=args.score_thr,
        )
        figure = cam.draw_cams(sample.picture, [activation])
        pictures.save(figure, args, f'{name}_cam', cam.CAPTION)


if __name__ == '__main__':
    run_main(main)
