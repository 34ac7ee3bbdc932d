"""The commands of tools/deployment, as docs/deployment.md gives them."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/quickstart/vheat-n_12e_digit-crops-64x64.py'
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Where the config finds two images a class, and a checkpoint."""
    from mmvheat.export import build_model

    folder = tmp_path_factory.mktemp('run')
    random = np.random.default_rng(0)
    for number in range(20):
        path = folder / 'data/digit_scenes/classification'
        path = path / f'{"train" if number % 2 else "val"}/{number // 2}'
        path.mkdir(parents=True)
        image = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(path / 'a.png'), image)
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        model, _ = build_model(str(CONFIG), 'none')
    meta = dict(dataset_meta=dict(classes=list('0123456789')))  # as mmengine
    checkpoint = dict(state_dict=model.state_dict(), meta=meta)
    torch.save(checkpoint, folder / 'model.pth')
    return folder


@pytest.fixture
def run(start, folder):
    """Run a tool in the folder; what it printed."""

    def run(tool, *arguments):
        program = ROOT / 'tools/deployment' / tool
        job = start(program, CONFIG, *arguments, cwd=folder).wait(300)
        assert not job.exit_code, job.output
        return job.output

    return run


def test_exported_models_are_tested_beside_pytorch(run, folder):
    for package in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(package)
    for name, option in (('fp32', []), ('int8', ['--int8'])):
        run('export.py', 'model.pth', f'{name}.onnx', *option)
    files, against = ['fp32.onnx', 'int8.onnx'], ['--against', 'model.pth']
    options = ['--threads', '1', '--out', 'figures.json']
    table = run('test_exported.py', *files, *against, *options)
    for line in ('accuracy/top1', 'size (MB)', "latency / PyTorch's"):
        assert line in table
    figures = json.loads((folder / 'figures.json').read_text())
    top1 = {name: found['accuracy/top1'] for name, found in figures.items()}
    assert top1['fp32.onnx'] == top1['PyTorch']
    assert figures['int8.onnx']['size (MB)'] < 3
    assert figures['PyTorch']["latency / PyTorch's"] == 1
    if sys.platform == 'linux':
        memory = {k: v['peak memory (MB)'] for k, v in figures.items()}
        assert 40 < memory['fp32.onnx'] < memory['PyTorch'] / 2


def test_snapshot_holds_the_checkpoint(run, folder):
    from mmvheat.export import load_snapshot

    assert 'config.json' in run('snapshot.py', 'model.pth', 'snapshot')
    expected = torch.load(folder / 'model.pth')['state_dict']
    found = load_snapshot(folder / 'snapshot')
    assert found.dataset_meta['classes'] == list('0123456789')
    for name, value in found.state_dict().items():
        assert torch.equal(value, expected[name])
