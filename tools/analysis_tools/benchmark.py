r"""Compare the speed and memory of vHeat with those of other networks.

    python tools/analysis_tools/benchmark.py
    python tools/analysis_tools/benchmark.py --models vheat-t swin-t \
        --modes eval --sizes 1x800x1344 --repeats 9 --memory
    python tools/analysis_tools/benchmark.py --models --configs

All networks run in one process, in turn, several rounds, so that noise hits
all alike. Tables, every measurement and pictures go to ``benchmark.md``,
``benchmark.json`` and, of several sizes, ``speed.png`` and ``memory.png`` in
``--out-dir``.

Backbones need no more than their own library; vHeat's are torch, mmengine
and mmcv-lite. Those whose library is missing are left out. The defaults take
about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from benchmark_compare import add_peers, fit_exponents, get_label
from benchmark_measure import (
    GEMM_SIZE,
    count_flops,
    make_gemms,
    quartiles,
    supports,
    time_interleaved,
)
from benchmark_memory import measure_memory, run_in_child
from benchmark_models import (
    DTYPES,
    Size,
    Step,
    build_network,
    check_name,
    place,
    split_name,
    why_missing,
)
from benchmark_plots import draw_memory, draw_speed
from benchmark_report import (
    describe_machine,
    describe_row,
    describe_versions,
    make_markdown,
)
from benchmark_stream import iterate_stream_sizes, run_stream

from mmvheat.engine import AtomicBackend
from mmvheat.engine.errors import UserError, run_main

MODELS = ('vheat-t', 'swin-t', 'convnext-t', 'resnet-50')
SIZES = ('4x224x224', '1x512x512', '1x768x768', '1x800x1344')
FIXED = Size(1, 800, 1344)
DEFAULT_PEER = 'swin-t'
ROOT = Path(__file__).resolve().parents[2]
DEFAULT_CONFIGS = {
    'mask_rcnn/mask-rcnn_vheat-t_fpn_1x_coco.py': 'mmdet',
    'mask_rcnn/mask-rcnn_swin-t_fpn_1x_coco.py': 'mmdet',
    'upernet/upernet_vheat-t_8xb2-160k_ade20k-512x512.py': 'mmseg',
    'upernet/upernet_swin-t_8xb2-160k_ade20k-512x512.py': 'mmseg',
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Compare the speed and memory of networks.'
    )
    add = parser.add_argument
    add(
        '--models',
        nargs='*',
        default=list(MODELS),
        metavar='NAME',
        help='vheat-*, swin-*, convnext-* (t, s or b), resnet-50, timm:NAME '
        'or a config; NAME+compile compiles it, vheat-*+cp recomputes blocks '
        f'in training (default: {" ".join(MODELS)})',
    )
    add(
        '--configs',
        nargs='*',
        metavar='PATH',
        help='whole detectors and segmentors as well; without paths Mask '
        'R-CNN and UperNet with vHeat-T and Swin-T',
    )
    add(
        '--peer',
        help='what speed is relative to (default: swin-t, if it runs); for '
        'a config the one of the same algorithm with this backbone',
    )
    modes = ('eval', 'train')
    add('--modes', nargs='+', choices=modes, default=list(modes))
    add('--dtypes', nargs='+', choices=DTYPES, default=['fp32', 'bf16'])
    add(
        '--sizes',
        nargs='+',
        type=parse_size,
        default=[parse_size(size) for size in SIZES],
        metavar='BxHxW',
        help=f'batches of images (default: {" ".join(SIZES)})',
    )
    add('--repeats', type=at_least(1), default=5, help='rounds (default: 5)')
    add(
        '--compile',
        action='store_true',
        help='run every network compiled as well (detectors: the backbone)',
    )
    add(
        '--with-cp',
        action='store_true',
        help='train every vHeat with recomputation as well',
    )
    add(
        '--memory',
        action='store_true',
        help='measure peak memory; on a CPU each in a process of its own',
    )
    add(
        '--stream',
        type=at_least(1),
        metavar='N',
        help='evaluate the backbones on N images of different sizes as well',
    )
    add(
        '--channels-last',
        action='store_true',
        help='weights and images in channels last memory format',
    )
    add('--device', choices=('cpu', 'cuda'), help='default: cuda if present')
    add('--threads', type=at_least(1), help='of a CPU (default: as torch)')
    add('--out-dir', type=Path, default=Path('work_dirs/benchmark'))
    return parser.parse_args(argv)


def parse_size(text: str) -> Size:
    """Read a size such as ``4x224x224``."""
    if not re.fullmatch(r'[1-9]\d*x[1-9]\d*x[1-9]\d*', text):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not batch x height x width, e.g. 1x800x1344'
        )
    return Size(*map(int, text.split('x')))


def at_least(minimum: int) -> Callable[[str], int]:
    """Make a reader of whole numbers of at least a minimum."""

    def parse(text: str) -> int:
        if not text.isdigit() or int(text) < minimum:
            raise argparse.ArgumentTypeError(
                f'{text!r} is not a whole number of at least {minimum}'
            )
        return int(text)

    return parse


class Benchmark:
    """A run of the tool, from the names of networks to a report.

    Args:
        args (argparse.Namespace): The command line.

    Raises:
        UserError: Something cannot be built, or the folder not written to.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.device = args.device or (
            'cuda' if torch.cuda.is_available() else 'cpu'
        )
        if args.threads:
            torch.set_num_threads(args.threads)
        self.report = dict(
            command=shlex.join(['python', *sys.argv]),
            machine=describe_machine(self.device),
            versions=describe_versions(),
            device=self.device,
            peer=args.peer or DEFAULT_PEER,
            repeats=args.repeats,
            gemm_size=GEMM_SIZE,
            left_out=[],
            results=[],
            gemm=[],
            exponents=[],
            stream=[],
        )
        self.names = {get_label(n): n for n in self._choose_names()}
        self.networks = {
            label: place(build_network(n), self.device, args.channels_last)
            for label, n in self.names.items()
        }
        self.dtypes = [d for d in args.dtypes if self._supports(d)]
        make_folder(args.out_dir)

    def run(self) -> None:
        """Measure everything; tables are written after each case."""
        args = self.args
        for mode in args.modes:
            for dtype in self.dtypes:
                for size in args.sizes:
                    self._run_case(mode, dtype, size)
                    self._save_tables()
        if args.stream:
            for dtype in self.dtypes:
                self._run_streams(dtype)
            self._save_tables()
        if not self.report['results']:
            raise UserError(
                'No model could be measured; the lines above say why.'
            )
        self._save_pictures()
        print(f'wrote {args.out_dir / "benchmark.md"}', flush=True)

    def _choose_names(self) -> list[str]:
        """Name what can run here, with the variants asked for."""
        args = self.args
        chosen = list(args.models)
        for path, library in DEFAULT_CONFIGS.items():
            if args.configs != []:
                break
            if importlib.util.find_spec(library) is None:
                self._leave_out(f'{path} ({library} is not installed)')
            else:
                chosen.append(str(ROOT / 'configs' / path))
        chosen += args.configs or []
        for name in [*chosen, *([args.peer] if args.peer else [])]:
            check_name(name)
        if args.peer and args.peer not in chosen:
            raise UserError(
                f'The peer {args.peer} is not among the models; add it to '
                '--models.'
            )
        names = []
        for name in dict.fromkeys(chosen):
            reason = why_missing(name)
            if reason:
                self._leave_out(f'{name} ({reason})')
                continue
            names.append(name)
            if args.with_cp and name.startswith('vheat-'):
                names.append(f'{name}+cp')
            if args.compile:
                names.append(f'{name}+compile')
        if not names:
            raise UserError(
                'No model is left to run; name some with --models or '
                '--configs.'
            )
        return list(dict.fromkeys(names))

    def _supports(self, dtype: str) -> bool:
        if supports(DTYPES[dtype], self.device):
            return True
        self._leave_out(f'{dtype} (this CPU has no arithmetic of it)')
        return False

    def _leave_out(self, what: str) -> None:
        self.report['left_out'].append(what)
        print(f'left out: {what}', flush=True)

    def _run_case(self, mode: str, dtype: str, size: Size) -> None:
        """Measure all networks in one mode, dtype and size, in turn."""
        torch._dynamo.reset()  # a program is compiled for each size
        steps = {}
        for label, network in self.networks.items():
            if mode == 'eval' and 'cp' in split_name(self.names[label])[1]:
                continue  # which is the same as without
            step = Step(
                network, mode, DTYPES[dtype], size, self.args.channels_last
            )
            step.prepare()
            try:
                step()
            except RuntimeError as error:
                reason = ' '.join(str(error).split())[:200]
                case = f'{mode} {dtype} {size}'
                self._leave_out(f'{label} in {case} ({reason})')
                continue
            steps[label] = step
        gemms = make_gemms(DTYPES[dtype], self.device)
        for gemm in gemms.values():
            gemm()
        seconds = time_interleaved({**steps, **gemms}, self.args.repeats)
        case = dict(mode=mode, dtype=dtype, size=str(size))
        rates = {
            name: 2 * GEMM_SIZE**3 / quartiles(seconds[name])[1]
            for name in gemms
        }
        self.report['gemm'].append(dict(case, flops_per_s=rates))
        rows = [
            self._make_row(case, size, label, seconds, max(rates.values()))
            for label in steps
        ]
        add_peers(rows, self.report['peer'])
        self.report['results'] += rows
        self.report['exponents'] = fit_exponents(self.report['results'])
        for row in rows:
            print(describe_row(row), flush=True)

    def _make_row(
        self,
        case: dict,
        size: Size,
        label: str,
        seconds: dict[str, list[float]],
        limit: float,
    ) -> dict:
        quarts = quartiles(seconds[label])
        name, mode, dtype = self.names[label], case['mode'], case['dtype']
        flops = count_flops(name, mode, size, self.device)
        floor_ratio = quarts[1] / (2 * flops / limit)
        return dict(
            case,
            model=label,
            batch=size.batch,
            pixels=size.pixels,
            seconds=seconds[label],
            ms=1e3 * quarts[1],
            ms_quartiles=[1e3 * q for q in quarts],
            images_per_s=size.batch / quarts[1],
            flops=flops,
            gemm_share=1 / floor_ratio,
            floor_ratio=floor_ratio,
            peak_memory=self._measure_memory(name, mode, dtype, size),
        )

    def _measure_memory(
        self, name: str, mode: str, dtype: str, size: Size
    ) -> int | None:
        if not self.args.memory:
            return None
        call = (name, mode, dtype, size, self.device, self.args.channels_last)
        if self.device == 'cuda':
            return measure_memory(*call)
        try:
            return run_in_child(measure_memory, *call)
        except MemoryError as error:
            self._leave_out(f'memory of {name} at {size} ({error})')
            return None

    def _run_streams(self, dtype: str) -> None:
        sizes = list(islice(iterate_stream_sizes(), self.args.stream))
        for label, name in self.names.items():
            base, options = split_name(name)
            if base.endswith('.py') or options:
                continue
            run = run_in_child(
                run_stream, name, dtype, sizes, FIXED, self.device
            )
            self.report['stream'].append(run)
            print(
                f'stream {dtype} {label}: {run["ratio"]:.2f} of the time of '
                f'{FIXED}, held {max(run["held"]) / 1e6:.0f} MB at most',
                flush=True,
            )

    def _save_tables(self) -> None:
        text = json.dumps(self.report, indent=1)
        self._save('benchmark.json', text.encode())
        self._save('benchmark.md', make_markdown(self.report).encode())

    def _save_pictures(self) -> None:
        if len({row['pixels'] for row in self.report['results']}) < 2:
            return  # A picture against the size would say nothing.
        self._save('speed.png', draw_speed(self.report))
        if self.args.memory:
            self._save('memory.png', draw_memory(self.report))

    def _save(self, name: str, content: bytes) -> None:
        AtomicBackend().put(content, str(self.args.out_dir / name))


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


def main() -> None:
    """Measure what the command line names."""
    Benchmark(parse_args()).run()


if __name__ == '__main__':
    run_main(main)
