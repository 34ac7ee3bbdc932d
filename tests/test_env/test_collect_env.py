"""The list of versions says what works, and says no when it does not."""

import importlib.util
import platform
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

TOOL = Path(__file__).parents[2] / 'tools/collect_env.py'


@pytest.fixture
def collect_env():
    spec = importlib.util.spec_from_file_location('collect_env', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_list_holds_what_is_installed(collect_env, capsys):
    assert collect_env.main(['--strict']) == 0
    out = capsys.readouterr().out
    assert platform.python_version() in out
    assert f'PyTorch: {torch.__version__}' in out
    for name, distribution in (
        ('MMEngine', 'mmengine'),
        ('mmdet.apis', 'mmdet'),
        ('mmseg.apis', 'mmsegmentation'),
        ('mmpretrain.datasets', 'mmpretrain'),
    ):
        assert f'{name}: {version(distribution)}\n' in out
    assert f'mmcv: {version("mmcv")}, nms works on cpu' in out
    assert '(opencv-python-headless)' in out
    assert out.endswith('\nEverything works.\n')


def test_broken_part_fails_only_when_strict(collect_env, capsys, monkeypatch):
    monkeypatch.setattr(collect_env, 'PARTS', ['no_such_mmdet.apis'])
    assert collect_env.main([]) == 0
    assert collect_env.main(['--strict']) == 1
    *_, row, last = capsys.readouterr().out.splitlines()
    assert row.startswith('no_such_mmdet.apis: DOES NOT WORK, ModuleNotFound')
    assert last == 'Broken: no_such_mmdet.apis'


def test_second_opencv_is_broken(collect_env, monkeypatch):
    two = [
        SimpleNamespace(metadata={'Name': name})
        for name in ('opencv-python', 'opencv-python-headless')
    ]
    monkeypatch.setattr(collect_env, 'distributions', lambda: two)
    with pytest.raises(RuntimeError, match='several OpenCV distributions'):
        collect_env.check_opencv()


def test_wrong_nms_is_broken(collect_env, monkeypatch):
    import mmcv.ops

    boxes = torch.zeros(1, 5), torch.tensor([0, 1, 2])
    monkeypatch.setattr(mmcv.ops, 'nms', lambda *args: boxes)
    with pytest.raises(RuntimeError, match='nms on cpu kept'):
        collect_env.check_mmcv()
