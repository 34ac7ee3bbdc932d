"""Trials: configs trained by some seeds, each run in a process of its own."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.utils import import_modules_from_strings

from mmvheat.checkpoint.writer import replace_file
from mmvheat.commands.config import register_task_library
from mmvheat.commands.environment import prepare_environment
from mmvheat.errors import UserError


def run_trials(
    cfgs: Mapping[str, Config],
    seeds: Sequence[int],
    out: Path,
    metric: str,
    jobs: int = 1,
) -> None:
    """Train every config with every seed, where that is not done.

    Args:
        cfgs (Mapping[str, Config]): By their names.
        seeds (Sequence[int]): Of weights, batches and augmentation.
        out (Path): For a work dir a trial, ``NAME_SEED``, with log.txt, and
            result.json when it is done: its ``settings``, the ``metrics`` of
            a test, or of a validation where the config has no test, the
            number of ``parameters``, ``seconds`` of training and ``device``.
        metric (str): Name of a metric that all must have.
        jobs (int): Trials at a time, which share the cores. Defaults to 1.

    Raises:
        UserError: A trial failed, or has no such metric.
    """
    # CUDA does not survive a fork, and libraries ask for it when imported.
    methods = multiprocessing.get_all_start_methods()
    method = 'forkserver' if 'forkserver' in methods else 'spawn'
    method = 'spawn' if torch.cuda.is_available() else method
    context = multiprocessing.get_context(method)
    libraries = {f'{cfg.default_scope}.apis' for cfg in cfgs.values()}
    context.set_forkserver_preload(['mmvheat.commands', *libraries])
    threads = max(1, torch.get_num_threads() // jobs)

    def run(name: str, seed: int) -> None:
        folder, cfg = out / f'{name}_{seed}', cfgs[name]
        if _read_result(folder).get('settings') != _settings(cfg, seed):
            given = cfg, seed, folder, threads
            process = context.Process(target=_train, args=given)
            process.start()
            process.join()
            if process.exitcode:
                log, said = folder / 'log.txt', []
                if log.is_file():
                    said = log.read_text(errors='replace').splitlines()
                raise UserError(
                    f'Training {name}, seed {seed}, ended with exit code '
                    f'{process.exitcode} after {"".join(said[-1:])!r}; all '
                    f'that it said is in {folder}/log.txt.'
                )
        found = _read_result(folder)['metrics']
        if metric not in found:
            raise UserError(
                f'The metric {metric} is not among the results of {name}: '
                f'{", ".join(found) or "none"}; name one of them in the '
                'comparison, what has run need not run again.'
            )
        said = ', '.join(f'{key} {value:.4g}' for key, value in found.items())
        print(f'{name} with seed {seed}: {said}', flush=True)

    # Threads wait; a process of a pool may have no data workers.
    pool = ThreadPoolExecutor(jobs)
    runs = [pool.submit(run, name, seed) for seed in seeds for name in cfgs]
    try:
        for done in as_completed(runs):
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _train(cfg: Config, seed: int, folder: Path, threads: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / 'log.txt', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(threads)
    settings = _settings(cfg, seed)
    # mmengine imports them where a config is read, which was elsewhere.
    import_modules_from_strings(**cfg.get('custom_imports', {'imports': []}))
    register_task_library(cfg)
    cfg.setdefault('randomness', {})
    cfg.randomness.seed = seed
    cfg.work_dir = str(folder)
    prepare_environment(cfg, 'none')
    runner = RUNNERS.build(cfg)
    start = time.monotonic()
    runner.train()
    seconds = time.monotonic() - start
    metrics = runner.test() if cfg.get('test_dataloader') else runner.val()
    parameters = list(runner.model.parameters())
    device = parameters[0].device
    result = dict(
        settings=settings,
        metrics={
            k: float(v) for k, v in metrics.items() if isinstance(v, Real)
        },
        parameters=sum(p.numel() for p in parameters),
        seconds=seconds,
        device=torch.cuda.get_device_name(device)
        if device.type == 'cuda'
        else f'{device.type}, {torch.get_num_threads()} threads',
    )
    with replace_file(folder / 'result.json') as partial:
        partial.write_text(json.dumps(result, indent=2))


def _settings(cfg: Config, seed: int) -> dict[str, Any]:
    """What a result depends on; all seeds have the same config."""
    text = repr(cfg.to_dict())
    return dict(config=hashlib.sha256(text.encode()).hexdigest(), seed=seed)


def _read_result(folder: Path) -> dict[str, Any]:
    path = folder / 'result.json'
    return json.loads(path.read_text()) if path.is_file() else {}


def collect_results(out: Path, name: str, cfg: Config) -> list[dict[str, Any]]:
    """Read the results of a config, of all seeds that are done."""
    found = map(_read_result, sorted(out.glob(f'{name}_*')))
    wanted = _settings(cfg, 0)['config']
    return [r for r in found if r and r['settings'].get('config') == wanted]
