"""Which of ImageNet's 1,000 classes the folders of its variants hold.

========== ======= ===================================================
variant    folders source
========== ======= ===================================================
imagenet   1,000   Russakovsky et al. 2015; ImageNet-Sketch (Wang et al.
                   2019) and ImageNet-C (Hendrycks and Dietterich 2019)
                   have the same folders
v2         1,000   Recht et al. 2019: folders are named by the index
a          200     Hendrycks et al. 2021, Natural Adversarial Examples
r          200     Hendrycks et al. 2021, The Many Faces of Robustness
objectnet  113     Barbu et al. 2019: of 313 folders those with classes
                   of ImageNet, one or several each
cue-       16      Geirhos et al. 2019; the classes as in the package
conflict           model-vs-human
========== ======= ===================================================
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

VARIANTS = ('imagenet', 'v2', 'a', 'r', 'objectnet', 'cue-conflict')
NUM_CLASSES = 1000


@functools.cache
def _read() -> dict:
    path = Path(__file__).with_name('imagenet_classes.json')
    return json.loads(path.read_text())


def synsets() -> tuple[str, ...]:
    """Return the WordNet ids of the 1,000 classes, in their order."""
    return tuple(_read()['synsets'])


def folder_classes(variant: str) -> dict[str, tuple[int, ...]]:
    """Return the classes that every folder of a variant stands for.

    Returns:
        dict[str, tuple[int]]: From the name of a folder to indices, from 0
        to 999, any of which is a right answer.

    Raises:
        ValueError: The variant is not known.
    """
    if variant not in VARIANTS:
        raise ValueError(
            f'Unknown variant of ImageNet {variant!r}, expected one of '
            f'{", ".join(VARIANTS)}.'
        )
    if variant == 'v2':
        return {str(i): (i,) for i in range(NUM_CLASSES)}
    if variant in ('objectnet', 'cue-conflict'):
        return {k: tuple(v) for k, v in _read()[variant].items()}
    indices = _read().get(variant, range(NUM_CLASSES))
    return {synsets()[i]: (i,) for i in indices}


def class_indices(variant: str) -> tuple[int, ...]:
    """Return the classes that a variant has at all, from 0 to 999, rising."""
    groups = folder_classes(variant).values()
    return tuple(sorted(i for group in groups for i in group))
