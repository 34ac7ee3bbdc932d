"""What the commands of this folder share: arguments, images, files."""

from __future__ import annotations

import os.path as osp
import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from matplotlib.figure import Figure
from mmengine.device import get_device
from tqdm import tqdm

from mmvheat.commands.config import ConfigOptions
from mmvheat.errors import UserError, run_main
from mmvheat.visualization.layers import (
    PictureError,
)
from mmvheat.visualization.networks import (
    NONE,
    Network,
    load_network,
)
from mmvheat.visualization.style import FORMATS, save_figure

sys.path.insert(0, str(Path(__file__).parents[1]))
from infer import list_images  # noqa: E402


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
    parser.add_argument(
        '--device',
        default=get_device(),
        help='cpu, cuda or cuda:N (default: a GPU if there is one)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='change settings of the config',
    )
    return parser


def load(args: Namespace) -> Network:
    """Load the network that the command line names."""
    check_checkpoint(args.checkpoint)
    return load_network(
        args.config,
        args.checkpoint,
        device=args.device,
        options=args.cfg_options,
    )


def check_checkpoint(path: str) -> None:
    """Check that a checkpoint is there before a network is built."""
    if path != NONE and '://' not in path and not osp.isfile(path):
        raise UserError(
            f"The checkpoint {path} does not exist; give a file, or '{NONE}' "
            'for random weights.'
        )


def find_images(paths: Sequence[str]) -> dict[str, str]:
    """Find images: from the name that their pictures get to their path.

    Raises:
        UserError: If a path does not exist or a folder holds no image.
    """
    found: dict[str, str] = {}
    for path in paths:
        root, names = list_images(path)
        for name in names:
            stem = osp.splitext(name)[0].replace('/', '_')
            number = 2
            label = stem
            while label in found:  # of several folders
                label, number = f'{stem}_{number}', number + 1
            found[label] = osp.join(root, name)
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


def run(main: Callable[[], None]) -> None:
    """Run a command; faults of the user end it with one sentence."""

    def translated() -> None:
        # Said by mmengine whenever it looks for a package.
        warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
        try:
            main()
        except PictureError as error:
            raise UserError(str(error)) from error

    run_main(translated)
