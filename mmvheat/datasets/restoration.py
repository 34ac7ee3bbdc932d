"""Folders of photographs, or of pairs, as a data set."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from . import restoration_transforms  # noqa: F401 (registers them)

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


@DATASETS.register_module()
class RestorationDataset(BaseDataset):
    """Clean photographs of a folder and its sub-folders.

    Transforms such as ``AddGaussianNoise`` degrade them. With a second
    folder, ``data_prefix=dict(img_path='clean', lq_path='degraded')``, each
    has its degraded partner there, in the same sub-folder and of the same
    name but for the extension.

    Args:
        name (str, optional): What the metrics call the data set. Defaults to
            None, the name of the folder.
        data_prefix (dict): Folders below ``data_root``. Defaults to
            ``dict(img_path='')``.
        **kwargs: Those of mmengine's ``BaseDataset``.
    """

    METAINFO = dict(task_name='restoration')

    def __init__(
        self,
        name: str | None = None,
        data_prefix: dict | None = None,
        **kwargs,
    ) -> None:
        self.name = name
        data_prefix = data_prefix or dict(img_path='')
        super().__init__(data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List ``img_path``, ``lq_path`` of pairs, and ``dataset_name``."""
        folders = {key: Path(path) for key, path in self.data_prefix.items()}
        name = self.name or folders['img_path'].resolve().name
        clean = find_images(folders['img_path'])
        data = [
            dict(img_path=str(path), dataset_name=name)
            for path in clean.values()
        ]
        if 'lq_path' in folders:
            degraded = find_images(folders['lq_path'])
            for key, info in zip(clean, data):
                # The check before the run tells of one that is not there.
                expected = folders['lq_path'] / clean[key].name
                info['lq_path'] = str(degraded.get(key, expected))
        return data


def find_images(folder: Path) -> dict[str, Path]:
    """Find the images below a folder, by their paths without extension.

    Links to folders are followed: a training set is often made of several.
    """
    paths = [
        Path(parent, name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(EXTENSIONS)
    ]
    return {
        path.relative_to(folder).with_suffix('').as_posix(): path
        for path in sorted(paths)
    }
