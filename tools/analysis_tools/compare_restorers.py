"""Train denoisers at equal budget and measure them beside OpenCV's.

    python tools/analysis_tools/compare_restorers.py [--jobs 2]

The narrow vHeatIR of ``configs/quickstart/vheatir-n_graydn25_photographs.py``,
the same network in which nothing spreads (k = 0), SwinIR (attention in windows
in the same frame) and plain CNNs (DnCNN) with as many parameters are trained
with three seeds, on the same patches, and tested on photographs that none has
seen; a GPU is used where there is one.
Beside them stand the noisy images and OpenCV's ``fastNlMeansDenoising`` with
the h that is best on these very photographs. Runs that are done are not
repeated. Into ``--out-dir`` go the runs, ``comparison.json`` and
``comparison.md`` of all that are done, and ``comparison.png``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DATASETS, RUNNERS

from mmvheat.checkpoint.writer import replace_file
from mmvheat.commands.config import load_config
from mmvheat.datasets.restoration_photographs import make_photographs
from mmvheat.errors import UserError, run_main
from mmvheat.evaluation.image_quality import (
    compute_psnr,
    compute_ssim,
    prepare_image,
)

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/quickstart/vheatir-n_graydn25_photographs.py'
DNCNN = dict(_delete_=True, type='DnCNN', channels=30, depth=11)
NETWORKS = {
    'heat': ('vHeatIR, k from the FVE', {}),
    'flat': ('the same, k near 0 at the start', dict(initial_k=None)),
    'k0': ('the same, nothing spreads: k = 0', dict(k=0)),
    'swin': ('SwinIR', dict(mixer='swin', embed_dims=34, num_heads=2)),
    'dncnn': ('DnCNN', DNCNN),
    'cnn': ('DnCNN without batch norm', dict(DNCNN, norm=False)),
}
"""Titles, and what of the network of the config is another."""

NOISY, OPENCV = 'noisy', 'OpenCV, non-local means'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Train and compare denoisers.', allow_abbrev=False
    )
    parser.add_argument(
        '--networks', nargs='+', choices=NETWORKS, default=list(NETWORKS)
    )
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0, 1, 2], help='default 0 1 2'
    )
    parser.add_argument(
        '--iters', type=int, help='iterations (default: those of the config)'
    )
    parser.add_argument(
        '--jobs', type=int, default=1, help='runs at a time (default: 1)'
    )
    parser.add_argument(
        '--out-dir', type=Path, default=ROOT / 'work_dirs/restorers'
    )
    return parser.parse_args()


def read_config(name: str, seed: int, iters: int | None) -> ConfigDict:
    """Read the config of a run."""
    cfg = load_config(str(ROOT / CONFIG))
    changes = dict(NETWORKS[name][1])
    if changes.pop('_delete_', False):
        cfg.model.network = ConfigDict(in_channels=1)
    cfg.model.network.update(changes)
    cfg.randomness = dict(seed=seed)
    iters = iters or cfg.train_cfg.max_iters
    warm_up, cosine = cfg.param_scheduler
    warm_up.end = warm_up.end * iters // cfg.train_cfg.max_iters + 1
    cosine.update(begin=warm_up.end, end=iters, T_max=iters - warm_up.end)
    cfg.train_cfg.update(max_iters=iters, val_interval=iters)
    cfg.default_hooks.checkpoint.update(
        interval=iters, save_optimizer=False, save_param_scheduler=False
    )
    cfg.default_hooks.learning_curves = None
    return cfg


def train(name: str, seed: int, iters: int | None, folder: Path) -> None:
    """Train and test one network in this process, unless that is done.

    Args:
        name (str): Of :data:`NETWORKS`.
        seed (int): Of weights, patches and noise.
        iters (int, optional): Iterations in place of the config's.
        folder (Path): Work dir; ``result.json`` appears when it is done.
    """
    cfg = read_config(name, seed, iters)
    settings = dict(
        name=name,
        seed=seed,
        iters=cfg.train_cfg.max_iters,
        network=cfg.model.network.to_dict(),
    )
    # As it will be read.
    settings = json.loads(json.dumps(settings))
    done = folder / 'result.json'
    if done.is_file():
        found = json.loads(done.read_text())
        if found['settings'] == settings:
            return
    folder.mkdir(parents=True, exist_ok=True)
    output = os.open(folder / 'log.txt', os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    cfg.work_dir = str(folder)
    runner = RUNNERS.build(cfg)
    start = time.monotonic()
    runner.train()
    seconds = time.monotonic() - start
    metrics = runner.test()
    result = dict(
        settings=settings,
        parameters=sum(p.numel() for p in runner.model.parameters()),
        seconds=seconds,
        device=describe_device(runner.model),
        val_psnr=runner.message_hub.get_scalar('val/val/PSNR').current(),
        psnr=metrics['test/PSNR'],
        ssim=metrics['test/SSIM'],
    )
    with replace_file(done) as partial:
        Path(partial).write_text(json.dumps(result, indent=2))


def describe_device(model: torch.nn.Module) -> str:
    """Name the GPU that a model is on, or the CPU."""
    device = next(model.parameters()).device
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    return f'{device.type}, {torch.get_num_threads()} threads'


def train_all(args: argparse.Namespace, out: Path) -> None:
    """Train what is not done, ``args.jobs`` runs at a time."""
    # New interpreters: CUDA does not survive a fork.
    context = multiprocessing.get_context('spawn')
    with context.Pool(args.jobs, maxtasksperchild=1) as pool:
        runs = {
            (name, seed): pool.apply_async(
                train, (name, seed, args.iters, out / f'{name}_{seed}')
            )
            for seed in args.seeds
            for name in args.networks
        }
        for (name, seed), run in runs.items():
            try:
                run.get()
            except Exception as error:
                raise UserError(
                    f'Training {name}, seed {seed}, failed ({error}); what it '
                    f'said is in {out}/{name}_{seed}/log.txt.'
                ) from error
            print(f'{name} with seed {seed} is done', flush=True)


def measure_others() -> dict[str, dict[str, Any]]:
    """Measure the noisy photographs, and OpenCV's denoiser at its best h."""
    cfg = load_config(str(ROOT / CONFIG))
    samples = list(DATASETS.build(cfg.test_dataloader.dataset))
    noisy = [prepare_image(sample['inputs']) for sample in samples]
    clean = [prepare_image(sample['data_samples'].gt) for sample in samples]

    def measure(images: list[np.ndarray]) -> dict[str, float]:
        pairs = list(zip(images, clean))
        return dict(
            psnr=statistics.mean(compute_psnr(*pair) for pair in pairs),
            ssim=statistics.mean(compute_ssim(*pair) for pair in pairs),
        )

    by_h = {}
    for h in range(16, 41, 2):
        denoised = [
            cv2.fastNlMeansDenoising(image.astype(np.uint8), h=h)[..., None]
            for image in noisy
        ]
        by_h[h] = measure(denoised)
    best = max(by_h, key=lambda h: by_h[h]['psnr'])
    return {
        NOISY: measure(noisy),
        OPENCV: dict(by_h[best], h=best),
    }


