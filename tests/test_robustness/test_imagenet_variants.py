"""Folders of ImageNet's variants mean the classes that others say."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmvheat.datasets.imagenet_variants import (
    VARIANTS,
    class_indices,
    folder_classes,
    synsets,
)
from mmvheat.errors import UserError
from mmvheat.robustness import ImageNetVariant


def read_timm(name: str) -> list[str]:
    """Read a list that timm ships, without importing timm."""
    (root,) = importlib.util.find_spec('timm').submodule_search_locations
    return (Path(root) / f'data/_info/{name}.txt').read_text().split()


def test_synsets_are_those_of_timm_in_their_order() -> None:
    assert list(synsets()) == read_timm('imagenet_synsets')


@pytest.mark.parametrize('variant', ['a', 'r'])
def test_subsets_are_those_of_timm(variant: str) -> None:
    indices = read_timm(f'imagenet_{variant}_indices')
    names = read_timm(f'imagenet_{variant}_synsets')

    assert list(class_indices(variant)) == [int(i) for i in indices]
    assert folder_classes(variant) == {
        name: (int(i),) for name, i in zip(names, indices)
    }


def test_shape_bias_has_the_classes_of_mmpretrain() -> None:
    (root,) = importlib.util.find_spec('mmpretrain').submodule_search_locations
    path = Path(root) / 'evaluation/metrics/shape_bias_label.py'
    found = re.findall(r'(\w+)_indices = (\[[^]]*\])', path.read_text())

    assert folder_classes('cue-conflict') == {
        name: tuple(ast.literal_eval(text)) for name, text in found
    }


def test_objectnet_has_the_113_classes_of_its_paper() -> None:
    folders = folder_classes('objectnet')

    assert len(folders) == 113
    indices = class_indices('objectnet')
    assert len({*indices}) == len(indices)  # none is right in two folders
    # analog clock and digital clock; the two kinds of bicycle; banana
    assert folders['alarm_clock'] == (409, 530)
    assert folders['bicycle'] == (444, 671)
    assert folders['banana'] == (954,)


def test_v2_names_folders_by_index() -> None:
    assert folder_classes('v2')['207'] == (207,)
    assert class_indices('v2') == class_indices('imagenet')
    assert class_indices('v2') == tuple(range(1000))


def test_an_unknown_variant_is_named() -> None:
    with pytest.raises(ValueError, match="'z', expected one of imagenet"):
        class_indices('z')
    assert all(class_indices(variant) for variant in VARIANTS)


@pytest.fixture
def stimuli(tmp_path: Path) -> Path:
    """Sixteen folders with an image each."""
    for name in folder_classes('cue-conflict'):
        (tmp_path / name).mkdir()
        image = np.zeros((8, 8, 3), np.uint8)
        cv2.imwrite(str(tmp_path / name / 'image.png'), image)
        (tmp_path / name / 'notes.txt').touch()
    return tmp_path


def test_images_are_labelled_by_their_folder(stimuli: Path) -> None:
    dataset = ImageNetVariant('cue-conflict', str(stimuli))

    labels = {
        Path(info['img_path']).parent.name: info['gt_label']
        for info in map(dataset.get_data_info, range(len(dataset)))
    }
    assert len(dataset) == 16
    assert labels['bear'] == [294, 295, 296, 297]
    assert len(dataset.metainfo['classes']) == 1000


def test_missing_folders_are_told(stimuli: Path, tmp_path: Path) -> None:
    for path in (stimuli / 'oven').iterdir():
        path.unlink()
    (stimuli / 'oven').rmdir()

    with pytest.raises(UserError, match=r'15 of the 16 .*missing: oven\)'):
        ImageNetVariant('cue-conflict', str(stimuli))
    with pytest.raises(UserError, match='does not exist'):
        ImageNetVariant('a', str(tmp_path / 'absent'))
