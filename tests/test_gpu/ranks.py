"""What torchrun starts, once a process, for ``test_distributed.py``.

The oracle of every task is one process that has the whole batch. Rank 0
prints the relative errors of all ranks in every task as JSON, in the last
line.
"""

from __future__ import annotations

import copy
import json
import os
import sys

import torch
import torch.distributed as dist
from mmengine.dist import collect_results
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODELS
from torch import Tensor, nn

import mmvheat  # noqa: F401 (registers vHeat)

ARCH = dict(
    embed_dims=8, depths=(1, 2, 1, 1), post_norm=True, layer_scale=1e-2
)


class Network(nn.Module):
    """A vHeat with a convolution, a norm and a loss behind it."""

    def __init__(self, norm: nn.Module, with_cp: bool = False) -> None:
        super().__init__()
        settings = dict(type='vHeat', arch=ARCH, img_size=64, with_cp=with_cp)
        self.backbone = MODELS.build(dict(settings, drop_path_rate=0.0))
        self.conv = nn.Conv2d(64, 16, 1)
        self.norm = norm

    def forward(self, images: Tensor) -> Tensor:
        *maps, last = self.backbone(images)
        maps.append(self.norm(self.conv(last)))
        return sum(x.pow(3).mean() for x in maps)


def compare(device: torch.device, norm: nn.Module, **kwargs) -> dict:
    """Compare the gradients of all ranks with those of the whole batch."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    network = Network(norm, **kwargs).to(device).train()
    alone = copy.deepcopy(network)
    images = torch.randn(2 * ranks, 3, 64, 96).to(device)
    alone(images).backward()
    if isinstance(norm, nn.BatchNorm2d):
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    ids = [device.index] if device.type == 'cuda' else None
    parallel = MMDistributedDataParallel(network, device_ids=ids)
    parallel(images[rank::ranks]).backward()
    errors = {
        name: float((parameter.grad - same.grad).norm() / same.grad.norm())
        for (name, parameter), same in zip(
            network.named_parameters(), alone.parameters()
        )
        # The norm takes away what a bias adds: its gradient is rounding.
        if name != 'conv.bias' or not list(norm.parameters())
    }
    for (name, buffer), same in zip(network.named_buffers(), alone.buffers()):
        errors[name] = float(
            (buffer - same).float().norm() / same.float().norm()
        )
    return errors


def ddp(device: torch.device) -> dict:
    """Plain data parallelism."""
    return compare(device, nn.Identity())


def ddp_recomputed(device: torch.device) -> dict:
    """Data parallelism of recomputed blocks."""
    return compare(device, nn.Identity(), with_cp=True)


def sync_bn(device: torch.device) -> dict:
    """Statistics over all ranks."""
    return compare(device, nn.BatchNorm2d(16))


def gather(device: torch.device) -> dict:
    """Results of all ranks, in the order of the data set, through both ways.

    The last ranks repeat samples, as a sampler that rounds up does.
    """
    rank, ranks = dist.get_rank(), dist.get_world_size()
    size = 3 * ranks + 1
    mine = [i % size for i in range(rank, 4 * ranks, ranks)]
    for way in ('cpu', 'gpu'):
        results = collect_results([{'id': i} for i in mine], size, way)
        if rank == 0:
            assert [result['id'] for result in results] == list(range(size))
    return {}


def main() -> None:
    """Run the tasks named on the command line."""
    device = torch.device('cpu')
    if os.environ['MMVHEAT_TEST_DEVICE'] == 'cuda':
        device = torch.device('cuda', int(os.environ['LOCAL_RANK']))
        torch.cuda.set_device(device)
        torch.backends.cudnn.allow_tf32 = False
    dist.init_process_group('nccl' if device.type == 'cuda' else 'gloo')
    found = {task: globals()[task](device) for task in sys.argv[1:]}
    everyone = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, found)
    if dist.get_rank() == 0:
        print(json.dumps(everyone))
    dist.destroy_process_group()


if __name__ == '__main__':
    main()
