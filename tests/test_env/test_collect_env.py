"""The table of versions says what works, and says no when it does not."""

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


def read_table(text):
    """Rows of the printed table, ``{name: value}``."""
    lines = text.split('\n\n')[0].splitlines()
    return dict(line.split('  ', 1) for line in lines)


def test_table_holds_what_is_installed(collect_env, capsys):
    assert collect_env.main(['--strict']) == 0
    out = capsys.readouterr().out
    table = {k: v.strip() for k, v in read_table(out).items()}
    assert table['Python'].startswith(platform.python_version())
    assert table['torch'].startswith(torch.__version__)
    for name in ('mmcv', 'mmengine', 'mmdet', 'mmsegmentation', 'mmpretrain'):
        assert table[name].startswith(version(name)), name
    assert 'nms works' in table['mmcv']
    assert table['OpenCV'].endswith('(opencv-python-headless)')
    assert 'GPU' in out.split('\n\n')[-1]


def test_broken_part_fails_only_when_strict(collect_env, capsys, monkeypatch):
    monkeypatch.setattr(collect_env, 'PARTS', [('mmdet', ['no_such_mmdet'])])
    assert collect_env.main([]) == 0
    assert collect_env.main(['--strict']) == 1
    out = capsys.readouterr().out
    assert 'DOES NOT WORK' in out
    assert (
        "Broken: mmdet: ModuleNotFoundError: No module named 'no_such" in out
    )
    assert 'Everything works' not in out


def test_second_opencv_is_broken(collect_env, monkeypatch):
    two = [
        SimpleNamespace(metadata={'Name': name})
        for name in ('opencv-python', 'opencv-python-headless')
    ]
    monkeypatch.setattr(collect_env, 'distributions', lambda: two)
    with pytest.raises(RuntimeError, match='several OpenCV distributions'):
        collect_env.describe_opencv()


def test_wrong_nms_is_broken(collect_env, monkeypatch):
    import mmcv.ops

    boxes = torch.zeros(1, 5), torch.tensor([0, 1, 2])
    monkeypatch.setattr(mmcv.ops, 'nms', lambda *args: boxes)
    with pytest.raises(RuntimeError, match='nms on cpu kept'):
        collect_env.describe_mmcv()
