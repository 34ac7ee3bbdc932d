"""Times training steps with and without the graphs of CUDAGraphHook.

    PYTHONPATH=. python tests/test_gpu/replayed_steps.py [ROUNDS]

bf16 autocast, channels last, AdamW; the backbone is replayed or not in turn,
ten steps a round. Prints the medians and the middle half in ms a step.
"""

import sys
import time
from pathlib import Path

import torch
from mmengine.registry import MODELS
from torch import nn

from mmvheat.fast.gpu.replay import Replay

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / 'tools/analysis_tools'))

from benchmark.networks import BACKBONES, build  # noqa: E402
from benchmark.step import Size, Step  # noqa: E402

UPERNET = 'configs/upernet/upernet_vheat-t_8xb2-160k_ade20k-512x512.py'


class Classifier(nn.Module):
    """vHeat-T with a linear layer behind its mean."""

    def __init__(self) -> None:
        super().__init__()
        settings = dict(BACKBONES['vheat-t'], img_size=224, out_indices=(3,))
        self.backbone = MODELS.build(settings)
        self.head = nn.Linear(self.backbone.embed_dims[-1], 1000)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Compute scores of 1,000 classes."""
        return [self.head(self.backbone(images)[0].mean((2, 3)))]


def run(step: Step, optimizer: torch.optim.Optimizer, count: int) -> float:
    """Train some steps; milliseconds of one."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        replay = vars(step.network.backbone).get('forward')
        if replay is not None:
            replay.arm()
        step.forward().backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / count * 1e3


def measure(network: nn.Module, size: Size, rounds: int) -> None:
    """Print the times of one network."""
    step = Step(network, 'train', 'bf16', size, channels_last=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)
    run(step, optimizer, 5)
    replay = Replay(
        network.backbone,
        step.images.clone(),
        lambda: torch.autocast(**step.autocast),
    )
    run(step, optimizer, 5)
    times = dict(plain=[], replayed=[])
    for _ in range(rounds):
        del network.backbone.forward
        times['plain'].append(run(step, optimizer, 10))
        network.backbone.forward = replay
        times['replayed'].append(run(step, optimizer, 10))
    for way, values in times.items():
        low, median, high = torch.tensor(values).quantile(
            torch.tensor([0.25, 0.5, 0.75])
        )
        print(
            f'{type(network).__name__} {size}, {way}: {median:.1f} ms '
            f'({low:.1f} to {high:.1f})'
        )


if __name__ == '__main__':
    torch.manual_seed(0)
    rounds = int((sys.argv[1:] or [15])[0])
    upernet = build(str(ROOT / UPERNET), 'cuda', channels_last=True)
    measure(upernet, Size(4, 512, 512), rounds)
    del upernet
    classifier = Classifier().cuda().to(memory_format=torch.channels_last)
    measure(classifier, Size(64, 224, 224), rounds)
