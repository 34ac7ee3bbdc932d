"""What commands that draw networks share: arguments, images, files."""

from __future__ import annotations

import os.path as osp
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from matplotlib.figure import Figure
from tqdm import tqdm

from mmvheat.errors import UserError
from mmvheat.visualization.networks import NONE, Network, load_network
from mmvheat.visualization.style import FORMATS, save_figure

from .arguments import add_options, list_images


def make_parser(description: str) -> ArgumentParser:
    """Make a parser with the arguments that every command has."""
    parser = ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument('config', help='config file, or LIBRARY::config')
    parser.add_argument(
        'checkpoint', help=f"checkpoint file, or '{NONE}' for random weights"
    )
    parser.add_argument(
        'images', nargs='*', help='images, or folders of images'
    )
    parser.add_argument(
        '--out-dir',
        default='work_dirs/visualization',
        help='folder to fill (default: %(default)s)',
    )
    parser.add_argument(
        '--format',
        choices=FORMATS,
        default='png',
        help='of the pictures (default: %(default)s)',
    )
    add_options(parser, '--device', '--cfg-options')
    return parser


def add_fields(parser: ArgumentParser) -> None:
    """Add what commands that draw receptive fields have besides."""
    parser.add_argument(
        '--beside',
        nargs=2,
        action='append',
        default=[],
        metavar=('CONFIG', 'CHECKPOINT'),
        help='another model whose receptive field to show; may be repeated',
    )
    parser.add_argument(
        '--random',
        type=int,
        default=10,
        help='number of random images that fields are the mean of, where no '
        'others are (default: %(default)s)',
    )


def load(args: Namespace, *model: str, whole: bool = False) -> Network:
    """Load the network of the command line, or another with its options.

    Args:
        args (Namespace): The command line.
        *model (str): Config and checkpoint of another.
        whole (bool): Whether the checkpoint must have heads. Defaults to
            False.
    """
    config, checkpoint = model or (args.config, args.checkpoint)
    check_checkpoint(checkpoint)
    return load_network(
        config,
        checkpoint,
        device=args.device,
        options=args.cfg_options,
        whole=whole,
    )


def check_checkpoint(path: str) -> None:
    """Check that a checkpoint is there before a network is built."""
    if path != NONE and '://' not in path and not osp.isfile(path):
        raise UserError(
            f"The checkpoint {path} does not exist; give a file, or '{NONE}' "
            'for random weights.'
        )


def find_images(paths: Sequence[str], needed: bool = False) -> dict[str, str]:
    """Find images: from the name that their pictures get to their path.

    Raises:
        UserError: If a path does not exist or a folder holds no image, or
            one is ``needed`` and none given.
    """
    if needed and not paths:
        raise UserError('Give at least one image, or a folder of images.')
    found: dict[str, str] = {}
    for path in paths:
        for name, image in list_images(path).items():
            stem = osp.splitext(name)[0].replace('/', '_')
            number = 2
            label = stem
            while label in found:  # of several folders
                label, number = f'{stem}_{number}', number + 1
            found[label] = image
    return found


def save(figure: Figure, args: Namespace, name: str, caption: str) -> None:
    """Save a figure in the format asked for, and say what it shows."""
    path = f'{args.out_dir}/{name}.{args.format}'
    with writing(path):
        save_figure(figure, path)
    report(path, caption)


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn what the disk objects to into a sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f'{path} cannot be written ({error.strerror or error}); choose '
            'another --out-dir.'
        ) from error


def report(path: str, caption: str) -> None:
    """Print where a picture is and what it shows."""
    tqdm.write(f'{path}\n    {caption}')  # above the bar


def count(items: Iterable, bar: tqdm) -> Iterator:
    """Yield items, and let a bar grow by each."""
    for item in items:
        yield item
        bar.update()
