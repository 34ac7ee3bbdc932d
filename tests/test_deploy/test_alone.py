"""The runtime needs numpy and onnxruntime, and Pillow for files."""

import json
import os
import shutil
import subprocess
import sys
import venv

import pytest

from mmvheat import deploy

# The copied file, as a command, where what it must not need cannot be had.
BLOCKED = """
import runpy, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {names!r}:
            raise ImportError(name + ' is not to be imported')

sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""
NAMES = (
    *('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmseg'),
    *('mmpretrain', 'mmvheat', 'onnx', 'cv2', 'scipy', 'matplotlib'),
)


def predict(root, folder, *python):
    """Run a copy of the file as in docs/deployment.md; give its results."""
    shutil.copy(deploy.__file__, folder / 'deploy.py')
    environment = {k: v for k, v in os.environ.items() if 'PYTHON' not in k}
    subprocess.run(
        [*python, 'deploy.py', root / 'model.onnx', root / 'images']
        + ['--out', folder / 'out', '--coco', root / 'instances.json'],
        check=True,
        cwd=folder,
        env=environment,
    )
    pictures = sorted((folder / 'out/vis').rglob('*.png'))
    assert len(pictures) == len(list((root / 'vis').rglob('*.png')))
    return json.loads((folder / 'out/results.json').read_text())


def test_copied_file_runs_without_torch_and_openmmlab(predicted, tmp_path):
    root, _ = predicted
    code = BLOCKED.format(names=NAMES)
    found = predict(root, tmp_path, sys.executable, '-c', code)
    assert found == json.loads((root / 'results.json').read_text())


@pytest.mark.slow
def test_bare_environment_runs_it(predicted, tmp_path):
    root, _ = predicted
    venv.create(tmp_path / 'bare', with_pip=True)
    python = tmp_path / 'bare/bin/python'
    installed = subprocess.run(
        [python, '-m', 'pip', 'install', 'numpy', 'onnxruntime', 'pillow'],
        capture_output=True,
        text=True,
    )
    if installed.returncode:
        reason = installed.stderr.strip().splitlines()[-1]
        pytest.skip(f'no index to install from: {reason}')
    names = subprocess.run(
        [python, '-m', 'pip', 'list', '--format=json'],
        capture_output=True,
        check=True,
    )
    names = {entry['name'] for entry in json.loads(names.stdout)}
    assert not names & set(NAMES)
    found = predict(root, tmp_path, python)
    assert found == json.loads((root / 'results.json').read_text())
