"""One evaluation or training step of a network on random images.

Nothing of mmvheat is imported here: ``worker.py`` runs steps of any checkout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

DTYPES = dict.fromkeys(('fp32', 'tf32'), torch.float32)
DTYPES.update(bf16=torch.bfloat16, fp16=torch.float16)


class Size(NamedTuple):
    """Shape of a batch of images."""

    batch: int
    height: int
    width: int

    def __str__(self) -> str:
        return f'{self.batch}x{self.height}x{self.width}'


def is_whole(network: nn.Module) -> bool:
    """Tell detectors, segmentors and classifiers from backbones."""
    return hasattr(network, 'predict')


class Step:
    """An evaluation or a training step on random images.

    Whole models predict, or compute their own loss on random annotations;
    the loss of a backbone is the sum of the mean squares of its outputs.
    Training runs forward and backward without an optimiser; in a batch of one
    image batch norm stays as at evaluation.

    Args:
        network (nn.Module): The network, whose mode and dtype are set.
        mode (str): ``'eval'`` or ``'train'``.
        dtype (str): A key of DTYPES: single precision, its products and
            convolutions in TF32, autocast, or (``-weights``) half precision.
        size (Size): Shape of the images.
        channels_last (bool): Memory format of the images. Defaults to False.
    """

    def __init__(
        self,
        network: nn.Module,
        mode: str,
        dtype: str,
        size: Size,
        channels_last: bool = False,
    ) -> None:
        dtype, _, pure = dtype.partition('-')
        half = DTYPES[dtype] != torch.float32 and not pure
        kept = torch.float32 if half else DTYPES[dtype]
        self.network = network.to(kept)
        network.train(mode == 'train')
        if size.batch == 1:
            for module in network.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        self.device = next(network.parameters()).device
        torch.backends.cuda.matmul.allow_tf32 = dtype == 'tf32'
        torch.backends.cudnn.allow_tf32 = dtype == 'tf32'
        self.autocast = dict(device_type=self.device.type, enabled=half)
        self.autocast['dtype'] = DTYPES[dtype] if half else None
        torch.manual_seed(0)
        images = torch.randn(size.batch, 3, *size[1:])
        if channels_last:
            images = images.to(memory_format=torch.channels_last)
        self.images = images.to(self.device, kept)
        self.samples = None
        if is_whole(network):
            self.samples = _make_samples(network, size, self.device)

    def forward(self) -> object:
        """Compute the outputs, or the loss in training."""
        network, images = self.network, self.images
        with torch.autocast(**self.autocast):
            if self.samples is None:
                outputs = network(images)
                if not network.training:
                    return outputs
                return sum(o.float().square().mean() for o in outputs)
            if network.training:
                losses = network.loss(images, self.samples)
                return network.parse_losses(losses)[0]
            return network.predict(images, self.samples)

    def __call__(self) -> None:
        """Run the step and forget its results."""
        if not self.network.training:
            with torch.no_grad():
                self.forward()
            return
        self.forward().backward()
        self.network.zero_grad(set_to_none=True)


def record(step: Step) -> Callable[[], None]:
    """Record a step as a CUDA graph; replayed, the host launches no kernel.

    Returns:
        Callable: Replays the graph.
    """
    # A graph must not read casts of weights from outside.
    step.autocast['cache_enabled'] = False
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph, training = torch.cuda.CUDAGraph(), step.network.training
    with torch.cuda.graph(graph), torch.set_grad_enabled(training):
        outputs = step.forward()
        if training:
            outputs.backward()
    step.network.zero_grad(set_to_none=True)
    step.graph = graph  # which reads the step's images
    return lambda: step.graph.replay()


def _make_samples(
    network: nn.Module, size: Size, device: torch.device
) -> list:
    """Make a data sample with random annotations for every image."""
    shape = (size.height, size.width)
    if hasattr(network, 'decode_head'):
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        labels = torch.randint(network.num_classes, (1, *shape), device=device)
        samples = [SegDataSample(gt_sem_seg=PixelData(data=labels))]
    elif hasattr(network, 'bbox_head') or hasattr(network, 'roi_head'):
        from mmdet.testing import demo_mm_inputs

        samples = demo_mm_inputs(
            size.batch,
            [(3, *shape)] * size.batch,
            num_items=[8] * size.batch,
            num_classes=2,
            with_mask=True,
            device=device,
        )['data_samples']
    else:
        from mmpretrain.structures import DataSample

        samples = [DataSample().set_gt_label(0).to(device)]
    if len(samples) < size.batch:
        samples = [samples[0].clone() for _ in range(size.batch)]
    keys = ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')
    for sample in samples:
        sample.set_metainfo(dict.fromkeys(keys, shape))
        sample.set_metainfo(dict(scale_factor=(1.0, 1.0)))
    return samples
