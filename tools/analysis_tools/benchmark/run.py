"""A run of the benchmark, from the names of networks to a report."""

from __future__ import annotations

import argparse
import functools
import json
import os
import shlex
import sys
from functools import partial
from itertools import product
from pathlib import Path

import torch
from complexity import count_flops

from benchmark.networks import (
    DEFAULT_CONFIGS,
    build_network,
    check_name,
    get_label,
    is_whole,
    split_name,
    why_missing,
)
from benchmark.plots import draw_speed
from benchmark.report import describe_machine, describe_row, make_markdown
from benchmark.step import DTYPES, Size, Step
from benchmark.timing import (
    compare_speed,
    quartiles,
    time_interleaved,
    time_runs,
)
from mmvheat.engine.errors import UserError

GEMM = dict(cpu=2048, cuda=8192)  # rows of the matrices
LIMIT = 'matrix product'


class Benchmark:
    """What the command line asks for.

    Args:
        args (argparse.Namespace): The command line.

    Raises:
        UserError: Something cannot be built, or the folder not written to.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.report = dict(
            command=shlex.join(['python', *sys.argv]),
            machine=describe_machine(args.device),
            device=args.device,
            peer=args.peer,
            left_out=[],
            results=[],
        )
        self.names = {get_label(name): name for name in self._choose_names()}
        self.networks = {
            label: build_network(name, args.device, args.channels_last)
            for label, name in self.names.items()
        }
        make_folder(args.out_dir)

    def run(self) -> None:
        """Measure everything; tables are written after each case."""
        args, results = self.args, self.report['results']
        for dtype in args.dtypes:
            if not supports(dtype, args.device):
                self._leave_out(f'{dtype} (this CPU has no arithmetic of it)')
                continue
            for mode, size in product(args.modes, args.sizes):
                results += self._run_case(mode, dtype, size)
                self._save('benchmark.json', json.dumps(self.report, indent=1))
                self._save('benchmark.md', make_markdown(self.report))
        if not results:
            raise UserError(
                'No model could be measured; the lines above say why.'
            )
        if len({row['pixels'] for row in results}) > 1:
            draw_speed(self.report).savefig(args.out_dir / 'speed.png')
        print(f'wrote {args.out_dir / "benchmark.md"}', flush=True)

    def _choose_names(self) -> list[str]:
        """Name what can run here, with the variants asked for."""
        args = self.args
        chosen = [*args.models, *(args.configs or [])]
        if args.configs == []:
            chosen += DEFAULT_CONFIGS
        for name in [*chosen, args.peer]:
            check_name(name)
        names = []
        for name in chosen:
            reason = why_missing(name)
            if reason:
                self._leave_out(f'{name} ({reason})')
                continue
            names.append(name)
            if args.compile:
                names.append(f'{name.removesuffix("+compile")}+compile')
        if not names:
            raise UserError(
                'No model is left to run; name some with --models or '
                '--configs.'
            )
        return names

    def _leave_out(self, what: str) -> None:
        self.report['left_out'].append(what)
        print(f'left out: {what}', flush=True)

    def _run_case(self, mode: str, dtype: str, size: Size) -> list[dict]:
        """Measure all networks in one mode, dtype and size, in turn."""
        args = self.args
        if any('+compile' in label for label in self.networks):
            torch._dynamo.reset()  # a program is compiled for each size
        steps, memory = {}, {}
        for label, network in self.networks.items():
            if mode == 'eval' and 'cp' in split_name(label)[1]:
                continue  # which is the same as without
            try:
                step = Step(network, mode, dtype, size, args.channels_last)
                step()
                memory[label] = measure_memory(step, args.device)
            except RuntimeError as error:
                reason = ' '.join(str(error).split())[:200]
                self._leave_out(f'{label} in {mode} {dtype} {size} ({reason})')
                continue
            steps[label] = step
        gemm, gemm_flops = make_gemm(dtype, args.device)
        timers = {
            name: partial(time_runs, action)
            for name, action in {**steps, LIMIT: gemm}.items()
        }
        times = time_interleaved(timers, args.repeats)
        limit = gemm_flops / quartiles(times.pop(LIMIT))[1]
        rows = []
        for label, seconds in times.items():
            peer = find_peer(label, list(times), args.peer)
            median = quartiles(seconds)[1]
            base, _ = split_name(self.names[label])
            flops = count_step_flops(base, mode, size, args.device)
            row = dict(
                mode=mode,
                dtype=dtype,
                size=str(size),
                pixels=size.pixels,
                batch=size.batch,
                model=label,
                peer=peer,
                seconds=seconds,
                ms=1e3 * median,
                speed=peer and compare_speed(seconds, times[peer]),
                flops=flops,
                of_limit=flops / median / limit,
                memory=memory[label],
                memory_ratio=None,
            )
            if peer and memory[label]:
                row['memory_ratio'] = memory[label] / memory[peer]
            print(describe_row(row), flush=True)
            rows.append(row)
        return rows

    def _save(self, name: str, text: str) -> None:
        (self.args.out_dir / name).write_text(text)


def find_peer(label: str, labels: list[str], peer: str) -> str | None:
    """Find what a network is compared with.

    Args:
        label (str): Of the network.
        labels (list[str]): Of all networks that ran.
        peer (str): Name of the peer.

    Returns:
        str | None: The peer, compiled as the network is where it ran so; for
        mask-rcnn_vheat-t_... mask-rcnn_swin-t_...
    """
    base, options = split_name(label)
    wanted = get_label(peer)
    algorithm, is_config, _ = base.partition('_')
    found = [
        other
        for other in labels
        if is_config
        and other.startswith(f'{algorithm}_{wanted}_')
        or split_name(other)[0] == wanted
        and bool(is_config) == ('_' in wanted)
    ]
    found.sort(key=lambda o: ('compile' in o) != ('compile' in options))
    return found[0] if found else None


def measure_memory(step: Step, device: str) -> int | None:
    """Measure the peak memory of a step on a GPU above that before, bytes."""
    if device == 'cpu':
        return None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return torch.cuda.max_memory_allocated() - before


def make_gemm(dtype: str, device: str) -> tuple[partial, float]:
    """Make a product of matrices that tells the machine's limit.

    Returns:
        tuple[partial, float]: The product, which ran once, and its FLOPs, a
        multiply-add counted once.
    """
    rows = GEMM[device]
    matrix = torch.randn(rows, rows, device=device).to(DTYPES[dtype])
    torch.mm(matrix, matrix)
    return partial(torch.mm, matrix, matrix), rows**3


@functools.cache
def count_step_flops(name: str, mode: str, size: Size, device: str) -> float:
    """Count the FLOPs of a step, a multiply-add once.

    A training step is three forward passes; what recomputation adds and what
    is kept from one image to the next are left out.

    Args:
        name (str): Of the network.
        mode (str): ``'eval'`` or ``'train'``.
        size (Size): Shape of the images.
        device (str): Where whole models run.

    Returns:
        float: FLOPs of a step.
    """
    network = build_network(name)
    # A backbone needs no values.
    network.to(device if is_whole(network) else 'meta')
    flops = count_flops(Step(network, mode, 'fp32', size).forward)
    return flops['Global'] * (3 if mode == 'train' else 1)


def supports(dtype: str, device: str) -> bool:
    """Tell whether a device computes in a dtype, not just emulates it."""
    if device == 'cpu' and dtype != 'fp32':
        return getattr(torch.ops.mkldnn, f'_is_mkldnn_{dtype}_supported')()
    return True


def make_folder(folder: Path) -> None:
    """Make a folder before time is spent on what goes there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f'The folder {folder} cannot be made ({error.strerror}); choose '
            'another one with --out-dir.'
        ) from error
    if not os.access(folder, os.W_OK):
        raise UserError(
            f'The folder {folder} is not writable; choose another one with '
            '--out-dir.'
        )
