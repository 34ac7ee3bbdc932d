"""The configs of the package and their published figures: ``mmvheat zoo``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import yaml
from prettytable import PrettyTable, TableStyle

from mmvheat.errors import UserError, run_main

ROOT = Path(__file__).parent / '.mim'
_TASKS = dict(
    classification='Image Classification',
    detection='Object Detection',
    instances='Instance Segmentation',
    segmentation='Semantic Segmentation',
    restoration='Image Restoration',
)


@dataclass
class Model:
    """An entry of a metafile.

    Attributes:
        name (str): The config's name without ``.py``.
        config (str): The config below ``configs/``, for ``mmvheat::``.
        results (list[tuple[str, str, dict]]): Task, data set and metrics of
            each result that the entry lists.
        weights (str): The URL of a checkpoint, or ''.
        measured (bool): Whether the results were measured here, not
            published.
    """

    name: str
    config: str
    results: list[tuple[str, str, dict]]
    weights: str
    measured: bool

    @property
    def figures(self) -> str:
        """All metrics in a line."""
        return ', '.join(
            f'{key} {value}'
            for _, _, metrics in self.results
            for key, value in metrics.items()
        )


def list_models() -> list[Model]:
    """Read the metafiles that ``model-index.yml`` names.

    Example:
        >>> models = list_models()
        >>> [m.figures for m in models if m.name.startswith('upernet_vheat-b')]
        ['mIoU 49.6']
    """
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    models = []
    for metafile in index['Import']:
        content = yaml.safe_load((ROOT / metafile).read_text())
        for entry in content['Models']:
            results = [
                (result['Task'], result['Dataset'], result['Metrics'])
                for result in entry.get('Results', [])
            ]
            config = entry['Config'].removeprefix('configs/')
            models.append(
                Model(
                    entry['Name'],
                    config,
                    results,
                    entry.get('Weights', ''),
                    config.startswith('quickstart/'),
                )
            )
    return models


def select(models: list[Model], task: str | None, all_: bool) -> list[Model]:
    """The models with figures of a task.

    Args:
        models (list[Model]): Models.
        task (str, optional): A key of the tasks, by default all.
        all_ (bool): Whether to keep configs that have no figures. They have
            no task then, so that ``task`` goes by their folder's others.
    """
    if task is None:
        return [m for m in models if m.results or all_]
    shown = [
        m for m in models if _TASKS[task] in {name for name, *_ in m.results}
    ]
    folders = {m.config.split('/')[0] for m in shown} - {'quickstart'}
    return [
        m
        for m in models
        if m in shown
        or (all_ and not m.results and m.config.split('/')[0] in folders)
    ]


def show(models: list[Model], urls: bool) -> str:
    """A table of models."""
    names = ['config', 'data', 'figures', 'weights']
    table = PrettyTable(names, align='l')
    table.set_style(TableStyle.MARKDOWN)
    for model in models:
        figures = model.figures or '-'
        if model.measured:
            figures += ' (measured here)'
        data = model.results[0][1] if model.results else '-'
        weights = model.weights if urls else model.weights.split('/')[-1]
        if len(weights) > 40 and not urls:
            weights = f'{weights[:37]}...'
        table.add_row([model.config, data, figures, weights or '-'])
    return str(table)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='List the configs and their figures, which are those '
        'that the authors published unless it says otherwise.'
    )
    parser.add_argument('name', nargs='?', help='a part of the name')
    parser.add_argument('--task', choices=list(_TASKS))
    parser.add_argument(
        '--all', action='store_true', help='list configs without figures too'
    )
    parser.add_argument(
        '--urls', action='store_true', help='show the URLs of the weights'
    )
    return parser.parse_args()


def main() -> None:
    """List."""
    args = parse_args()
    models = select(list_models(), args.task, args.all)
    if args.name:
        name = args.name.lower()
        models = [m for m in models if name in m.config.lower()]
    if not models:
        raise UserError(
            f'No config with {args.name!r} in its name has figures'
            + (f' of {args.task}' if args.task else '')
            + ('.' if args.all else '; try mmvheat zoo --all.')
        )
    print(show(models, args.urls))
    print(
        "\nInherit one: _base_ = 'mmvheat::CONFIG'; for your own data: "
        'mmvheat new DATA --model NAME.'
    )


if __name__ == '__main__':
    run_main(main)
