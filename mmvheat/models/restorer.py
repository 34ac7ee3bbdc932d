"""The model of a restoration run: a network, its loss, whole or in tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor


@MODELS.register_module()
class ImageRestorer(BaseModel):
    """Restore degraded images.

    Its loss is Charbonnier's, the mean of sqrt(d^2 + eps^2), which SwinIR
    uses for denoising and JPEG artefacts.

    Args:
        network (dict): Config of the network, such as
            ``dict(type='vHeatIR')``: images in 0 to 1 in, restored out.
        tile (int, optional): Images with a longer side are restored in
            square tiles of this side at test time. Heat crosses a whole
            image, so that the result is another one, see
            docs/restoration.md. Defaults to None, never.
        overlap (int): Pixels that neighbouring tiles share; there the mean
            is taken. Defaults to 32.
        self_ensemble (bool): At test time, take the mean over the image
            turned and mirrored in all eight ways: ``--tta``.
            Defaults to False.
        eps (float): Of the loss, at images in 0 to 1. Defaults to 1e-3.
        data_preprocessor (dict, optional): Defaults to mmengine's
            ``ImgDataPreprocessor`` from 0 to 255 to 0 to 1.
        init_cfg (dict, optional): mmengine's initialisation config.

    Raises:
        ValueError: Tiles do not go on.
    """

    def __init__(
        self,
        network: dict,
        tile: int | None = None,
        overlap: int = 32,
        self_ensemble: bool = False,
        eps: float = 1e-3,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if data_preprocessor is None:
            data_preprocessor = dict(
                type='ImgDataPreprocessor', mean=[0.0], std=[255.0]
            )
        super().__init__(data_preprocessor, init_cfg)
        if tile is not None and not 0 <= overlap < tile:
            raise ValueError(
                f'overlap must be at least 0 and below tile, but got '
                f'overlap={overlap} and tile={tile}'
            )
        self.network = MODELS.build(network)
        self.tile, self.overlap, self.eps = tile, overlap, eps
        self.self_ensemble = self_ensemble

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[BaseDataElement] | None = None,
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[BaseDataElement]:
        """Run the network.

        Args:
            inputs (Tensor): Degraded images in 0 to 1, (B, C, H, W).
            data_samples (list[BaseDataElement], optional): Their clean
                images ``gt``, (C, s H, s W) in 0 to 255, for the loss.
            mode (str): 'tensor', 'loss' or 'predict'.

        Returns:
            Tensor | dict | list: Restored images in 0 to 1; the loss; or the
            samples with ``pred``, as ``gt``.

        Raises:
            ValueError: A clean image has another size than its restored one.
        """
        if mode == 'tensor':
            return self.network(inputs)
        if mode == 'loss':
            restored = self.network(inputs)
            for sample in data_samples:
                _check_size(sample, restored[0])
            clean = torch.stack([sample.gt for sample in data_samples]) / 255
            difference = restored.float() - clean
            return dict(loss=(difference**2 + self.eps**2).sqrt().mean())
        if self.self_ensemble:
            restored = self.restore_in_eight_ways(inputs)
        else:
            restored = self.restore(inputs).float()
        restored = restored.clamp(0, 1) * 255
        samples = data_samples or [BaseDataElement() for _ in restored]
        for sample, image in zip(samples, restored):
            if 'gt' in sample:
                _check_size(sample, image)
            sample.set_data(dict(pred=image))
        return samples

    def restore_in_eight_ways(self, inputs: Tensor) -> Tensor:
        """Restore images (B, C, H, W) by a self-ensemble.

        After Timofte et al., *Seven Ways to Improve Example-Based Single
        Image Super Resolution* (CVPR 2016).

        Returns:
            Tensor: Mean over the symmetries of the square, in float32.
        """
        total = 0.0
        for turns in range(4):
            turned = inputs.rot90(turns, (2, 3))
            for axes in ((), (3,)):
                restored = self.restore(turned.flip(axes)).float()
                total += restored.flip(axes).rot90(-turns, (2, 3))
        return total / 8

    def restore(self, inputs: Tensor) -> Tensor:
        """Restore images (B, C, H, W), large ones in tiles."""
        if self.tile is None or max(inputs.shape[2:]) <= self.tile:
            return self.network(inputs)
        scale = self.network.upscale
        height, width = inputs.shape[2:]
        size = (height * scale, width * scale)
        total = inputs.new_zeros(*inputs.shape[:2], *size)
        count = inputs.new_zeros(size)
        for rows in split_side(height, self.tile, self.overlap):
            for columns in split_side(width, self.tile, self.overlap):
                place = (
                    slice(rows.start * scale, rows.stop * scale),
                    slice(columns.start * scale, columns.stop * scale),
                )
                part = self.network(inputs[..., rows, columns])
                total[..., place[0], place[1]] += part
                count[place] += 1
        return total / count


def split_side(length: int, tile: int, overlap: int) -> Iterator[slice]:
    """Cut a side into tiles that overlap; the last one ends with it.

    Args:
        length (int): Pixels of the side.
        tile (int): Pixels of a tile.
        overlap (int): Pixels that two neighbours share at least.

    Yields:
        slice: The pixels of a tile.
    """
    start = 0
    while start + tile < length:
        yield slice(start, start + tile)
        start += tile - overlap
    yield slice(max(0, length - tile), length)


def _check_size(sample: BaseDataElement, image: Tensor | Sequence) -> None:
    if sample.gt.shape != image.shape:
        raise ValueError(
            f'{sample.get("img_path")}: the clean image is '
            f'{tuple(sample.gt.shape)}, the restored one '
            f'{tuple(image.shape)}; images of one batch must have one size '
            '(batch_size=1 for a test), and pairs the sizes of upscale'
        )
