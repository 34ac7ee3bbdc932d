"""Print parameters and FLOPs of configs, or write them into the READMEs.

    python tools/analysis_tools/get_flops.py CONFIG ... [--shape H W]
    python tools/analysis_tools/get_flops.py --write-tables

Two counts of FLOPs stand side by side: of the model as the paper defines it
(comparable with published figures), and of what a forward pass executes here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmvheat.analysis.complexity import Complexity, measure
from mmvheat.commands.arguments import add_options
from mmvheat.commands.config import load_config
from mmvheat.errors import run_main
from mmvheat.zoo import list_models

ROOT = Path(__file__).resolve().parents[2]
BEGIN = '<!-- written by tools/analysis_tools/get_flops.py --write-tables -->'
END = '<!-- end of what it wrote -->'
COLUMNS = ('Config', 'Image', 'Params', 'FLOPs', 'executed')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Count parameters and FLOPs of configs.'
    )
    parser.add_argument('configs', nargs='*', help='config files')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help='image size; 800 1280 for detection, 512 2048 for '
        'segmentation, 256 256 for restoration, the training size for '
        'classification by default',
    )
    parser.add_argument(
        '--write-tables',
        action='store_true',
        help='write the tables into the README.md files below configs/',
    )
    add_options(parser, '--cfg-options')
    args = parser.parse_args()
    if bool(args.configs) == args.write_tables:
        parser.error('give configs, or --write-tables alone')
    if args.shape and min(args.shape) < 32:
        parser.error('--shape must be at least 32 32')
    return args


def make_table(rows: list[list[str]]) -> str:
    """Format a markdown table; the first row is the header."""
    header, *body = rows
    align = [':---'] + ['---:'] * (len(header) - 1)
    lines = ['| ' + ' | '.join(row) + ' |' for row in [header, align, *body]]
    return '\n'.join(lines)


def describe(complexity: Complexity) -> list[str]:
    """Format the columns after the name of the config."""
    height, width = complexity.shape
    flops = (complexity.defined, complexity.executed)
    return [
        f'{height}x{width}',
        f'{complexity.params / 1e6:.2f} M',
        *(f'{count / 1e9:.1f} G' for count in flops),
    ]


def find_readmes() -> list[Path]:
    """Find the READMEs below configs/ with a place for a table."""
    return [
        path
        for path in sorted(ROOT.glob('configs/*/README.md'))
        if BEGIN in path.read_text() and END in path.read_text()
    ]


def make_folder_table(folder: Path) -> str:
    """Make the table of a folder of configs from its ``metafile.yml``.

    Args:
        folder (Path): The folder.

    Returns:
        str: Markdown: cost, published metrics and weights of every model.
    """
    models = [
        m for m in list_models() if m.config.startswith(f'{folder.name}/')
    ]
    found = [
        {k: v for *_, values in model.results for k, v in values.items()}
        for model in models
    ]
    names = list(dict.fromkeys(name for values in found for name in values))
    published = [f'{name} (published)' for name in names]
    rows = [
        [f'{COLUMNS[0]} and commands', *COLUMNS[1:], *published, 'Weights']
    ]
    for model, values in zip(models, found):
        path = ROOT / 'configs' / model.config
        link = 'official' if 'MzeroMiko' in model.weights else 'OpenMMLab'
        rows.append(
            [
                f'[{path.stem}]({path.name})',
                *describe(measure(load_config(str(path)))),
                *(str(values.get(name, '')) for name in names),
                f'[{link}]({model.weights})' if model.weights else '',
            ]
        )
    return make_table(rows)


def put_table(text: str, table: str) -> str:
    """Replace what stands between the markers of a README by a table."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f'{before}{BEGIN}\n{table}\n{END}{after}'


def main() -> None:
    """Print or write the tables."""
    args = parse_args()
    if args.write_tables:
        for readme in find_readmes():
            table = make_folder_table(readme.parent)
            readme.write_text(put_table(readme.read_text(), table))
            print(f'wrote {readme.relative_to(ROOT)}', flush=True)
        return
    rows = [list(COLUMNS)]
    for path in args.configs:
        cfg = load_config(path, args.cfg_options)
        shape = tuple(args.shape) if args.shape else None
        rows.append([Path(path).stem, *describe(measure(cfg, shape))])
    print(make_table(rows))


if __name__ == '__main__':
    run_main(main)
