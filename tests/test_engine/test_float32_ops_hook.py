"""What follows a head gets float32 under autocast."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmvheat.engine.hooks.float32_ops_hook import keep_ops_in_float32


class Head(nn.Module):
    """A head as mmdet's, recognised by ``predict_by_feat``."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.inner: torch.dtype | None = None

    def forward(self, x: Tensor) -> tuple[list[Tensor], None]:
        """Predict."""
        x = self.fc(x)
        self.inner = x.dtype
        return [x, x.argmax(-1)], None

    def predict_by_feat(self) -> None:
        """Exist."""


class Extractor(nn.Module):
    """A RoI extractor as mmdet's, recognised by ``roi_layers``."""

    roi_layers = ()

    def forward(self, features: tuple, rois: Tensor) -> list[torch.dtype]:
        """Tell what came."""
        return [feature.dtype for feature in features] + [rois.dtype]


def test_heads_compute_in_half_and_give_float32() -> None:
    head = Head()
    keep_ops_in_float32(head)
    with torch.autocast('cpu', torch.bfloat16):
        (scores, labels), nothing = head(torch.ones(2, 4))
    assert head.inner == torch.bfloat16
    assert scores.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert nothing is None


def test_roi_extractors_get_float32() -> None:
    extractor = Extractor()
    keep_ops_in_float32(extractor)
    half = torch.ones(2, dtype=torch.bfloat16)
    assert extractor((half, half), torch.ones(2)) == [torch.float32] * 3


def test_without_autocast_tensors_pass_as_they_are() -> None:
    head = Head()
    expected = head(torch.ones(2, 4))[0][0]
    keep_ops_in_float32(head)
    assert torch.equal(head(torch.ones(2, 4))[0][0], expected)
