"""Train variants of a config at equal budget, and compare them over seeds.

    python tools/analysis_tools/compare_variants.py COMPARISON [--jobs 2] [...]

``COMPARISON`` is a file such as those of ``configs/comparisons``, which say
how to write one. Runs that are done are not repeated unless their settings
change, so that the command may be interrupted and given again. Into
``--out-dir`` go the runs, and comparison.md, .json and .png of those done.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmvheat.analysis.comparison import compare
from mmvheat.commands.arguments import add_options
from mmvheat.commands.config import make_folder
from mmvheat.errors import run_main


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Train and compare variants of a config.'
    )
    parser.add_argument('comparison', help='a file of configs/comparisons')
    parser.add_argument('--variants', nargs='+', help='default: all')
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0, 1, 2], help='default 0 1 2'
    )
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time')
    parser.add_argument('--out-dir', help='default: work_dirs/COMPARISON')
    add_options(parser, '--cfg-options')
    return parser.parse_args()


def main() -> None:
    """Train what is not done, then report what is."""
    args = parse_args()
    out = Path(args.out_dir or f'work_dirs/{Path(args.comparison).stem}')
    make_folder(out, '--out-dir')
    given = args.variants, args.seeds, args.jobs, args.cfg_options
    table = compare(args.comparison, out, *given)
    print(f'\n{table}\n\n{out}/comparison.md, .json, .png')


if __name__ == '__main__':
    run_main(main)
