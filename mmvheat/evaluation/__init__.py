"""Metrics that configs name."""

from .image_quality import PSNR, SSIM

__all__ = ['PSNR', 'SSIM']
