"""The index of models is valid for OpenMMLab's tools and complete."""

from __future__ import annotations

from pathlib import Path

import modelindex
import pytest
import yaml
from tiny_config import ALL_CONFIGS, ROOT

METAFILES = sorted(ROOT.glob('configs/*/metafile.yml'))
MODELS = [
    pytest.param(model, path.parent, id=model['Name'])
    for path in METAFILES
    for model in yaml.safe_load(path.read_text())['Models']
]


def test_model_index_loads_without_a_complaint() -> None:
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()

    assert index.check(silent=True) in (None, [], '')
    assert len(index.models) == len(MODELS)
    collections = {collection.name for collection in index.collections}
    assert {model.in_collection for model in index.models} <= collections


def test_every_config_is_listed_once() -> None:
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert index['Import'] == [
        path.relative_to(ROOT).as_posix() for path in METAFILES
    ]
    listed = [ROOT / parameter.values[0]['Config'] for parameter in MODELS]
    assert sorted(listed) == ALL_CONFIGS


@pytest.mark.parametrize(('model', 'folder'), MODELS)
def test_entry_fits_its_config(model: dict, folder: Path) -> None:
    config = ROOT / model['Config']

    assert config.parent == folder
    assert config.stem == model['Name']
    assert '.' not in config.stem  # mmengine cuts names at the first dot
    if 'Weights' in model:
        assert model['Weights'].startswith('https://')
        assert model['Weights'].endswith('.pth')
        assert 'Results' in model
