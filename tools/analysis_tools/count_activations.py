"""Count the memory that training keeps for the backward pass.

    python tools/analysis_tools/count_activations.py
    python tools/analysis_tools/count_activations.py --models vheat-b swin-b

Counted, not measured: the bytes of all activations, parameters left out, that
a forward pass in training saves, in single precision. The networks run on the
meta device, so that any size takes seconds and no memory, on the path of a
GPU.
"""

from __future__ import annotations

import argparse

import torch
from benchmark.cli import parse_size
from benchmark.networks import BACKBONES, build
from benchmark.report import make_table
from torch import Tensor, nn

from mmvheat import fast
from mmvheat.engine.errors import run_main


def count_saved_bytes(network: nn.Module, images: Tensor) -> int:
    """Sum up the activations that a forward pass saves.

    Args:
        network (nn.Module): In training mode.
        images (Tensor): Shape (B, C, H, W).

    Returns:
        int: Bytes of all storages but those of parameters and buffers.
    """
    own = {
        t.untyped_storage()._cdata
        for t in (*network.parameters(), *network.buffers())
    }
    saved = {}

    def note(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in own:
            # Held, lest another one gets its place.
            saved[storage._cdata] = storage
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        outputs = network(images)
    del outputs
    return sum(storage.nbytes() for storage in saved.values())


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Count the activations that training keeps.'
    )
    parser.add_argument(
        '--models',
        nargs='+',
        choices=BACKBONES,
        default=['vheat-t', 'swin-t', 'convnext-t', 'resnet-50'],
        metavar='NAME',
        help=', '.join(BACKBONES),
    )
    parser.add_argument(
        '--size', type=parse_size, default='1x800x1344', metavar='BxHxW'
    )
    return parser.parse_args()


def main() -> None:
    """Print the table."""
    args = parse_args()
    size = args.size
    rows = []
    for name in args.models:
        network = build(name).to('meta')
        network.train()
        shape = (size.batch, 3, size.height, size.width)
        images = torch.zeros(shape, device='meta')
        counts = [count_saved_bytes(network, images)]
        with fast.disabled():
            counts.append(count_saved_bytes(network, images))
        rows.append([name, *(f'{n / 2**30:.2f} GiB' for n in counts)])
    header = [f'{size}, fp32, counted', 'saved', 'MMVHEAT_FAST=0']
    print(make_table(header, rows))


if __name__ == '__main__':
    run_main(main)
