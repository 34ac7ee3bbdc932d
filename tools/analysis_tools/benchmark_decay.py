"""Measure what the decays cost in training.

    python tools/analysis_tools/benchmark_decay.py
    python tools/analysis_tools/benchmark_decay.py --size 1x512x512

Forward and backward passes from the frequency value embeddings (FVE) to the
decays of all blocks, as this package computes them and as they are defined:
each block resizes its stage's FVE F by torch's bicubic interpolation and
computes ``pow(exp(-w^2), ReLU(Linear(F)))``. Both run in turn, beside whole
training steps. At evaluation the decays of a size are computed once; what
changing sizes cost is measured by ``benchmark.py --stream``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from benchmark import at_least, parse_size
from benchmark_measure import paired_ratio, quartiles, time_interleaved
from benchmark_models import BACKBONES, DTYPES, Step, build_network
from torch import Tensor

from mmvheat.engine.errors import run_main
from mmvheat.models import vHeat
from mmvheat.models.vheat import HeatStage
from mmvheat.ops import fit_freq_embed, squared_frequencies

OWN, DEFINED, STEP = 'mmvheat', 'as defined', 'training step'


def compute_decays(
    stage: HeatStage, freq_embed: Tensor, size: tuple[int, int]
) -> list[Tensor]:
    """Compute the decays (H, W, C) of a stage's blocks as the package does."""
    freq_embed = fit_freq_embed(freq_embed, size)
    return [block.op.compute_decay(freq_embed) for block in stage.blocks]


def define_decays(
    stage: HeatStage, freq_embed: Tensor, size: tuple[int, int]
) -> list[Tensor]:
    """Compute the same block by block from the definition."""
    decays = []
    for block in stage.blocks:
        fitted = F.interpolate(
            freq_embed.permute(2, 0, 1)[None], size, mode='bicubic'
        )[0].permute(1, 2, 0)
        base = torch.exp(-squared_frequencies(fitted))
        decays.append(base.pow(block.op.to_k(fitted)))
    return decays


def make_pass(
    model: vHeat,
    compute: Callable[..., list[Tensor]],
    image_size: tuple[int, int],
    dtype: torch.dtype,
) -> Callable[[], None]:
    """Make a forward and backward pass of all decays of a model."""
    sizes = [
        tuple(math.ceil(n / 4 / 2**i) for n in image_size)
        for i in range(len(model.layers))
    ]
    enabled = dtype != torch.float32

    def forward() -> list[Tensor]:
        with torch.autocast('cpu', dtype, enabled=enabled):
            return [
                decay
                for stage, freq_embed, size in zip(
                    model.layers, model.freq_embed, sizes
                )
                for decay in compute(stage, freq_embed, size)
            ]

    grads = [torch.randn_like(decay) for decay in forward()]

    def run() -> None:
        torch.autograd.backward(forward(), grads)
        model.zero_grad(set_to_none=True)

    return run


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Measure what the decays cost in training on a CPU.'
    )
    names = [name for name in BACKBONES if name.startswith('vheat-')]
    parser.add_argument('--model', choices=names, default='vheat-t')
    parser.add_argument(
        '--size',
        type=parse_size,
        default=parse_size('1x800x1344'),
        metavar='BxHxW',
    )
    parser.add_argument(
        '--dtypes', nargs='+', choices=DTYPES, default=['fp32', 'bf16']
    )
    parser.add_argument('--repeats', type=at_least(1), default=5)
    return parser.parse_args()


def main() -> None:
    """Print the times in each dtype."""
    args = parse_args()
    model = build_network(args.model)
    for name in args.dtypes:
        dtype = DTYPES[name]
        step = Step(model, 'train', dtype, args.size)
        step.prepare()
        image_size = args.size.height, args.size.width
        actions = {
            OWN: make_pass(model, compute_decays, image_size, dtype),
            DEFINED: make_pass(model, define_decays, image_size, dtype),
            STEP: step,
        }
        for action in actions.values():
            action()
        seconds = time_interleaved(actions, args.repeats)
        low, ratio, high = paired_ratio(seconds[DEFINED], seconds[OWN])
        shares = {
            key: quartiles(seconds[key])[1] / quartiles(seconds[STEP])[1]
            for key in (OWN, DEFINED)
        }
        print(
            f'{args.model} {args.size} {name}: decays take '
            f'{shares[OWN]:.1%} of a training step; as defined '
            f'{ratio:.2f} ({low:.2f} to {high:.2f}) times as long, '
            f'{shares[DEFINED]:.1%} of a step',
            flush=True,
        )


if __name__ == '__main__':
    run_main(main)
