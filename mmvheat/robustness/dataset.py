"""Images of a variant of ImageNet, one folder a class."""

from __future__ import annotations

from pathlib import Path

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from mmvheat.datasets.imagenet_variants import folder_classes, synsets
from mmvheat.errors import UserError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')


@DATASETS.register_module()
class ImageNetVariant(BaseDataset):
    """Images ``data_root/FOLDER/NAME`` labelled by ImageNet's 1,000 classes.

    A label is the list of all classes that count as right.

    Args:
        variant (str): See :mod:`mmvheat.datasets.imagenet_variants`.
        data_root (str): The folder.
        **kwargs: Other arguments of :class:`BaseDataset`.

    Raises:
        UserError: Folders of classes are missing.
    """

    def __init__(self, variant: str, data_root: str, **kwargs) -> None:
        self.variant = variant
        metainfo = dict(classes=synsets())
        super().__init__(
            data_root=data_root, metainfo=metainfo, test_mode=True, **kwargs
        )

    def load_data_list(self) -> list[dict]:
        """List paths and labels."""
        root, labels = Path(self.data_root), folder_classes(self.variant)
        if not root.is_dir():
            raise UserError(
                f'The folder {root} does not exist; give the folder with the '
                'images by --data-root.'
            )
        missing = sorted(n for n in labels if not (root / n).is_dir())
        if missing:
            raise UserError(
                f'{root} has {len(labels) - len(missing)} of the '
                f'{len(labels)} class folders of {self.variant!r} (missing: '
                f'{", ".join(missing[:3])}{", ..." * (len(missing) > 3)}); '
                'give the folder that holds them by --data-root.'
            )
        return [
            dict(img_path=str(path), gt_label=list(label))
            for name, label in labels.items()
            for path in sorted((root / name).iterdir())
            if path.suffix.lower() in SUFFIXES
        ]
