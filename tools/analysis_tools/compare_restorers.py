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
import os
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DATASETS, RUNNERS

from mmvheat.analysis import tables, trials
from mmvheat.checkpoint.writer import replace_file
from mmvheat.commands.config import load_config
from mmvheat.datasets.restoration_photographs import make_photographs
from mmvheat.errors import run_main
from mmvheat.evaluation.image_quality import measure_images, prepare_image

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
COLUMNS = ['Method', 'Parameters', 'PSNR (dB), mean', 'Deviation', 'Lowest']
COLUMNS += ['Highest', 'SSIM', 'Iterations', 'Seconds', 'Runs', 'Device']


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


def train(
    name: str, seed: int, folder: Path, iters: int | None
) -> dict[str, Any]:
    """Train and test one network.

    Args:
        name (str): Of :data:`NETWORKS`.
        seed (int): Of weights, patches and noise.
        folder (Path): Work dir.
        iters (int, optional): Iterations in place of the config's.
    """
    cfg = read_config(name, seed, iters)
    cfg.work_dir = str(folder)
    runner = RUNNERS.build(cfg)
    start = time.monotonic()
    runner.train()
    seconds = time.monotonic() - start
    metrics = runner.test()
    return dict(
        parameters=sum(p.numel() for p in runner.model.parameters()),
        seconds=seconds,
        device=describe_device(runner.model),
        val_psnr=runner.message_hub.get_scalar('val/val/PSNR').current(),
        psnr=metrics['test/PSNR'],
        ssim=metrics['test/SSIM'],
    )


def list_settings(name: str, seed: int, iters: int | None) -> dict[str, Any]:
    """List what the result of a run depends on, as JSON has it."""
    cfg = read_config(name, seed, iters)
    settings = dict(
        name=name,
        seed=seed,
        iters=cfg.train_cfg.max_iters,
        network=cfg.model.network.to_dict(),
    )
    return json.loads(json.dumps(settings))


def describe_device(model: torch.nn.Module) -> str:
    """Name the GPU that a model is on, or the CPU."""
    device = next(model.parameters()).device
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    return f'{device.type}, {torch.get_num_threads()} threads'


def measure_others() -> dict[str, dict[str, Any]]:
    """Measure the noisy photographs, and OpenCV's denoiser at its best h."""
    cfg = load_config(str(ROOT / CONFIG))
    samples = list(DATASETS.build(cfg.test_dataloader.dataset))
    noisy = [prepare_image(sample['inputs']) for sample in samples]
    clean = [prepare_image(sample['data_samples'].gt) for sample in samples]

    by_h = {}
    for h in range(16, 41, 2):
        denoised = [
            cv2.fastNlMeansDenoising(image.astype(np.uint8), h=h)[..., None]
            for image in noisy
        ]
        by_h[h] = measure_images(denoised, clean)
    best = max(by_h, key=lambda h: by_h[h]['psnr'])
    return {
        NOISY: measure_images(noisy, clean),
        OPENCV: dict(by_h[best], h=best),
    }


def make_table(others: dict, results: dict[str, list[dict]]) -> str:
    """Draw a table in markdown: PSNR and SSIM over the seeds."""
    rows = []
    for name, value in others.items():
        title = f'{name}, h = {value["h"]}' if 'h' in value else name
        psnr, ssim = f'{value["psnr"]:.2f}', f'{value["ssim"]:.4f}'
        rows.append([title, '', psnr, '', '', '', ssim, '', '', '', ''])
    for name, runs in results.items():
        ssim, seconds = (
            statistics.mean(run[key] for run in runs)
            for key in ('ssim', 'seconds')
        )
        iters = sorted({run['settings']['iters'] for run in runs})
        devices = sorted({run['device'] for run in runs})
        rows.append(
            [NETWORKS[name][0], f'{runs[0]["parameters"]:,}']
            + trials.describe_scores([run['psnr'] for run in runs], 2)
            + [f'{ssim:.4f}', ', '.join(map(str, iters)), f'{seconds:.0f}']
            + [len(runs), '; '.join(devices)]
        )
    return tables.make_table(COLUMNS, rows)


def main() -> None:
    """Train what is not done, then report what is."""
    args = parse_args()
    out = args.out_dir.resolve()
    os.chdir(ROOT)  # where the config looks for the data
    if not Path('data/photographs').is_dir():
        make_photographs('data/photographs')
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        (name, seed): list_settings(name, seed, args.iters)
        for seed in args.seeds
        for name in args.networks
    }
    one = partial(train, iters=args.iters)
    trials.run_trials(one, settings, out, args.jobs)
    results = trials.collect_results(out, NETWORKS)
    others = measure_others()
    with replace_file(out / 'comparison.json') as written:
        record = dict(others=others, results=results)
        Path(written).write_text(json.dumps(record, indent=2))
    table = make_table(others, results)
    with replace_file(out / 'comparison.md') as written:
        Path(written).write_text(f'# Restorers compared\n\n{table}\n')
    print(f'\n{table}')
    scores = {OPENCV: [others[OPENCV]['psnr']]}
    for name, runs in results.items():
        scores[NETWORKS[name][0]] = [run['psnr'] for run in runs]
    label = 'PSNR (dB) on held-out photographs, sigma 25, gray'
    trials.draw_scores(scores, label, out / 'comparison.png')


if __name__ == '__main__':
    run_main(main)
