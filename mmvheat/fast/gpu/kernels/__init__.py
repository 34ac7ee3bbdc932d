"""Triton's kernels for a GPU.

Operators of torch.library, for contiguous channels-last features. In Triton's
interpreter (``TRITON_INTERPRET=1``) they run on a CPU, for tests; on the meta
device they have shapes alone, to be counted.
"""

import torch

from . import convolution, decay, gate, means, mlp, norm, norm_sum, post_norm
from .convolution_backward import convolve_backward
from .gate_backward import gated_norm_backward
from .mlp_branch import run_mlp_branch
from .mlp_branch_backward import differentiate_mlp_branch
from .norm_backward import norm_backward, norm_backward_sum


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
        norm.add_norm(x, x, vector, scale, vector, *pair, dtype)
        _, parts = norm_sum.norm_sum(x, *pair, dtype)
        norm.norm_alone_backward(x, x, *pair, gelu=True, channels_first=True)
        norm_backward(x, x, x, *pair)
        norm_backward_sum(x, x, x, *pair, scale, scale)
        post_norm.norm_add(x, x, scale, *pair, low=True)
        post_norm.norm_add_backward(x, x, scale, vector, 1e-5)
        means.sum_cells(x)
        conv, weight = make(channels, 1, 3, 3), make(2 * channels, channels)
        mean, both = means.propagate_means(
            parts, 1, conv, vector, weight, make(2 * channels)
        )
        gate.gated_norm(x, both, x, *pair)
        gated_norm_backward(x, scale, x, both, x, *pair)
        decay.decay(x, x[0])
        decay.decay_backward(x, x, x[0])
        convolution.convolve(x, conv, vector, mean)
        convolution.convolve_back(x, conv)
        convolve_backward(x, x)
        mlp.linear_gelu(x, weight, make(2 * channels))
        mlp.bias_gelu(x, vector)
        mlp.gelu_backward(x, scale, x, vector)


def run_on_trial(
    device: torch.device, dtype: torch.dtype, channels: int
) -> None:
    """Run every kernel that no card has measured, as :func:`run_all`."""

    def make(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    with torch.no_grad():
        x, scale = make(1, 1, 1, channels), make(1)
        vector, hidden = make(channels), make(1, 1, 1, 4 * channels)
        norm = vector, vector, 1e-5
        layer1 = make(4 * channels, channels), make(4 * channels)
        weight2 = make(channels, 4 * channels)
        run_mlp_branch(
            x, x, vector, scale, *norm, *layer1, weight2, vector, scale, True
        )
        differentiate_mlp_branch(
            x, x, hidden, *norm, *layer1, weight2, scale, scale
        )
