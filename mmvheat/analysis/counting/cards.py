"""Graphics cards by their data sheets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A GPU by its data sheet, dense products.

    Attributes:
        tflops (dict[str, float]): Peak of products in each dtype, TFLOP/s;
            fp32 is that of TF32.
        bandwidth (float): Of the memory, GB/s.
        source (str): Title of the document.
    """

    tflops: dict[str, float]
    bandwidth: float
    source: str


CARDS = {
    'H100': Card(
        dict(fp32=494.7, bf16=989.4, fp16=989.4),
        3352,
        'NVIDIA H100 Tensor Core GPU Architecture (whitepaper), SXM5',
    ),
    'A100': Card(
        dict(fp32=155.9, bf16=311.9, fp16=311.9),
        2039,
        'NVIDIA A100 80GB datasheet, SXM',
    ),
    'RTX 4090': Card(
        dict(fp32=82.6, bf16=165.2, fp16=165.2),
        1008,
        'NVIDIA Ada GPU Architecture (whitepaper), FP32 accumulate',
    ),
}
"""Cards with a roofline."""
