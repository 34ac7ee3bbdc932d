"""Blocks and norms by Triton's kernels, on NVIDIA cards.

==================  =======================================================
``available``       Where kernels run
``bases``           Matrices that depend on sizes alone, kept
``block``           A block; ``block_backward`` is the way back through it
``norm``            A layer norm, with what stands behind it
``products``        Products of features, in as few calls as they take
``params``          Parameters and gradients in the dtypes that kernels take
``replay``          A module in training, as CUDA graphs
``kernels``         The kernels, one file each
==================  =======================================================
"""
