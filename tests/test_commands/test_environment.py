"""Configs made ready for the devices at hand."""

from __future__ import annotations

import zipfile

import pytest
import torch
from mmengine.config import Config, ConfigDict

from mmvheat.checkpoint import CheckpointError, read_file
from mmvheat.commands.environment import (
    choose_start,
    prepare_environment,
    replace_sync_bn,
)


def test_every_sync_bn_is_replaced_and_nothing_else() -> None:
    model = ConfigDict(
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        heads=[
            dict(norm_cfg=dict(type='GN', num_groups=32)),
            dict(type='Head', stages=(dict(norm_cfg=dict(type='SyncBN')),)),
        ],
    )
    assert replace_sync_bn(model) == 2
    assert 'SyncBN' not in str(model)
    assert model.norm_cfg == dict(type='BN', requires_grad=True)
    assert model.heads[0].norm_cfg == dict(type='GN', num_groups=32)


def test_single_process_keeps_its_config() -> None:
    settings = dict(
        model=dict(norm_cfg=dict(type='SyncBN')), test_evaluator=dict(type='x')
    )
    cfg = Config(settings)
    prepare_environment(cfg, 'none')
    # The runner itself reverts SyncBN of a single process.
    assert cfg.to_dict() == dict(settings, launcher='none')


def test_checkpoint_to_resume_is_checked_once(tmp_path, monkeypatch) -> None:
    checked = []
    testzip = zipfile.ZipFile.testzip
    monkeypatch.setattr(
        zipfile.ZipFile,
        'testzip',
        lambda self: checked.append(self.filename) or testzip(self),
    )
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=dict(weight=torch.ones(999))), path)
    cfg = Config(dict(work_dir=str(tmp_path)))
    choose_start(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (True, str(path))
    read_file(path)
    assert checked == [str(path)]

    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match='damaged'):
        read_file(path)


def test_nothing_to_resume_starts_from_the_beginning(tmp_path) -> None:
    cfg = Config(dict(work_dir=str(tmp_path)))
    choose_start(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, None)


def test_named_checkpoint_is_resumed(tmp_path) -> None:
    cfg = Config(dict(work_dir=str(tmp_path)))
    choose_start(cfg, 'a.pth')
    assert (cfg.resume, cfg.load_from) == (True, 'a.pth')
