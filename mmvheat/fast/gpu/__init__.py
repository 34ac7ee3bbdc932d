"""Blocks and norms by Triton's kernels, on NVIDIA cards.

==================  =======================================================
``available``       Where kernels run
``block``           A block; ``block_backward`` is the way back through it
``norm``            A layer norm, with what stands behind it
``params``          Parameters and gradients in the dtypes that kernels take
``kernels``         The kernels, one file each
==================  =======================================================
"""
