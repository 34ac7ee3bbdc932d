"""Triton's kernels for a GPU.

Operators of torch.library, for contiguous channels-last features. In Triton's
interpreter (``TRITON_INTERPRET=1``) they run on a CPU, for tests; on the meta
device they have shapes alone, to be counted.
"""

import torch

from . import center, convolution, decay, gate, mlp, norm, post_norm
from .convolution_backward import convolve_backward
from .norm_backward import norm_backward


def run_all(device: torch.device, dtype: torch.dtype, channels: int) -> None:
    """Run every kernel on an image of one cell.

    Raises:
        Exception: Whatever Triton's compiler raises.
    """

    def make(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    with torch.no_grad():
        x, vector, scale = make(1, 1, 1, channels), make(channels), make(1)
        pair = vector, vector, 1e-5
        norm.norm(x, *pair, dtype)
        norm.add_norm(x, x, scale, vector, *pair, dtype)
        norm_backward(x, x, x, *pair)
        post_norm.norm_add(x, x, scale, *pair, low=True)
        post_norm.norm_add_backward(x, x, scale, vector, 1e-5)
        center.center(x, center.sum_cells(x))
        gate.gated_norm(x, x, x, *pair)
        gate.gated_norm_backward(x, scale, x, x, x, *pair)
        decay.decay(x, x[0])
        decay.decay_backward(x, x, x[0])
        weight = make(channels, 1, 3, 3)
        convolution.convolve(x, weight, vector)
        convolution.convolve(x, weight, None)
        convolve_backward(x, x)
        mlp.linear_gelu(x, make(channels, channels), vector)
        mlp.bias_gelu(x, vector)
        mlp.gelu_backward(x, scale, x, vector)
