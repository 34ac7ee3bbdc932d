"""Time vHeat-T of the one checkout that ``PYTHONPATH`` names.

``against.py`` starts two of these, each with a checkout of its own. Answers
every line of standard input, a case and a number of runs, with the seconds of
one run.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

import mmvheat
from benchmark.step import Size, Step
from benchmark.timing import time_runs
from mmvheat.models import vHeat


def main(device: str, threads: str) -> None:
    """Answer until standard input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    checkout = os.environ['PYTHONPATH'].split(os.pathsep)[0]
    if not Path(mmvheat.__file__).is_relative_to(checkout):
        sys.exit(f'{mmvheat.__file__} is not that of {checkout}')
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    network = vHeat(arch='tiny', img_size=512).to(device)
    last = step = None
    for line in sys.stdin:
        case, count = json.loads(line)
        if case != last:
            mode, dtype, *size = last = case
            step = Step(network, mode, dtype, Size(*size))
            step()
        print(json.dumps(time_runs(step, count)), file=answers, flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
