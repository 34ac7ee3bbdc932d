"""Time vHeat-T of the one checkout that ``PYTHONPATH`` names.

``against.py`` starts two of these, each with a checkout of its own. Says where
its mmvheat comes from, then answers every line of standard input, a case and
a number of runs, with the seconds of one run.
"""

from __future__ import annotations

import json
import sys

import torch

import mmvheat
from benchmark.step import Size, Step
from benchmark.timing import time_runs
from mmvheat.models import vHeat


def main(device: str, threads: str) -> None:
    """Answer until standard input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    network = vHeat(arch='tiny', img_size=512).to(device)
    print(json.dumps(mmvheat.__file__), file=answers, flush=True)
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
