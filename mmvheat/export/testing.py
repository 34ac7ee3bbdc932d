"""Exported models beside PyTorch: their metrics, latency and memory."""

from __future__ import annotations

import copy
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, init_default_scope
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from tqdm import tqdm

import mmvheat.deploy
from mmvheat.commands.config import load_config
from mmvheat.deploy import Session, read_image
from mmvheat.errors import UserError

from .models import build_model

PYTORCH = 'PyTorch'
_PEAK_IMAGES = 5
# As a product runs: without torch.
_RUN_FILE = """
import runpy, sys
runtime = runpy.run_path(sys.argv[1])
session = runtime['Session'](sys.argv[2], threads=int(sys.argv[3]))
for path in sys.argv[4:]:
    session(path)
"""
_RUN_PYTORCH = """
import sys
from mmvheat.export.testing import predict_some
predict_some(*sys.argv[1:])
"""
_TELL_PEAK = r"""
import re
print(re.search(r'VmHWM:\s+(\d+)', open('/proc/self/status').read())[1])
"""


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


def test_files(
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


def predict_some(config: str, checkpoint: str, threads: str) -> None:
    """Let PyTorch predict a few images."""
    warnings.simplefilter('ignore')
    torch.set_num_threads(int(threads))
    model, cfg = build_model(config, checkpoint)
    dataset = build_dataset(cfg)
    for index in range(min(_PEAK_IMAGES, len(dataset))):
        run_pytorch(model, cfg, dataset[index])


def measure_memory(
    files: Sequence[str], config: str, checkpoint: str, threads: int
) -> dict[str, float]:
    """Measure the peak memory, in MB, of processes that predict on Linux.

    Args:
        files (Sequence[str]): Exported models.
        config (str): The config of the model they are of.
        checkpoint (str): Its checkpoint.
        threads (int): Of every process.

    Returns:
        dict[str, float]: By file, and of PyTorch.
    """
    dataset = build_dataset(load_config(config))
    count = min(_PEAK_IMAGES, len(dataset))
    images = [dataset[i]['data_samples'].img_path for i in range(count)]
    found = {
        path: _measure_peak(
            *(path, _RUN_FILE, mmvheat.deploy.__file__, path, threads, *images)
        )
        for path in files
    }
    found[PYTORCH] = _measure_peak(
        *(PYTORCH, _RUN_PYTORCH, config, checkpoint, threads)
    )
    return found


def _measure_peak(name: str, code: str, *arguments: object) -> float:
    command = [sys.executable, '-c', code + _TELL_PEAK, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(
            f'{name} failed in a process of its own: '
            f'{done.stderr.strip().splitlines()[-1]}'
        )
    return int(done.stdout.split()[-1]) / 1024


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
