"""Who starts a config starts the same run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ITERATIONS = 20


def upstream_tool(library: str) -> str:
    """The train.py in the wheel of a library, which ``mim train`` runs."""
    origin = importlib.util.find_spec(library).origin
    return str(Path(origin).parent / '.mim/tools/train.py')


@pytest.mark.parametrize(
    ('name', 'library', 'options'),
    [
        ('classifier', 'mmpretrain', ['train_cfg.max_epochs=5']),
        ('mask_rcnn', 'mmdet', ['train_cfg.max_epochs=5']),
        ('upernet', 'mmseg', [f'train_cfg.max_iters={ITERATIONS}']),
    ],
)
def test_upstream_tools_give_the_same_losses(
    run_tool, configs, tmp_path, name, library, options
) -> None:
    # 8 images in batches of 2 make 4 iterations an epoch.
    arguments = [configs / f'{name}.py', '--cfg-options', *options]
    arguments.append('model.backbone.drop_path_rate=0.2')
    ours = run_tool('train.py', *arguments)
    theirs = run_tool(
        upstream_tool(library),
        arguments[0],
        *('--work-dir', tmp_path / 'work_dir', *arguments[1:]),
        work_dir=tmp_path / 'work_dir',
    )
    for job in (ours, theirs):
        assert job.exit_code == 0, job.output
        assert 'Run summary' in job.output
        assert (job.work_dir / 'learning_curves.png').is_file()
    losses = ours.scalars('loss')
    assert len(losses) == ITERATIONS
    assert theirs.scalars('loss') == losses
