"""Test a model under corruptions, filters and shifts of its data.

    python tools/robustness.py CONFIG CHECKPOINT [--data corruptions] [...]
    python tools/dist_launch.py --nproc-per-node=GPUS tools/robustness.py \
        CONFIG CHECKPOINT --launcher pytorch [...]
    python tools/robustness.py --compare RESULT.json ... --out-dir DIR

``--data`` is a file of ``configs/robustness/datasets``, by name or by path.
Results go to ``WORK_DIR/robustness/DATA``: robustness.md and .json, and two
pictures. A run that was stopped, started again, goes on with the next test.
"""

from __future__ import annotations

import argparse
import json
import os.path as osp
import time
import warnings
from operator import methodcaller
from pathlib import Path

# Said whenever mmengine, mmdet and others are imported.
warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
warnings.filterwarnings('ignore', 'Deprecated call to `pkg_resources')

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

import mmvheat.robustness  # noqa: F401
from mmvheat.checkpoint import hash_file
from mmvheat.checkpoint.writer import replace_file
from mmvheat.commands.config import (
    ConfigOptions,
    enable_test_amp,
    load_config,
    set_work_dir,
)
from mmvheat.commands.environment import prepare_environment
from mmvheat.datasets.checks import check_paths
from mmvheat.engine.hooks import CheckDataHook, GatherResultsHook
from mmvheat.errors import UserError, is_local_main, run_main
from mmvheat.robustness.conditions import (
    Condition,
    fingerprint,
    list_conditions,
)
from mmvheat.robustness.report import (
    METRICS,
    check_comparable,
    list_metrics,
    read_result,
    write_report,
)
from mmvheat.robustness.transforms import check_corruptions_package

DATA = Path(__file__).resolve().parents[1] / 'configs/robustness/datasets'


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
        '--amp',
        nargs='?',
        const='bf16',
        choices=['bf16', 'fp16'],
        help='mixed precision; bf16 unless fp16 is named',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='change settings of the config',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes were started',
    )
    parser.add_argument(
        '--compare',
        nargs='+',
        metavar='RESULT.json',
        help='test nothing: put results beside each other',
    )
    parser.add_argument(
        '--out-dir', default='comparison', help='where --compare writes'
    )
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


def measure(
    cfg: Config, conditions: list[Condition], folder: Path, marks: list[str]
) -> list[dict]:
    """Run every test whose result is not in ``folder`` yet.

    Args:
        cfg (Config): Config of the model.
        conditions (list[Condition]): The tests.
        folder (Path): For a file a test.
        marks (list[str]): What must be written in these files.

    Returns:
        list[dict]: On the main process, the results.
    """
    files = [folder / f'{condition.key}.json' for condition in conditions]
    pending = [[None]]
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        pending = [[not _is_done(*pair) for pair in zip(files, marks)]]
    broadcast_object_list(pending)
    total, seconds = sum(pending[0]), []
    if total < len(files):
        print_log(f'{len(files) - total} results are there.', 'current')
    runner = None
    for is_pending, condition, file, mark in zip(
        pending[0], conditions, files, marks
    ):
        if not is_pending:
            continue
        start = time.monotonic()
        if runner is None:
            cfg.test_dataloader = condition.loader
            cfg.test_evaluator = condition.evaluator
            runner = RUNNERS.build(cfg)
            metrics = runner.test()
        else:
            metrics = _test_again(runner, condition)
        seconds.append(time.monotonic() - start)
        if not is_main_process():
            continue
        record = dict(
            name=condition.name,
            severity=condition.severity,
            metrics=metrics,
            fingerprint=mark,
        )
        with replace_file(file) as partial:
            partial.write_text(
                json.dumps(record, default=methodcaller('tolist'))
            )
        _tell_progress(condition, metrics, seconds, total)
    if not is_main_process():
        return []
    return [json.loads(file.read_text()) for file in files]


def _is_done(file: Path, mark: str) -> bool:
    if not file.exists():
        return False
    try:
        found = json.loads(file.read_text())['fingerprint']
    except (ValueError, KeyError, TypeError):
        found = 'nothing readable'
    if found != mark:
        raise UserError(
            f'{file} is the result of another checkpoint, model or data '
            'setting; choose another --work-dir, or delete the folder '
            f'{file.parent} to test anew.'
        )
    return True


def _test_again(runner: Runner, condition: Condition) -> dict:
    """Test the loaded model on other images."""
    runner._test_dataloader = condition.loader
    runner._test_evaluator = condition.evaluator
    runner._test_loop = runner.build_test_loop(dict(runner.cfg.test_cfg))
    for hook in runner.hooks:
        if isinstance(hook, (CheckDataHook, GatherResultsHook)):
            hook.before_run(runner)
    return runner.test_loop.run()


def _tell_progress(
    condition: Condition, metrics: dict, seconds: list[float], total: int
) -> None:
    shown = [f'{METRICS[m]} {metrics[m]:.4g}' for m in METRICS if m in metrics]
    left = sum(seconds) / len(seconds) * (total - len(seconds))
    print_log(
        f'[{len(seconds)}/{total}] {condition.name} {condition.severity:g}: '
        f'{", ".join(shown) or "found nothing"} ({seconds[-1]:.0f} s, about '
        f'{left / 60:.0f} min left)',
        'current',
    )


def compare(paths: list[str], folder: Path) -> None:
    """Put results beside each other."""
    results = [read_result(path) for path in paths]
    check_comparable(results)
    print(write_report(results, folder, 'comparison'))
    print(f'\nWritten to {folder}.')


def main() -> None:
    """Test, or compare."""
    args = parse_args()
    if args.compare:
        compare(args.compare, Path(args.out_dir))
        return
    cfg = load_config(args.config, args.cfg_options)
    if not cfg.get('test_dataloader') or not cfg.get('test_evaluator'):
        raise UserError(
            f'{args.config} has no test_dataloader or no test_evaluator; '
            'give a config that tests.'
        )
    data = read_data(args.data)
    conditions = list_conditions(
        cfg, data, args.data_root, args.corruptions, args.severities
    )
    cfg.load_from = args.checkpoint
    cfg.resume = False
    set_work_dir(cfg, args.work_dir)
    if args.amp:
        enable_test_amp(cfg, args.amp)
    if data.conditions == 'corruptions':
        check_corruptions_package()
    weights, marks = '', [''] * len(conditions)
    if is_local_main():
        for condition in conditions:
            cfg.test_dataloader = condition.loader
            check_paths(cfg, ('test',))
        weights = hash_file(args.checkpoint)
        marks = [fingerprint(cfg, c, weights) for c in conditions]
    prepare_environment(cfg, args.launcher)
    name = Path(data.filename).stem
    folder = Path(cfg.work_dir) / 'robustness' / name
    tests = measure(cfg, conditions, folder / 'tests', marks)
    if not is_main_process():
        return
    result = dict(
        title=args.title or osp.splitext(osp.basename(args.config))[0],
        data=name,
        config=args.config,
        checkpoint=args.checkpoint,
        checkpoint_sha256=weights,
        classes=cfg.model.get('head', {}).get('num_classes'),
        tests=tests,
    )
    if not list_metrics(result):
        raise UserError(
            f'The test of {args.config} gives {", ".join(tests[0]["metrics"])}'
            f', but none of {", ".join(METRICS)}; add a metric that does.'
        )
    text = write_report([result], folder, 'robustness')
    print_log(f'Results ({folder}/robustness.json)\n{text}', 'current')


if __name__ == '__main__':
    run_main(main)
