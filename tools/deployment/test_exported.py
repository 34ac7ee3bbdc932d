#!/usr/bin/env python
"""Test an exported model by the metrics of its config.

    python tools/deployment/test_exported.py CONFIG model.onnx
    python tools/deployment/test_exported.py CONFIG model.onnx \
        --against CHECKPOINT

Runs ``mmvheat.deploy`` on the files of the test data and hands its
predictions to the evaluator of the config: the metrics are those of
``tools/test.py``. With --against, the model runs too, image by image in turn,
and the ratio of the processor times is told.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, init_default_scope
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from tqdm import tqdm

from mmvheat.deploy import DeployError, Session
from mmvheat.engine.config import load_config
from mmvheat.engine.errors import UserError, run_main
from mmvheat.export import build_model


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Test an exported model.')
    parser.add_argument('config', help='config file')
    parser.add_argument('model', help='ONNX file of export.py')
    parser.add_argument(
        '--against', metavar='CHECKPOINT', help='run the model too, and time'
    )
    parser.add_argument('--out', help='JSON file for the metrics')
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


def test(
    cfg: Config, session: Session, model: torch.nn.Module | None = None
) -> tuple[dict[str, float], float | None]:
    """Test a session on the test data of a config.

    Args:
        cfg (Config): The config.
        session (Session): The exported model.
        model (nn.Module, optional): What it was exported from, to be timed
            in turn with it. Defaults to None.

    Returns:
        tuple[dict[str, float], float | None]: The metrics, and the median
        ratio of the processor times of session and model.
    """
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    ratios = []
    for data in tqdm(dataset, total=len(dataset), unit='image'):
        sample = data['data_samples']
        start = time.process_time()
        found = session(sample.img_path)
        seconds = time.process_time() - start
        if model is not None:
            batch = dict(inputs=[data['inputs']], data_samples=[sample])
            if cfg.default_scope == 'mmpretrain':
                batch['inputs'] = data['inputs'][None]
            start = time.process_time()
            with torch.no_grad():
                model.test_step(batch)
            ratios.append(seconds / (time.process_time() - start))
        add_prediction(sample, found)
        evaluator.process(data_samples=[sample])
    metrics = evaluator.evaluate(len(dataset))
    return metrics, statistics.median(ratios) if ratios else None


def main() -> None:
    """Test."""
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
    args = parse_args()
    model = None
    if args.against:
        model, cfg = build_model(args.config, args.against)
    else:
        cfg = load_config(args.config)
    try:
        metrics, ratio = test(cfg, Session(args.model), model)
    except DeployError as error:
        raise UserError(str(error)) from error
    metrics = {k: float(v) for k, v in metrics.items()}
    record = dict(model=args.model, metrics=metrics, time_ratio=ratio)
    print(json.dumps(record, indent=2))
    if args.out:
        with open(args.out, 'w') as file:
            json.dump(record, file, indent=2)


if __name__ == '__main__':
    run_main(main)
