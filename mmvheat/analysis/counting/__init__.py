"""Count what a step costs a GPU: bytes, kernels, FLOPs, saved activations.

Networks run on the meta device, where tensors have shapes and no data, so that
any size takes seconds on any machine. Everything here is counted, nothing
measured. The rules:

- Every operator that is not a view is one kernel, which reads each of its
  inputs once and writes each of its outputs once; a bias is part of its
  product. What a cache saves, or a GPU's own library does beside that, is
  not seen.
- FLOPs are those of matrix products and convolutions, two a multiply-add.
- A kernel takes the longer one of the times that its FLOPs take at the peak
  of the card and its bytes at the bandwidth of its memory (roofline).
- The floor is what products read and write: all else fused into them.
- Saved for the backward pass are the storages that a forward pass hands to
  autograd, parameters and buffers left out.

The meta device has no autocast; :class:`CudaAutocast` casts as CUDA's does.
"""

from .accountant import Count
from .cards import CARDS
from .step import Step, count_step

__all__ = ['CARDS', 'Count', 'Step', 'count_step']
