"""Digit scenes: a small real data set for detection, segmentation and
classification, made on the spot from what scikit-learn ships.

Handwritten digits are painted on crops of two photographs. The folder reads
like the data sets researchers know::

    digit_scenes/
        train/000000.jpg ...  val/000000.jpg ...        scenes, RGB
        annotations/instances_{train,val}.json          COCO, RLE masks
        label_maps/{train,val}/000000.png ...           ADE style, digit + 1
        classification/{train,val}/{0..9}/*.jpg         ImageNet style, 64x64
        meta.json                                       settings and checksum

Train and val share neither a digit nor a part of a photograph. The same seed
and library versions give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from .digit_files import load_splits, write_crops, write_scenes

NAME = 'digit_scenes'
FORMAT = 1
"""Raise it when a change of the code changes the bytes it makes."""

PACKAGES = ('numpy', 'pillow', 'pycocotools', 'scikit-learn')


def make_digit_scenes(
    root: str | Path,
    *,
    num_train: int = 1000,
    num_val: int = 100,
    size: int = 192,
    variants: int = 2,
    seed: int = 0,
    force: bool = False,
    progress: bool = True,
) -> bool:
    """Make the data set in a folder, all of it or nothing.

    Args:
        root (str | Path): The folder to make.
        num_train (int): Number of train scenes. Defaults to 1000.
        num_val (int): Number of val scenes. Defaults to 100.
        size (int): Height and width of a scene in pixels. Defaults to 192.
        variants (int): Classification crops painted of every train digit;
            a val digit has one. Defaults to 2.
        seed (int): Seed of every random choice. Defaults to 0.
        force (bool): Make the data set anew where ``root`` already holds
            one, of whatever settings. Defaults to False.
        progress (bool): Show a progress bar. Defaults to True.

    Returns:
        bool: True if the data set was made, False if ``root`` already held
        it, complete and undamaged.

    Raises:
        ValueError: If a number is out of range, or if the data set is there
            but damaged.
        ImportError: If scikit-learn or pycocotools is missing.
        FileExistsError: If ``root`` holds digit scenes of other settings, or
            (even with ``force``) something that is no digit scenes.
    """
    root = Path(root).resolve()
    settings = dict(
        num_train=num_train,
        num_val=num_val,
        size=size,
        variants=variants,
        seed=seed,
    )
    _check_settings(settings)
    if _is_there(root, settings, force):
        return False
    root.parent.mkdir(parents=True, exist_ok=True)
    with _folder_beside(root) as beside:
        new, old = Path(beside, 'new'), Path(beside, 'old')
        _write_data_set(new, settings, progress)
        try:
            if root.exists():
                root.rename(old)
            new.rename(root)
        finally:  # what was there comes back, unless it was replaced
            if old.exists() and not root.exists():
                old.rename(root)
    return True


def verify_digit_scenes(root: str | Path) -> dict[str, Any]:
    """Compare a data set with the checksum written when it was made.

    Returns:
        dict: The content of its ``meta.json``.

    Raises:
        FileNotFoundError: If ``root`` holds no digit scenes.
        ValueError: If a file was changed, added or removed since.
    """
    meta = _read_meta(Path(root))
    if _sum_files(Path(root)) != meta['sha256']:
        raise ValueError(
            f"The digit scenes in '{root}' are damaged: their files differ "
            'from the checksum in meta.json. Make them anew with --force.'
        )
    return meta


def check_digit_scenes(
    root: str | Path, progress: bool = True
) -> dict[str, Any]:
    """Verify a data set, and that its settings give the same bytes again.

    It is made a second time beside ``root`` and removed again.

    Returns:
        dict: The content of its ``meta.json``.

    Raises:
        FileNotFoundError: If ``root`` holds no digit scenes.
        ValueError: If the data set is damaged or comes out different.
        ImportError: If scikit-learn or pycocotools is missing.
    """
    root = Path(root).resolve()
    meta = verify_digit_scenes(root)
    with _folder_beside(root) as beside:
        again = _write_data_set(Path(beside), meta['settings'], progress)
    if again['sha256'] != meta['sha256']:
        raise ValueError(
            f"The settings of '{root}' give other bytes now: made with "
            f'{_phrase(meta["versions"])}, today {_phrase(again["versions"])}.'
        )
    return meta


def _check_settings(settings: dict[str, int]) -> None:
    least = dict(num_train=1, num_val=1, size=128, variants=1, seed=0)
    for name, value in settings.items():
        if not isinstance(value, int) or value < least[name]:
            raise ValueError(
                f'{name} must be an integer of at least {least[name]}, '
                f'got {value!r}.'
            )


def _is_there(root: Path, settings: dict[str, int], force: bool) -> bool:
    """Tell whether ``root`` holds what is asked for; raise if it is in use."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        meta = _read_meta(root)
    except FileNotFoundError:
        raise FileExistsError(
            f"'{root}' exists and holds no digit scenes. Choose another "
            'folder or remove it yourself.'
        ) from None
    if force:
        return False
    asked, found = dict(settings, format=FORMAT), meta['settings']
    if asked != dict(found, format=meta['format']):
        raise FileExistsError(
            f"'{root}' holds digit scenes of other settings "
            f'({_phrase(found)}, format {meta["format"]}); asked for '
            f'{_phrase(settings)}, format {FORMAT}. Choose another folder '
            'or replace them with --force.'
        )
    verify_digit_scenes(root)
    return True


