"""Photographs that scikit-image and scikit-learn ship, as folders."""

from __future__ import annotations

import shutil
from pathlib import Path

SPLITS = {
    'train': (
        *('skimage/rocket.jpg', 'skimage/motorcycle_left.png'),
        *('skimage/retina.jpg', 'skimage/hubble_deep_field.jpg'),
        *('skimage/ihc.png', 'skimage/brick.png', 'skimage/grass.png'),
        *('skimage/gravel.png', 'skimage/moon.png', 'sklearn/china.jpg'),
    ),
    # To choose settings by.
    'val': ('skimage/chelsea.png', 'skimage/coins.png'),
    'test': (
        *('skimage/astronaut.png', 'skimage/camera.png'),
        *('skimage/coffee.png', 'sklearn/flower.jpg'),
    ),
}
"""Library and file; no photograph, and no scene, is in two splits."""


def make_photographs(root: str | Path) -> bool:
    """Copy the photographs to ``root/{train,val,test}``, all or nothing.

    Returns:
        bool: True if it was made, False if all of it is there.

    Raises:
        ImportError: scikit-image or scikit-learn is missing.
        FileExistsError: ``root`` holds something else, or a part.
    """
    import skimage
    import sklearn

    folders = {
        'skimage': Path(skimage.__file__).parent / 'data',
        'sklearn': Path(sklearn.__file__).parent / 'datasets/images',
    }
    root = Path(root)
    wanted = {
        f'{split}/{Path(name).name}': folders[name.split('/')[0]]
        / Path(name).name
        for split, names in SPLITS.items()
        for name in names
    }
    if root.exists():
        found = {
            path.relative_to(root).as_posix()
            for path in root.rglob('*')
            if path.is_file()
        }
        if found == set(wanted):
            return False
        raise FileExistsError(
            f'{root} exists and is not this set of photographs; choose '
            'another folder or remove it'
        )
    partial = root.with_name(f'.{root.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    for name, source in wanted.items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, partial / name)
    partial.rename(root)
    return True
