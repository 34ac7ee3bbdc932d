"""The command line ``mmvheat new``."""

from __future__ import annotations

import argparse
import dataclasses
import os.path as osp
import sys

from mmvheat.errors import UserError

from .project import Options, create, read_state, title_of, update
from .readers import READERS

EXAMPLES = """\
examples:
  mmvheat new /data/shapes
  mmvheat new /data/shapes --model mask-rcnn_vheat-s --out my_project
  mmvheat new /data/coco/annotations/instances_train2017.json
  mmvheat new --update --out my_project     when the data have changed"""


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Look at your data and write a project that trains on '
        'them. Your files are only read.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add('data', nargs='?', help='a folder; or a json, csv or yaml file in it')
    add('--out', metavar='DIR', help='the project (default: DATA_project)')
    add(
        '--model',
        metavar='NAME',
        help='beginning of a config of the zoo, such as mask-rcnn_vheat-s '
        '(default: what suits the labels, with vHeat-T)',
    )
    add('--format', choices=list(READERS), help='read the data as this')
    add(
        '--weights',
        metavar='FILE',
        help='checkpoint to start from, or none (default: the published one, '
        'if it is in ., checkpoints/ or the caches of torch and mim)',
    )
    add('--batch', type=_positive, metavar='N', help='images a GPU and step')
    add(
        '--gpus',
        type=_positive,
        metavar='N',
        help='GPUs that will train together (default: 1)',
    )
    add('--seed', type=int, help='of the split and the samples (default: 0)')
    add(
        '--update',
        action='store_true',
        help='bring a project up to date: show the difference, keep edits',
    )
    args = parser.parse_args()
    if args.update and not args.out:
        parser.error('--update needs --out, the project to update')
    if not args.update and not args.data:
        parser.error('the data are missing: mmvheat new DATA')
    return args


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f'a number of at least 1 is expected, but got {text!r}'
        )
    return int(text)


def main() -> None:
    """Write or update a project."""
    args = parse_args()
    names = {field.name for field in dataclasses.fields(Options)}
    given = {
        name: value
        for name, value in vars(args).items()
        if name in names and value is not None
    }
    if args.data:
        if not osp.exists(args.data):
            raise UserError(
                f'{args.data} does not exist; give the folder of your data.'
            )
        given['data'] = osp.abspath(args.data)
    if args.weights and args.weights != 'none':
        given['weights'] = osp.abspath(args.weights)
    if not args.update:
        out = args.out or f'{title_of(args.data)}_project'
        create(Options(**given), out)
        return
    state = read_state(args.out)
    options = dataclasses.replace(state['options'], **given)
    if not update(options, args.out, state['generated']):
        sys.exit(1)
