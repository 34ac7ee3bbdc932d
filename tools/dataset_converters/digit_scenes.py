"""Make the digit scenes, the data set of the quickstart.

Example:
    python tools/dataset_converters/digit_scenes.py --out data/digit_scenes
"""

import argparse
import sys

from mmvheat.datasets import (
    check_digit_scenes,
    make_digit_scenes,
    verify_digit_scenes,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Make the digit scenes')
    parser.add_argument(
        '--out', default='data/digit_scenes', help='folder to make'
    )
    parser.add_argument('--num-train', type=int, default=1000)
    parser.add_argument('--num-val', type=int, default=100)
    parser.add_argument(
        '--size', type=int, default=192, help='side of a scene in pixels'
    )
    parser.add_argument(
        '--variants', type=int, default=2, help='crops per train digit'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--force', action='store_true', help='replace an existing data set'
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='make nothing: verify the files in --out and that the settings '
        'recorded there give the same bytes again',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        if args.check:
            check_digit_scenes(args.out)
            state = 'verified, and the same bytes again'
        else:
            made = make_digit_scenes(
                args.out,
                num_train=args.num_train,
                num_val=args.num_val,
                size=args.size,
                variants=args.variants,
                seed=args.seed,
                force=args.force,
            )
            state = 'made' if made else 'already there, verified'
        meta = verify_digit_scenes(args.out)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(f'Digit scenes in {args.out}: {state}.')
    for split, counts in meta['counts'].items():
        text = ', '.join(f'{n} {name}' for name, n in counts.items())
        print(f'  {split}: {text}')
    print(f'  sha256 {meta["sha256"]}')


if __name__ == '__main__':
    main()
