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
import json
import os
import sys
from pathlib import Path

import torch
from prettytable import PrettyTable

from mmvheat.commands.config import load_config
from mmvheat.deploy import DeployError, Session
from mmvheat.errors import UserError, run_main
from mmvheat.export import build_model
from mmvheat.export.testing import measure_memory, summarize, test_files


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


def main() -> None:
    """Test and measure."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    model = None
    if args.against:
        model, cfg = build_model(args.config, args.against)
    else:
        cfg = load_config(args.config)
    try:
        sessions = {m: Session(m, threads=args.threads) for m in args.models}
        metrics, seconds = test_files(cfg, sessions, model)
    except DeployError as error:
        raise UserError(str(error)) from error
    memory = {}
    if args.against and sys.platform == 'linux':
        memory = measure_memory(
            args.models, args.config, args.against, args.threads
        )
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
