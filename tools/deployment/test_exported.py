#!/usr/bin/env python
"""Test exported models by the metrics of their config, and measure them.

    python tools/deployment/test_exported.py CONFIG model.onnx
    python tools/deployment/test_exported.py CONFIG fp32.onnx fp16.onnx \
        int8.onnx --against CHECKPOINT

Runs ``mmvheat.deploy`` on the files of the test data and hands its
predictions to the evaluator of the config: the metrics are those of
``tools/test.py``. With --against, PyTorch runs too. All take every image in
turn, in an order that changes; what is told are the medians of the images of
each one's time divided by PyTorch's, from an array in memory to the
prediction, and the peak memory of a process of its own that predicts five
images. Close other programs before you believe a latency.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, init_default_scope
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from prettytable import PrettyTable
from tqdm import tqdm

from mmvheat import deploy
from mmvheat.commands.config import load_config
from mmvheat.deploy import DeployError, Session, read_image
from mmvheat.errors import UserError, run_main
from mmvheat.export import build_model

PYTORCH = 'PyTorch'
_PEAK_IMAGES = 5
# As a product runs: without torch.
_PEAK_OF_FILE = """
import re, runpy, sys
runtime = runpy.run_path(sys.argv[1])
session = runtime['Session'](sys.argv[2], threads=int(sys.argv[3]))
for path in sys.argv[4:]:
    session(path)
