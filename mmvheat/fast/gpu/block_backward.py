"""The way back through a block of fused kernels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvheat.ops import heat_decay

from .params import Pair, pair
from .products import invert, outer, transform

# Whether norms stand behind the branches, the dtype of products, the epsilons
# of the three norms, and whether one kernel runs the second branch.
Settings = tuple[bool, torch.dtype, list[float], bool]


def differentiate(
    grad: Tensor,
    x: Tensor,
    k: Tensor,
    scale1: Tensor | None,
    scale2: Tensor | None,
    rows: Tensor,
    columns: Tensor,
    settings: Settings,
    pairs: list[Pair],
    conv_out: Tensor,
    spectrum: Tensor,
    rest: Tensor,
    z: Tensor,
    mean: Tensor,
    both: Tensor,
    middle: Tensor,
    hidden: Tensor,
    branch2: Tensor | None = None,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Compute the gradients of x, k and the parameters.

    ``middle`` is the sum between the branches, and where norms stand behind
    them the first branch.
    """
    from .kernels import (
        convolution,
        convolve_backward,
        differentiate_mlp_branch,
        mlp,
        norm_backward,
        norm_backward_sum,
    )
    from .kernels.post_norm import norm_add, norm_add_backward

    post_norm, dtype, (eps1, eps, eps2), whole = settings
    norm1, norm2, fc1, fc2, conv, *op = pairs
    if post_norm:
        below, parts2 = norm_add_backward(
            grad, branch2, scale2, norm2[0], eps2
        )
        *dnorm2, dfc2_bias = parts2.sum((1, 2))
    else:
        below = grad.to(dtype)
    if whole:
        dx1, low, normed, dhidden, active, parts2, parts = (
            differentiate_mlp_branch(
                grad, middle, hidden, *norm2, eps2, *fc1, fc2[0], scale1,
                scale2,
            )
        )  # fmt: skip
    else:
        dhidden, active, parts = mlp.gelu_backward(
            below @ fc2[0], None if post_norm else scale2, hidden, fc1[1]
        )
    dfc2 = outer(below, active)
    del active
    if not whole:
        below = dhidden @ fc1[0]
    if post_norm:
        x1, normed = norm_add(
            middle, x, scale1, *norm1, eps1, dtype != x.dtype
        )
        normed = normed if len(normed) else x1
        dx1 = grad + below
    elif not whole:
        dx1, low, normed, parts2 = norm_backward_sum(
            below, middle, grad, *norm2, eps2, scale1, scale2
        )
    if not post_norm:
        *dnorm2, dout_bias, dfc2_bias = parts2.sum((1, 2))
    dfc1 = outer(dhidden, normed), parts.sum((0, 1, 2))
    del dhidden, normed

    if post_norm:
        below, parts1 = norm_add_backward(dx1, middle, scale1, norm1[0], eps1)
        *dnorm1, dout_bias = parts1.sum((1, 2))
    else:
        below = low if len(low) else dx1
    dconv, dk, *dop, dout_weight = _conduct_backward(
        below, None if post_norm else scale1, k, rows, columns, eps, *op,
        conv_out, spectrum, rest, z, mean, both,
    )  # fmt: skip
    below = convolution.convolve_back(dconv, conv[0])
    if post_norm:
        dx, active = dx1 + below, x.to(dtype)
    else:
        dx, active, parts1 = norm_backward(below, x, dx1, *norm1, eps1)
        dnorm1 = parts1.sum((1, 2))
    dweight = convolve_backward(dconv, active).sum(0)
    dconv = dweight[:, :9], dweight[:, 9]
    dparams = [
        *dnorm1, *dconv, *dop, dout_weight, dout_bias, *dnorm2, *dfc1, dfc2,
        dfc2_bias,
    ]  # fmt: skip
    return dx, dk, dparams


def _conduct_backward(
    grad: Tensor,
    scale: Tensor | None,
    k: Tensor,
    rows: Tensor,
    columns: Tensor,
    eps: float,
    linear: Pair,
    out_norm: Pair,
    out_linear: Pair,
    conv_out: Tensor,
    spectrum: Tensor,
    rest: Tensor,
    z: Tensor,
    mean: Tensor,
    both: Tensor,
) -> tuple[Tensor, ...]:
    """Compute the gradients of what was convolved, k and the parameters.

    The bias of the last layer is left out.
    """
    from .kernels import decay, gated_norm_backward

    drest, duz, active, parts = gated_norm_backward(
        grad @ out_linear[0], scale, rest, both, z, *out_norm, eps
    )
    dout_weight = outer(grad, active)
    dspectrum, dk = decay.decay_backward(
        transform(drest, rows, columns), spectrum, k
    )
    del drest, active
    invert(dspectrum, rows, columns, out=duz[..., : z.shape[-1]])
    *dout_norm, dz_sum = parts.sum(2)
    # The lowest frequency is the sum of all cells, but for a factor.
    factor = (dspectrum.shape[1] * dspectrum.shape[2]) ** 0.5
    sums = torch.cat([factor * dspectrum[:, 0, 0].float(), dz_sum], 1)
    # What was convolved is kept without its mean.
    dweight = outer(duz, conv_out).float().addmm_(sums.t(), mean)
    dout_norm = [g.sum(0) for g in dout_norm]
    return duz @ linear[0], dk, dweight, sums.sum(0), *dout_norm, dout_weight


def run_plain(
    x: Tensor,
    k: Tensor,
    scale1: Tensor | None,
    scale2: Tensor | None,
    rows: Tensor,
    columns: Tensor,
    settings: Settings,
    *params: Tensor,
) -> Tensor:
    """Run a block by torch's operators, which know all their gradients."""
    post_norm, dtype, (eps1, eps, eps2), _ = settings
    norm1, norm2, fc1, fc2, conv, linear, out_norm, out_linear = pair(
        params, dtype, together=False
    )

    def normalize(x: Tensor, layer: Pair, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *layer, eps)

    def conduct(x: Tensor) -> Tensor:
        x = x.to(dtype).permute(0, 3, 1, 2)
        weight, bias = (p.to(dtype) for p in conv)
        x = F.conv2d(x, weight, bias, padding=1, groups=len(weight))
        u, z = F.linear(x.permute(0, 2, 3, 1), *linear).chunk(2, dim=-1)
        mean = u.detach().mean((1, 2), keepdim=True)
        spectrum = transform(u - mean, rows, columns)
        spectrum = spectrum * heat_decay(k.relu()).to(dtype)
        u = mean + transform(spectrum, rows.t(), columns.t())
        u = normalize(u, out_norm, eps).to(dtype)
        return F.linear(u * F.silu(z), *out_linear)

    def run_mlp(x: Tensor) -> Tensor:
        return F.linear(F.gelu(F.linear(x.to(dtype), *fc1)), *fc2)

    def add(x: Tensor, branch: Tensor, scale: Tensor | None) -> Tensor:
        return x + (
            branch if scale is None else branch * scale.view(-1, 1, 1, 1)
        )

    if post_norm:
        x = add(x, normalize(conduct(x), norm1, eps1), scale1)
        return add(x, normalize(run_mlp(x), norm2, eps2), scale2)
    x = add(x, conduct(normalize(x, norm1, eps1)), scale1)
    return add(x, run_mlp(normalize(x, norm2, eps2)), scale2)
