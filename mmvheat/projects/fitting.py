"""Sizes, batch and schedule that suit the data and the machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from statistics import median

import torch

from .records import DataSet

# Activations that a training step saves for backward, float32, GiB a megapixel
# of input: counted (not measured) with saved_tensors_hooks on Mask R-CNN,
# UperNet and the classifier. A step holds more for a while, hence the factor.
_SAVED = dict(
    detection=dict(t=3.2, s=4.9, b=6.3),
    segmentation=dict(t=5.0, s=6.7, b=8.0),
    classification=dict(t=2.1, s=3.8, b=4.3),
)
_SAVED['instances'] = _SAVED['detection']
_BESIDES = 1.5
# Weights of the largest of them, gradients and both moments of AdamW, GiB.
_FIXED = dict(t=1.0, s=1.4, b=2.1)
_EPOCHS = dict(  # how many images are to be seen, fewest and most epochs
    detection=(36_000, 12, 150),
    instances=(36_000, 12, 150),
    segmentation=(80_000, 40, 400),
    classification=(200_000, 30, 150),
)
_LEAST_OBJECT = 32  # pixels a side; smaller ones are enlarged, at most twice


@dataclass
class Fit:
    """What was chosen, and why."""

    # Long and short side in pixels that images are resized to; for
    # classification the crop, twice.
    scale: tuple[int, int]
    batch: int  # images a GPU and step
    epochs: int  # times that every image is seen
    gpus: int  # that train together
    reasons: dict[str, str]  # a sentence for 'scale', 'batch', 'epochs'

    @property
    def images(self) -> int:
        """Images of a step, on all GPUs together."""
        return self.batch * self.gpus

    def steps(self, data: DataSet) -> int:
        """Steps of an epoch."""
        return -(-len(data.of_split('train')) // self.images)


def fit(
    data: DataSet, base_scale: tuple[int, int], size: str, gpus: int = 1
) -> Fit:
    """Choose them.

    Args:
        data (DataSet): The data set, with splits.
        base_scale (tuple[int, int]): Long and short side of the recipe.
        size (str): 't', 's' or 'b', the size of the backbone.
        gpus (int): GPUs that will train together. Defaults to 1.
    """
    train = data.of_split('train')
    reasons = {}
    scale, reasons['scale'] = _fit_scale(data, base_scale)
    batch, reasons['batch'] = _fit_batch(data.task, len(train), scale, size)
    seen, least, most = _EPOCHS[data.task]
    epochs = min(max(-(-seen // len(train)), least), most)
    reasons['epochs'] = (
        f'{len(train)} images, {epochs} times each ({seen} in all is the aim).'
    )
    return Fit(scale, batch, epochs, gpus, reasons)


def _fit_scale(
    data: DataSet, base: tuple[int, int]
) -> tuple[tuple[int, int], str]:
    """Images are made smaller as the recipe says, but not larger.

    Small objects are an exception: an anchor or a stride does not see them.
    """
    width = median(s.size[0] for s in data.samples)
    height = median(s.size[1] for s in data.samples)
    short = min(width, height)
    found = f'The images have {width:.0f}x{height:.0f} pixels (median)'
    factor = 1.0
    things = [t for s in data.samples for t in s.things]
    sides = [(t.box[2] * t.box[3]) ** 0.5 for t in things]
    if sides and median(sides) < _LEAST_OBJECT:
        factor = min(2.0, _LEAST_OBJECT / median(sides))
        found += f', their objects {median(sides):.0f}'
    if data.task == 'classification':
        # A class is seen in fewer pixels than an object's outline.
        factor = 2.0
    wanted = round(short * factor / 32) * 32
    if wanted >= base[1]:
        return base, f'{found}; the recipe has {base[1]}.'
    wanted = max(wanted, 64)
    long = round(wanted * base[0] / base[1] / 32) * 32
    return (long, wanted), f'{found}; the recipe has {base[1]}.'


def _fit_batch(
    task: str, train: int, scale: tuple[int, int], size: str
) -> tuple[int, str]:
    """The largest power of two that memory and the number of images allow."""
    memory, name = _memory()
    pixels = scale[0] * scale[1]
    if task in ('segmentation', 'classification'):
        pixels = scale[1] ** 2  # a square crop
    each = _SAVED[task][size] * _BESIDES * pixels / 1e6
    fits = (memory * 0.9 - _FIXED[size]) / each
    most = 64 if task == 'classification' else 16
    if name == 'CPU':
        most = 16 if task == 'classification' else 2
    # Batch norm of segmentation needs 2; an epoch should have 4 steps.
    most = max(min(fits, most, train // 4), 2 if train > 1 else 1)
    batch = 1 << (int(most).bit_length() - 1)
    return batch, (
        f'{name} with {memory:.0f} GiB; an image takes about {each:.2g} GiB.'
    )


def _memory() -> tuple[float, str]:
    """GiB of the first GPU, or of the machine where there is none."""
    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        return total / 2**30, torch.cuda.get_device_name(0)
    pages = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    return pages / 2**30, 'CPU'
