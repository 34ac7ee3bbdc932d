"""Tests of one model under every condition, to be interrupted at will."""

from __future__ import annotations

import json
import time
from operator import methodcaller
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmvheat.checkpoint.writer import hash_file, replace_file
from mmvheat.datasets.checks import check_paths
from mmvheat.engine.hooks import CheckDataHook, GatherResultsHook
from mmvheat.errors import UserError

from .conditions import Condition, fingerprint
from .report import METRICS


def mark_tests(cfg: Config, conditions: list[Condition]) -> list[str]:
    """Check the paths of all tests, and hash what decides on each.

    Raises:
        UserError: A path does not exist.
    """
    for condition in conditions:
        cfg.test_dataloader = condition.loader
        check_paths(cfg, ('test',))
    weights = hash_file(cfg.load_from)
    return [fingerprint(cfg, c, weights) for c in conditions]


def run_tests(
    cfg: Config,
    conditions: list[Condition],
    folder: Path,
    marks: list[str] | None,
) -> list[dict]:
    """Run every test whose result is not in ``folder`` yet.

    Args:
        cfg (Config): Config of the model.
        conditions (list[Condition]): The tests.
        folder (Path): For a file a test.
        marks (list[str], optional): What must be written in these files;
            the main process has them.

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
        pending[0], conditions, files, marks or files
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
