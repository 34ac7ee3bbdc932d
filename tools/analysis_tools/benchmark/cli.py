"""Compare the speed and memory of vHeat with those of other networks.

    python tools/analysis_tools/benchmark
    python tools/analysis_tools/benchmark --models vheat-t vheat-t+compile
    python tools/analysis_tools/benchmark --models --configs
    python tools/analysis_tools/benchmark --device meta
    python tools/analysis_tools/benchmark --against ../another-checkout

All networks run in one process, in turn, several rounds, so that noise hits
all alike. Tables, every measurement and, of several sizes, a picture go to
``benchmark.md``, ``benchmark.json`` and ``speed.png`` in ``--out-dir``.
Networks whose library is missing are left out.
"""

from __future__ import annotations

import argparse
import re
from functools import partial
from pathlib import Path

import torch

from benchmark import networks
from benchmark.against import compare_checkouts
from benchmark.run import Benchmark
from benchmark.step import DTYPES, Size
from mmvheat.analysis.counting.report import count_networks
from mmvheat.errors import UserError

MODES = ('eval', 'train')
MODELS = ('vheat-t', 'swin-t', 'convnext-t')
SIZES = dict(
    cpu=('4x224x224', '1x512x512', '1x800x1344'),
    cuda=('64x224x224', '16x512x512', '4x800x1344'),
    meta=('4x800x1344',),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Compare networks.')
    add = parser.add_argument
    add(
        '--models',
        nargs='*',
        default=MODELS,
        metavar='NAME',
        help='vheat-*, swin-*, convnext-* (t, s or b), vheat-n, vheat-t-* '
        '(fractional, tail, wave, k5, scalar, input), timm-convnext-t, '
        'resnet-50 or a config; NAME+compile compiles (of whole models the '
        'backbone), NAME+graph replays a CUDA graph, NAME+plain and NAME+all '
        f'are those of MMVHEAT_FAST=0 and =all (default: {" ".join(MODELS)})',
    )
    add(
        '--configs',
        action='store_true',
        help='whole models too: Mask R-CNN and UperNet of vHeat-T and Swin-T',
    )
    add(
        '--peer',
        default='swin-t',
        metavar='NAME',
        help='what speed is relative to (default: swin-t); of a config the '
        'one of the same algorithm with this backbone',
    )
    add('--modes', nargs='+', choices=MODES, default=MODES)
    add(
        '--dtypes',
        nargs='+',
        choices=(*DTYPES, 'bf16-weights', 'fp16-weights'),
        default=('fp32', 'bf16'),
        help='bf16 and fp16 by autocast, with -weights of weights and images; '
        'tf32 are products and convolutions of single precision',
    )
    add(
        '--sizes',
        nargs='+',
        type=parse_size,
        metavar='BxHxW',
        help='batches of images (default: '
        f'{"; ".join(" ".join((k, *v)) for k, v in SIZES.items())})',
    )
    add('--repeats', type=int, default=5, help='rounds (default: 5)')
    add('--channels-last', action='store_true', help='weights and images')
    add(
        '--device',
        choices=tuple(SIZES),
        help='default: cuda if present; meta counts what a GPU would do '
        'instead of measuring: bytes, kernels, FLOPs, saved activations',
    )
    add('--threads', type=int, help='of a CPU (default: as torch)')
    add('--out-dir', type=Path, default=Path('work_dirs/benchmark'))
    add(
        '--against',
        type=Path,
        metavar='CHECKOUT',
        help='compare the vHeat-T of this checkout with that of another one',
    )
    args = parser.parse_args(argv)
    if args.repeats < 1 or (args.threads or 1) < 1:
        parser.error('--repeats and --threads must be 1 or more')
    args.device = args.device or ('cpu', 'cuda')[torch.cuda.is_available()]
    args.sizes = args.sizes or [parse_size(s) for s in SIZES[args.device]]
    if args.threads:
        torch.set_num_threads(args.threads)
    return args


def parse_size(text: str) -> Size:
    """Read a size such as ``4x224x224``."""
    if not re.fullmatch(r'[1-9]\d*x[1-9]\d*x[1-9]\d*', text):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not batch x height x width, e.g. 1x800x1344'
        )
    return Size(*map(int, text.split('x')))


def main() -> None:
    """Measure what the command line names."""
    args = parse_args()
    if args.against is not None:
        print(compare_checkouts(args))
    elif args.device == 'meta':
        count(args)
    else:
        Benchmark(args).run()


def count(args: argparse.Namespace) -> None:
    """Count what a GPU would do.

    Raises:
        UserError: A network cannot be built, or is not a backbone.
    """
    builders = {}
    for name in args.models:
        networks.check_name(name)
        reason = networks.why_missing(name)
        if name.partition('+')[0].endswith('.py') or name.endswith('+compile'):
            reason = 'give backbones by their names, not compiled'
        if reason:
            raise UserError(f'{name} cannot be counted: {reason}.')
        builders[name] = partial(networks.build, name)
    count_networks(builders, args.sizes, args.modes, args.dtypes, args.out_dir)
