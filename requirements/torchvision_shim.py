"""Let a CUDA build of torchvision import beside a CPU build of torch.

The registry's torchvision is built for CUDA. Its compiled operators do not
load beside a torch without CUDA, and then ``import torchvision`` fails with
``operator torchvision::nms does not exist``, although its transforms and
models need none of them. Declaring the two operators is enough.

``make_env.sh`` copies this file into the environment only where that import
fails, with a ``.pth`` file that imports it at interpreter start. It must cost
nothing there: torch is touched when torchvision is first imported. Where the
compiled operators do load, say after another torchvision was installed, it
declares nothing.
"""

import sys

OPERATORS = ('nms', 'qnms')
SCHEMA = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'


class TorchvisionFinder:
    """Declare the operators when torchvision is about to be imported."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        """Find nothing, so that the usual finders go on."""
        if name == 'torchvision':
            sys.meta_path.remove(cls)
            declare_operators()


def declare_operators() -> None:
    """Declare nms and qnms unless torchvision's own operators load."""
    import importlib.util
    from pathlib import Path

    spec = importlib.util.find_spec('torchvision')
    if spec is None or spec.origin is None:
        return

    import torch

    for library in Path(spec.origin).parent.glob('_C*.so'):
        try:
            torch.ops.load_library(library)
            return
        except (ImportError, OSError):
            continue
    for name in OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f'torchvision::{name}', SCHEMA)


sys.meta_path.insert(0, TorchvisionFinder)
