"""The command line ``mmvheat robustness``, ``tools/robustness.py``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from mmvheat.commands.arguments import add_options
from mmvheat.commands.config import (
    enable_test_amp,
    make_folder,
    set_work_dir,
)
from mmvheat.commands.environment import prepare_environment
from mmvheat.commands.test import load_test_config
from mmvheat.errors import UserError, is_local_main

from .conditions import list_conditions
from .report import (
    check_comparable,
    make_result,
    read_result,
    write_report,
)
from .run import mark_tests, run_tests
from .transforms import check_corruptions_package

DATA = Path(__file__).parents[1] / '.mim/configs/robustness/datasets'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Test how a classifier, detector or segmentor bears '
        'corruptions, filters and shifts of its data.'
    )
    parser.add_argument('config', nargs='?', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file')
    parser.add_argument(
        '--data',
        default='corruptions',
        help='of '
        + ', '.join(sorted(path.stem for path in DATA.glob('*.py')))
        + '; or a file like these (default: corruptions, of the test images '
        'of the config)',
    )
    parser.add_argument('--data-root', help='where the images of --data are')
    parser.add_argument(
        '--corruptions',
        nargs='+',
        help='names, or noise, blur, weather, digital, extra, benchmark (the '
        'first four: 15, the default), all (19); of filters low_pass, '
        'high_pass',
    )
    parser.add_argument(
        '--severities',
        nargs='+',
        type=float,
        help='of 1 to 5; of filters radii in cycles per image (default: all)',
    )
    parser.add_argument('--title', help='name of the model in the tables')
    parser.add_argument('--work-dir', help='where the results go')
    parser.add_argument(
        '--compare',
        nargs='+',
        metavar='RESULT.json',
        help='test nothing: put results beside each other',
    )
    parser.add_argument(
        '--out-dir', default='comparison', help='where --compare writes'
    )
    add_options(parser, '--amp', '--cfg-options', '--launcher')
    args = parser.parse_args()
    if not args.compare and not (args.config and args.checkpoint):
        parser.error(
            'give CONFIG and CHECKPOINT, or --compare RESULT.json ...'
        )
    return args


def read_data(name: str) -> Config:
    """Read a file of ``configs/robustness/datasets``."""
    path = Path(name)
    if path.suffix != '.py':
        path = DATA / f'{name}.py'
    if not path.is_file():
        known = ', '.join(sorted(path.stem for path in DATA.glob('*.py')))
        raise UserError(
            f'--data {name} is not known; expected is one of {known}, or the '
            'path of a file like those of configs/robustness/datasets.'
        )
    return Config.fromfile(path)


def compare(paths: list[str], folder: Path) -> None:
    """Put results beside each other."""
    results = [read_result(path) for path in paths]
    check_comparable(results)
    make_folder(folder, '--out-dir')
    print(write_report(results, folder, 'comparison'))
    print(f'\nWritten to {folder}.')


def main() -> None:
    """Test, or compare."""
    args = parse_args()
    if args.compare:
        compare(args.compare, Path(args.out_dir))
        return
    cfg = load_test_config(args.config, args.checkpoint, args.cfg_options)
    data = read_data(args.data)
    conditions = list_conditions(
        cfg, data, args.data_root, args.corruptions, args.severities
    )
    set_work_dir(cfg, args.work_dir)
    if args.amp:
        enable_test_amp(cfg, args.amp)
    if data.conditions == 'corruptions':
        check_corruptions_package()
    marks = mark_tests(cfg, conditions) if is_local_main() else None
    prepare_environment(cfg, args.launcher)
    name = Path(data.filename).stem
    folder = Path(cfg.work_dir) / 'robustness' / name
    tests = run_tests(cfg, conditions, folder / 'tests', marks)
    if not is_main_process():
        return
    title = args.title or Path(args.config).stem
    result = make_result(cfg, tests, title=title, data=name)
    text = write_report([result], folder, 'robustness')
    print_log(f'Results ({folder}/robustness.json)\n{text}', 'current')
