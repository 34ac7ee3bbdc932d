"""openmim finds, downloads, trains and tests what the package holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmvheat.projects.project import Options, create

pytestmark = pytest.mark.slow

# openmim and what it imports that the environment lacks. Its own dependencies
# would replace the environment's setuptools, rich and packaging.
OPENMIM = ['openmim==0.3.9', 'colorama', 'pandas<3', 'pytz', 'tabulate']
OPENMIM += ['requests', 'certifi', 'charset-normalizer', 'idna', 'urllib3']

PUBLISHED = 'mask-rcnn_vheat-t_fpn_1x_coco'
RECIPE = 'dino-4scale_vheat-t_8xb2-12e_coco'
CLASSIFIER = 'vheat-n_12e_digit-crops-64x64'
# What somebody may edit in a project.
SMALLER = """
model['backbone'] = dict(
    arch=dict(
        _delete_=True, embed_dims=8, depths=(1, 1, 1, 1), post_norm=False,
        layer_scale=None,
    )
)
model['head']['in_channels'] = 64
"""


@pytest.fixture(scope='module', params=['wheel', 'editable'])
def mim(request, wheel, tmp_path_factory) -> Callable[..., None]:
    """Runs mim in an environment that has this package installed."""
    folder = tmp_path_factory.mktemp(request.param)
    venv = [sys.executable, '-m', 'venv', '--without-pip', folder]
    subprocess.run(venv, check=True)
    # What is installed in the folder goes before what is behind it.
    (site,) = folder.glob('lib/python*/site-packages')
    behind = sysconfig.get_path('purelib')
    (site / 'zz_behind.pth').write_text(
        f'import site; site.addsitedir({behind!r})\n'
    )
    install = [sys.executable, '-m', 'pip', '--python', folder / 'bin/python']
    install += ['install', '--quiet', '--no-deps', '--retries', '1']
    if subprocess.run([*install, *OPENMIM]).returncode:
        pytest.skip('no package index delivers openmim')
    if request.param == 'wheel':
        install += [wheel.filename]
    else:
        source = Path(wheel.filename).parent / 'source'
        install += ['--no-build-isolation', '--editable', source]
    subprocess.run(install, check=True)
    env = {**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'HOME': str(folder)}
    env.pop('PYTHONPATH', None)

    def run(*args: str | Path) -> None:
        done = subprocess.run(
            [folder / 'bin/mim', *args],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def test_search_tells_metrics_and_weights(mim, tmp_path):
    mim('search', 'mmvheat', '--json', tmp_path / 'models.json')
    found = json.loads((tmp_path / 'models.json').read_text())
    assert found['coco/box_ap'][PUBLISHED] == 45.1
    assert found['weight'][PUBLISHED].endswith('/vHeat_tiny_det.pth')
    assert found['architecture'][PUBLISHED] == 'vheat,mask r-cnn'
    assert found['training_data'][RECIPE] == 'coco'


def test_download_saves_config_and_weights(mim, tmp_path):
    # mim keeps a file that is there, so that this needs no network.
    (tmp_path / 'vHeat_tiny_det.pth').touch()
    names = PUBLISHED, RECIPE
    mim('download', 'mmvheat', '--config', *names, '--dest', tmp_path)
    for name in names:
        saved = Config.fromfile(tmp_path / f'{name}.py')
        assert saved.model.backbone.type == 'vHeat'
    assert len(list(tmp_path.iterdir())) == 3


def test_train_and_test_run_the_tools_of_the_package(mim, tmp_path):
    generator = np.random.default_rng(0)
    for folder in ('train', 'val'):
        for digit in map(str, range(10)):
            picture = generator.integers(0, 256, (64, 64, 3), np.uint8)
            (tmp_path / folder / digit).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / folder / digit / '0.png'), picture)
    # One iteration is no warm-up.
    options = ['--cfg-options', 'train_cfg.max_epochs=1']
    options += ['param_scheduler=None']
    for name in ('train', 'val', 'test'):
        loader = f'{name}_dataloader.'
        options += [f'{loader}dataset.data_root={tmp_path}']
        options += [f'{loader}num_workers=0']
        options += [f'{loader}persistent_workers=False']
    options += ['--work-dir', tmp_path / 'work_dir']
    mim('train', 'mmvheat', f'{CLASSIFIER}.py', *options)
    checkpoint = tmp_path / 'work_dir/epoch_1.pth'
    assert checkpoint.exists()
    options += ['--checkpoint', checkpoint]
    mim('test', 'mmvheat', f'{CLASSIFIER}.py', *options)
    log = max(tmp_path.glob('work_dir/*/*.log')).read_text()
    assert 'accuracy/top1' in log


@pytest.mark.parametrize('mim', ['wheel'], indirect=True)
def test_train_runs_the_config_of_a_project(mim, tmp_path):
    generator = np.random.default_rng(0)
    for name in ('cat', 'dog'):
        (tmp_path / 'data' / name).mkdir(parents=True)
        for index in range(4):
            picture = generator.integers(0, 256, (64, 64, 3), np.uint8)
            path = tmp_path / 'data' / name / f'{index}.png'
            cv2.imwrite(str(path), picture)
    options = Options(str(tmp_path / 'data'), weights='none')
    create(options, str(tmp_path / 'project'))
    config = tmp_path / 'project/vheat-t_data.py'
    with config.open('a') as file:
        file.write(SMALLER)
    mim(
        *('train', 'mmvheat', config, '--work-dir', tmp_path / 'work_dir'),
        *('--cfg-options', 'train_cfg.max_epochs=1', 'param_scheduler=None'),
    )
    assert (tmp_path / 'work_dir/epoch_1.pth').exists()