def make_table(others: dict, results: dict[str, list[dict]]) -> str:
    """Draw a table in markdown: PSNR and SSIM over the seeds."""
    from prettytable import PrettyTable, TableStyle

    table = PrettyTable(
        ['Method', 'Parameters', 'PSNR (dB), mean', 'Deviation', 'Lowest']
        + ['Highest', 'SSIM', 'Iterations', 'Seconds', 'Runs', 'Device']
    )
    table.set_style(TableStyle.MARKDOWN)
    table.align = 'r'
    table.align['Method'] = table.align['Device'] = 'l'
    for name, value in others.items():
        title = f'{name}, h = {value["h"]}' if 'h' in value else name
        psnr, ssim = f'{value["psnr"]:.2f}', f'{value["ssim"]:.4f}'
        table.add_row([title, '', psnr, '', '', '', ssim, '', '', '', ''])
    for name, runs in results.items():
        scores = [run['psnr'] for run in runs]
        spread = statistics.stdev(scores) if len(scores) > 1 else 0
        numbers = statistics.mean(scores), spread, min(scores), max(scores)
        ssim, seconds = (
            statistics.mean(run[key] for run in runs)
            for key in ('ssim', 'seconds')
        )
        iters = {run['settings']['iters'] for run in runs}
        devices = {run['device'] for run in runs}
        table.add_row(
            [NETWORKS[name][0], f'{runs[0]["parameters"]:,}']
            + [f'{number:.2f}' for number in numbers]
            + [f'{ssim:.4f}', ', '.join(map(str, sorted(iters)))]
            + [f'{seconds:.0f}', len(runs), '; '.join(sorted(devices))]
        )
    return table.get_string()


def draw(others: dict, results: dict[str, list[dict]], target: Path) -> None:
    """Draw a dot for every run and a line for every mean."""
    from matplotlib.figure import Figure

    rows = [(OPENCV, [others[OPENCV]['psnr']])]
    rows += [
        (NETWORKS[name][0], [run['psnr'] for run in runs])
        for name, runs in results.items()
    ]
    figure = Figure(figsize=(7.6, 1.2 + 0.42 * len(rows)))
    figure.set_layout_engine('constrained')
    axes = figure.subplots()
    for row, (_, scores) in enumerate(rows):
        mean = statistics.mean(scores)
        axes.plot(scores, [row] * len(scores), 'o', color='#1f5fa8', ms=5)
        axes.plot([mean, mean], [row - 0.3, row + 0.3], color='#d9662b', lw=2)
    axes.set_yticks(range(len(rows)), [title for title, _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel('PSNR (dB) on held-out photographs, sigma 25, gray')
    axes.grid(axis='x', alpha=0.25)
    axes.spines[['top', 'right']].set_visible(False)
    with replace_file(target) as partial:
        figure.savefig(partial, dpi=120, format='png')


def main() -> None:
    """Train what is not done, then report what is."""
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
    args = parse_args()
    out = args.out_dir.resolve()
    os.chdir(ROOT)  # where the config looks for the data
    if not Path('data/photographs').is_dir():
        make_photographs('data/photographs')
    out.mkdir(parents=True, exist_ok=True)
    train_all(args, out)
    results = {}
    for name in NETWORKS:
        paths = sorted(out.glob(f'{name}_*/result.json'))
        if paths:
            results[name] = [json.loads(path.read_text()) for path in paths]
    others = measure_others()
    with replace_file(out / 'comparison.json') as partial:
        record = dict(others=others, results=results)
        Path(partial).write_text(json.dumps(record, indent=2))
    table = make_table(others, results)
    with replace_file(out / 'comparison.md') as partial:
        Path(partial).write_text(f'# Restorers compared\n\n{table}\n')
    print(f'\n{table}')
    draw(others, results, out / 'comparison.png')


if __name__ == '__main__':
    run_main(main)
