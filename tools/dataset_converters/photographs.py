"""Copy the photographs that scikit-image and scikit-learn ship to a folder.

    python tools/dataset_converters/photographs.py [--out data/photographs]

Training, validation and test are folders; nothing is downloaded.
"""

from __future__ import annotations

from argparse import ArgumentParser

from mmvheat.datasets.restoration_photographs import SPLITS, make_photographs
from mmvheat.errors import UserError, run_main


def main() -> None:
    """Copy them."""
    parser = ArgumentParser(
        description='Copy photographs of scikit-image and scikit-learn.'
    )
    parser.add_argument(
        '--out', default='data/photographs', help='default: %(default)s'
    )
    args = parser.parse_args()
    try:
        made = make_photographs(args.out)
    except FileExistsError as error:
        raise UserError(f'{error}.') from error
    except ImportError as error:
        raise UserError(
            f'The photographs ship with scikit-image and scikit-learn '
            f'({error}); run pip install scikit-image scikit-learn.'
        ) from error
    counts = ', '.join(f'{len(v)} {k}' for k, v in SPLITS.items())
    print(f'{args.out}: {counts}' + ('' if made else ', all there already'))


if __name__ == '__main__':
    run_main(main)
