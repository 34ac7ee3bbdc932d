"""A run of the benchmark, from the names of networks to a report."""

from __future__ import annotations

import json
import shlex
import sys
from argparse import Namespace
from functools import partial
from itertools import product

import torch

from benchmark import networks, timing
from benchmark.plots import draw_speed
from benchmark.report import describe_row, make_markdown
from benchmark.step import Size, Step, record
from mmvheat.analysis.machine import describe_machine
from mmvheat.commands.config import make_folder
from mmvheat.errors import UserError
from mmvheat.visualization.style import save_figure

COMPILED, REPLAYED = '+compile', '+graph'


class Benchmark:
    """What the command line asks for.

    Raises:
        UserError: Something cannot be built, or the folder not be made.
    """

    def __init__(self, args: Namespace) -> None:
        self.args = args
        self.report = dict(
            command=shlex.join(['python', *sys.argv]),
            machine=describe_machine(args.device),
            device=args.device,
            left_out=[],
            results=[],
        )
        make_folder(args.out_dir, '--out-dir')
        self.networks = {
            networks.get_label(name): networks.build(
                name, args.device, args.channels_last
            )
            for name in self._choose_names()
        }

    def run(self) -> None:
        """Measure everything; tables are written after each case."""
        args, results = self.args, self.report['results']
        for dtype in args.dtypes:
            if not supports(dtype, args.device):
                self._leave_out(f'{dtype} (this CPU has no arithmetic of it)')
                continue
            for mode, size in product(args.modes, args.sizes):
                results += self._run_case(mode, dtype, size)
                text = json.dumps(self.report, indent=1)
                (args.out_dir / 'benchmark.json').write_text(text)
                text = make_markdown(self.report)
                (args.out_dir / 'benchmark.md').write_text(text)
        if not results:
            raise UserError(
                'No model could be measured; name others with --models or '
                '--configs, see also what the lines above left out.'
            )
        if len({row['pixels'] for row in results}) > 1:
            save_figure(draw_speed(self.report), args.out_dir / 'speed.png')
        print(f'wrote {args.out_dir / "benchmark.md"}', flush=True)

    def _choose_names(self) -> list[str]:
        """Name what can run here."""
        chosen = list(self.args.models)
        if self.args.configs:
            chosen += networks.DEFAULT_CONFIGS
        for name in [*chosen, self.args.peer]:
            networks.check_name(name)
        reasons = {name: networks.why_missing(name) for name in chosen}
        for name, reason in reasons.items():
            if reason:
                self._leave_out(f'{name} ({reason})')
        return [name for name, reason in reasons.items() if not reason]

    def _leave_out(self, what: str) -> None:
        self.report['left_out'].append(what)
        print(f'left out: {what}', flush=True)

    def _run_case(self, mode: str, dtype: str, size: Size) -> list[dict]:
        """Measure all networks in one mode, dtype and size, in turn."""
        args = self.args
        if any(label.endswith(COMPILED) for label in self.networks):
            torch._dynamo.reset()  # a program is compiled for each size
        timers, memory = {}, {}
        for label, network in self.networks.items():
            try:
                step = Step(network, mode, dtype, size, args.channels_last)
                step()
                memory[label] = measure_memory(step, args.device)
                if label.endswith(REPLAYED):
                    step = record(step)
            except RuntimeError as error:
                case = f'{label} in {mode} {dtype} {size}'
                reason = ' '.join(str(error).split())[:200]
                self._leave_out(f'{case} ({reason})')
                continue
            timers[label] = partial(timing.time_runs, step)
        times = timing.time_interleaved(timers, args.repeats)
        rows = []
        for label, seconds in times.items():
            peer = find_peer(label, list(times), args.peer)
            row = dict(mode=mode, dtype=dtype, size=str(size))
            row.update(pixels=size.height * size.width, batch=size.batch)
            row.update(model=label, peer=peer, memory=memory[label])
            row.update(seconds=seconds, ms=1e3 * timing.quartiles(seconds)[1])
            row['speed'] = peer and timing.compare_speed(seconds, times[peer])
            print(mode, dtype, *describe_row(row).values(), flush=True)
            rows.append(row)
        return rows


def find_peer(label: str, labels: list[str], peer: str) -> str | None:
    """Find what a network is compared with: what runs as it does.

    The peer is compiled or replayed as the network is, where it ran so, and
    that of mask-rcnn_vheat-t_... is mask-rcnn_swin-t_... Of labels, all that
    ran.
    """
    wanted = networks.get_label(peer)
    algorithm, is_config, _ = label.partition('_')
    found = [
        other
        for other in labels
        if bool(is_config) == ('_' in other)
        and (
            wanted in (other, other.partition('+')[0])
            or other.startswith(f'{algorithm}_{wanted}_')
        )
    ]
    way = label.partition('+')[2]
    found.sort(key=lambda other: other.partition('+')[2] != way)
    return found[0] if found else None


def measure_memory(step: Step, device: str) -> int | None:
    """Measure the peak memory of a step on a GPU above that before, bytes."""
    if device == 'cpu':
        return None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return torch.cuda.max_memory_allocated() - before


def supports(dtype: str, device: str) -> bool:
    """Tell whether a device computes in a dtype, not just emulates it."""
    half = dtype.partition('-')[0]
    if device == 'cpu' and half in ('bf16', 'fp16'):
        return getattr(torch.ops.mkldnn, f'_is_mkldnn_{half}_supported')()
    return device != 'cpu' or dtype == 'fp32'
