"""The whole documentation, as ``make docs`` checks it."""

import os
import subprocess
import sys
from pathlib import Path

import check_blocks
import pytest

ROOT = Path(__file__).parents[2]
SPHINX = Path(os.environ.get('DOCS', ROOT / '.venv/docs'))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def run(*command):
    path = f'{SPHINX}{os.pathsep}{ROOT}'
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '2'},
        capture_output=True,
        text=True,
    )


def test_commands_options_and_configs_exist(start):
    job = start(ROOT / 'docs/check_blocks.py', cwd=ROOT).wait(600)
    assert job.exit_code == 0, job.output


@pytest.mark.parametrize(
    'code',
    [
        'mmvheat train my_config.py --apm',
        'tools/dist_test.sh CONFIG CHECKPOINT 8 --show-dirs x',
        'python tools/infer.py IMAGE --config CONFIG --weights CHECKPOINT',
    ],
)
def test_options_that_do_not_exist_are_found(code):
    block = check_blocks.Block(ROOT, 1, 'bash', f'{code}\n', '')
    with pytest.raises(ValueError, match='has no option'):
        check_blocks.check_block(block)


def test_keywords_that_do_not_exist_are_found():
    base = 'mmvheat::mask_rcnn/mask-rcnn_vheat-t_fpn_1x_coco.py'
    code = f"_base_ = '{base}'\nmodel = dict(backbone=dict(freeze=2))\n"
    with pytest.raises(TypeError, match='freeze'):
        check_blocks.check_block(
            check_blocks.Block(ROOT, 1, 'python', code, '')
        )


@pytest.mark.skipif(
    not (SPHINX / 'sphinx').exists(), reason='make docs installs Sphinx'
)
def test_site_builds_without_a_warning(tmp_path):
    done = run(
        *('-m', 'sphinx', '-W', '--keep-going', '-q', '-b', 'html'),
        *('docs', tmp_path / 'html'),
    )
    assert done.returncode == 0, done.stderr
    zoo = (tmp_path / 'html/generated/zoo/index.html').read_text()
    assert 'mask-rcnn_vheat-t_fpn_1x_coco' in zoo
    # What the cells of a tutorial print is on its page.
    text = (tmp_path / 'html/tutorials/detection.html').read_text()
    assert 'The project is' in text