print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])
"""


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Test and measure exported models.', allow_abbrev=False
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('models', nargs='+', help='ONNX files of export.py')
    parser.add_argument(
        '--against', metavar='CHECKPOINT', help='run PyTorch too, and measure'
    )
    parser.add_argument(
        '--threads',
        type=int,
        default=os.cpu_count(),
        help='of PyTorch and onnxruntime (default: all cores)',
    )
    parser.add_argument('--out', help='JSON file for the figures')
    return parser.parse_args()


def add_prediction(sample: BaseDataElement, found: dict[str, Any]) -> None:
    """Give a data sample what the runtime predicted."""
    if 'label_map' in found:
        label_map = torch.from_numpy(found['label_map'].astype(np.int64))
        sample.pred_sem_seg = PixelData(data=label_map[None])
    elif 'boxes' in found:
        values = {k: torch.from_numpy(v) for k, v in found.items()}
        values['bboxes'] = values.pop('boxes')
        sample.pred_instances = InstanceData(**values)
    else:
        sample.set_pred_score(torch.from_numpy(found['scores']))
        sample.set_pred_label(found['label'])


def build_dataset(cfg: Config) -> BaseDataset:
    """Build the test data of a config."""
    init_default_scope(cfg.default_scope)
    return DATASETS.build(cfg.test_dataloader.dataset)


def run_pytorch(
    model: torch.nn.Module, cfg: Config, data: dict[str, Any]
) -> BaseDataElement:
    """Predict what an item of a data set shows."""
    inputs = [data['inputs']]
    if cfg.default_scope == 'mmpretrain':
        inputs = torch.stack(inputs)
    batch = dict(inputs=inputs, data_samples=[data['data_samples']])
    with torch.no_grad():
        return model.test_step(batch)[0]


def test(
    cfg: Config,
    sessions: dict[str, Session],
    model: torch.nn.Module | None = None,
) -> tuple[dict[str, dict[str, float]], dict[str, list[tuple[float, float]]]]:
    """Test sessions, and PyTorch beside them, on the test data of a config.

    Args:
        cfg (Config): The config.
        sessions (dict[str, Session]): Exported models by name.
        model (nn.Module, optional): What they were exported from.
            Defaults to None.

    Returns:
        tuple[dict, dict]: By name the metrics, and for each image the seconds
        that went by and those of the processor.
    """
    dataset = build_dataset(cfg)
    names = [*([PYTORCH] if model is not None else []), *sessions]
    evaluators, seconds = {}, {name: [] for name in names}
    for name in names:
        evaluators[name] = Evaluator(cfg.test_evaluator)
        evaluators[name].dataset_meta = dataset.metainfo
    for index, data in enumerate(
        tqdm(dataset, total=len(dataset), unit='image', disable=None)
    ):
        image = read_image(data['data_samples'].img_path)
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            item = copy.deepcopy(data)
            start = time.perf_counter(), time.process_time()
            if name == PYTORCH:
                found = run_pytorch(model, cfg, item)
            else:
                found = sessions[name](image)
            end = time.perf_counter(), time.process_time()
            seconds[name].append((end[0] - start[0], end[1] - start[1]))
            if name != PYTORCH:
                add_prediction(item['data_samples'], found)
                found = item['data_samples']
            evaluators[name].process(data_samples=[found])
    metrics = {
        name: {k: float(v) for k, v in e.evaluate(len(dataset)).items()}
        for name, e in evaluators.items()
    }
    return metrics, seconds


def measure_file(path: str, images: list[str], threads: int) -> float:
    """Measure the peak memory, in MB, of a process that runs a file."""
    command = [sys.executable, '-c', _PEAK_OF_FILE, deploy.__file__, path]
    done = subprocess.run(
        [*command, str(threads), *images], capture_output=True, text=True
    )
    if done.returncode:
        raise UserError(
            f'{path} failed in a process of its own: '
            f'{done.stderr.strip().splitlines()[-1]}'
        )
    return int(done.stdout) / 1024


def measure_pytorch(args: argparse.Namespace, put: Callable) -> None:
    """Put the peak memory, in MB, of this process that runs PyTorch."""
    warnings.simplefilter('ignore')
    torch.set_num_threads(args.threads)
    model, cfg = build_model(args.config, args.against)
    dataset = build_dataset(cfg)
    for index in range(min(_PEAK_IMAGES, len(dataset))):
        run_pytorch(model, cfg, dataset[index])
    status = Path('/proc/self/status').read_text()
    put(int(re.search(r'VmHWM:\s+(\d+)', status)[1]) / 1024)


def measure_memory(
    args: argparse.Namespace, dataset: BaseDataset
) -> dict[str, float]:
    """Measure the peak memory, in MB, of everything; Linux tells it alone."""
    count = min(_PEAK_IMAGES, len(dataset))
    images = [dataset[i]['data_samples'].img_path for i in range(count)]
    found = {
        path: measure_file(path, images, args.threads) for path in args.models
    }
    context = multiprocessing.get_context('spawn')
    queue = context.SimpleQueue()
    child = context.Process(target=measure_pytorch, args=(args, queue.put))
    child.start()
    child.join()
    if child.exitcode == 0:
        found[PYTORCH] = queue.get()
    return found


def summarize(
    metrics: dict[str, dict[str, float]],
    seconds: dict[str, list[tuple[float, float]]],
    memory: dict[str, float],
) -> dict[str, dict[str, float]]:
    """Put the figures of every model together."""
    rows = {}
    for name, found in metrics.items():
        row = rows[name] = dict(found)
        if name != PYTORCH:
            row['size (MB)'] = os.path.getsize(name) / 1e6
        if PYTORCH in seconds:
            pairs = list(zip(seconds[name], seconds[PYTORCH]))
            for place, what in enumerate(('latency', 'processor time')):
                row[f"{what} / PyTorch's"] = statistics.median(
                    own[place] / reference[place] for own, reference in pairs
                )
        if name in memory:
            row['peak memory (MB)'] = memory[name]
    return rows


def main() -> None:
    """Test and measure."""
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
    args = parse_args()
    torch.set_num_threads(args.threads)
    model = None
    if args.against:
        model, cfg = build_model(args.config, args.against)
    else:
        cfg = load_config(args.config)
    try:
        sessions = {m: Session(m, threads=args.threads) for m in args.models}
        metrics, seconds = test(cfg, sessions, model)
    except DeployError as error:
        raise UserError(str(error)) from error
    memory = {}
    if args.against and sys.platform == 'linux':
        memory = measure_memory(args, build_dataset(cfg))
    rows = summarize(metrics, seconds, memory)
    table = PrettyTable(['', *rows], align='r')
    for key in {key: None for row in rows.values() for key in row}:
        cells = [row.get(key, '') for row in rows.values()]
        table.add_row([key, *(c if c == '' else f'{c:.3f}' for c in cells)])
    print(table)
    if args.out:
        Path(args.out).write_text(json.dumps(rows, indent=2))


if __name__ == '__main__':
    run_main(main)
