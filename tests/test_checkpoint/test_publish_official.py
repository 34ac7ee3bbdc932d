"""Export in the official layout, and back."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from mmvheat.checkpoint import read_file, to_mmpretrain

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / 'tools' / 'model_converters' / 'publish_official.py'


@pytest.fixture
def publish(monkeypatch, capsys):
    """Run the command in this process: status and errors."""
    spec = importlib.util.spec_from_file_location('publish', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def publish(*args):
        monkeypatch.setattr(sys, 'argv', [str(SCRIPT), *map(str, args)])
        return module.main(), capsys.readouterr().err

    return publish


@pytest.fixture
def trained(tmp_path, official_weights):
    """A classifier as mmengine saves it."""
    content = {
        'state_dict': to_mmpretrain(official_weights),
        'meta': {'epoch': 3},
        'optimizer': {'state': {}, 'param_groups': []},
    }
    torch.save(content, tmp_path / 'epoch_3.pth')
    return tmp_path / 'epoch_3.pth'


def test_classifier_round_trip_is_bit_equal(
    tmp_path, official_weights, trained, publish
):
    assert publish(trained, tmp_path / 'official.pth') == (0, '')
    content = torch.load(tmp_path / 'official.pth', weights_only=True)
    assert list(content['model']) == list(official_weights)
    for key, value in official_weights.items():
        assert torch.equal(content['model'][key], value)
    back = to_mmpretrain(read_file(tmp_path / 'official.pth')['model'])
    state = read_file(trained)['state_dict']
    assert back.keys() == state.keys()
    assert all(torch.equal(back[k], state[k]) for k in state)


def test_existing_target_is_kept(tmp_path, trained, publish):
    target = tmp_path / 'official.pth'
    target.write_bytes(b'precious')
    status, error = publish(trained, target)
    assert status == 1
    assert error.startswith('publish_official.py: error: ')
    assert error.count('\n') == 1
    assert target.read_bytes() == b'precious'


def test_detector_keeps_its_names(tmp_path, trained, publish):
    state = read_file(trained)['state_dict']
    state = {k: v for k, v in state.items() if not k.startswith('head')}
    state['neck.lateral_convs.0.conv.weight'] = torch.randn(4, 8, 1, 1)
    torch.save({'state_dict': state, 'meta': {}}, trained)
    assert publish(trained, tmp_path / 'f') == (0, '')
    content = torch.load(tmp_path / 'f', weights_only=True)
    assert content['state_dict'].keys() == state.keys()
    assert all(torch.equal(content['state_dict'][k], state[k]) for k in state)