def _write_data_set(
    folder: Path, settings: dict[str, int], progress: bool
) -> dict[str, Any]:
    """Write every file into an empty folder and return the meta."""
    train, val = load_splits(settings['seed'])
    plan = [
        (train, settings['num_train'], settings['variants']),
        (val, settings['num_val'], 1),
    ]
    counts = {}
    total = sum(n + len(split.indices) * v for split, n, v in plan)
    with tqdm(
        total=total,
        desc='digit scenes',
        unit='image',
        disable=not progress,
        mininterval=0.5,
    ) as bar:
        for split, num_scenes, variants in plan:
            instances = write_scenes(
                folder, split, num_scenes, settings['size'], bar
            )
            crops = write_crops(folder, split, variants, bar)
            counts[split.name] = dict(
                scenes=num_scenes,
                instances=instances,
                digits=len(split.indices),
                crops=crops,
            )
    meta = dict(
        name=NAME,
        format=FORMAT,
        settings=settings,
        counts=counts,
        versions={name: metadata.version(name) for name in PACKAGES},
        sha256=_sum_files(folder),
    )
    text = json.dumps(meta, indent=2, sort_keys=True) + '\n'
    (folder / 'meta.json').write_text(text)
    return meta


def _read_meta(root: Path) -> dict[str, Any]:
    keys = {'name', 'format', 'settings', 'counts', 'versions', 'sha256'}
    try:
        meta = json.loads((root / 'meta.json').read_text())
        is_ours = keys <= set(meta) and meta['name'] == NAME
    except (OSError, ValueError, TypeError):
        is_ours = False
    if not is_ours:
        raise FileNotFoundError(
            f"'{root}' holds no digit scenes (no meta.json of theirs). Make "
            'them with tools/dataset_converters/digit_scenes.py.'
        )
    return meta


def _sum_files(root: Path) -> str:
    """Return one SHA-256 over the path and content of all files but meta."""
    total = hashlib.sha256()
    files = {
        path.relative_to(root).as_posix(): path
        for path in root.rglob('*')
        if path.is_file()
    }
    files.pop('meta.json', None)
    for name in sorted(files):
        digest = hashlib.sha256(files[name].read_bytes()).hexdigest()
        total.update(f'{digest}  {name}\n'.encode())
    return total.hexdigest()


def _folder_beside(root: Path) -> TemporaryDirectory:
    """Lend a folder on the file system of ``root``."""
    return TemporaryDirectory(prefix=f'.{root.name}.', dir=root.parent)


def _phrase(values: dict[str, Any]) -> str:
    return ', '.join(f'{name} {value}' for name, value in values.items())
