"""The command line of the converter."""

import errno
import hashlib
import os
import runpy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmvheat import __version__
from mmvheat.checkpoint.command import main

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / 'interpolate4downstream.py'
SOURCE = ROOT / 'tests' / 'data' / 'pre_norm_64.pth'


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command in this process: status, output, errors."""

    def run(*args):
        argv = [str(SCRIPT), *map(str, args)]
        monkeypatch.setattr(sys, 'argv', argv)
        try:
            status = main()
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def convert_args(target, source=SOURCE, size=(128,)):
    return '--pt_pth', source, '--tg_pth', target, '--tg_size', *size


def load(path):
    return torch.load(path, weights_only=True)


def test_official_flags_give_the_official_file(tmp_path, official, run):
    path, expected = official
    target = tmp_path / 'f.pth'
    status, out, _ = run(
        '--pt_pth', path, '--pt_size', 64, '--tg_pth', target, '--tg_size', 128
    )
    assert status == 0
    weights = load(target)['state_dict']
    for i, wanted in enumerate(expected['padded_freq_embed']):
        assert torch.equal(weights[f'freq_embed.{i}'], wanted)
    official = load_model(path)
    others = [k for k in official if not k.startswith(('freq', 'classifier'))]
    assert len(weights) == len(others) + 4
    assert all(torch.equal(weights[k], official[k]) for k in others)
    assert f"init_cfg=dict(type='Pretrained', checkpoint='{target}')" in out


def load_model(path):
    from mmvheat.checkpoint import read_file

    return read_file(path)['model']


def test_meta_says_where_the_file_comes_from(tmp_path, run):
    run(*convert_args(tmp_path / 'f', size=(96, 160)), '--method', 'bicubic')
    assert load(tmp_path / 'f')['meta'] == dict(
        source='pre_norm_64.pth',
        source_sha256=hashlib.sha256(SOURCE.read_bytes()).hexdigest(),
        source_size=[64, 64],
        target_size=[96, 160],
        method='bicubic',
        task='det',
        averaged=False,
        mmvheat_version=__version__,
    )
    weights = load(tmp_path / 'f')['state_dict']
    assert weights['freq_embed.1'].shape == (12, 20, 16)


def test_task_cls_keeps_the_head_for_mmpretrain(tmp_path, run):
    status, out, _ = run(*convert_args(tmp_path / 'f'), '--task', 'cls')
    weights = load(tmp_path / 'f')['state_dict']
    source = load_model(SOURCE)
    pairs = {
        'backbone.outnorm3.weight': 'classifier.0.weight',
        'backbone.outnorm3.bias': 'classifier.0.bias',
        'head.fc.weight': 'classifier.3.weight',
        'head.fc.bias': 'classifier.3.bias',
    }
    assert status == 0
    assert len(weights) == len(source)
    assert all(torch.equal(weights[a], source[b]) for a, b in pairs.items())
    assert f"load_from = '{tmp_path / 'f'}'" in out


def test_ema_takes_the_averaged_weights(tmp_path, official_weights, run):
    averaged = {k: v + 1 for k, v in official_weights.items()}
    content = {'model': official_weights, 'model_ema': averaged}
    torch.save(content, tmp_path / 'source')
    run(*convert_args(tmp_path / 'f', tmp_path / 'source'), '--ema')
    content = load(tmp_path / 'f')
    name = 'patch_embed.conv1.bias'
    assert torch.equal(content['state_dict'][name], averaged[name])
    assert content['meta']['averaged'] is True


def test_views_of_a_large_storage_stay_small(tmp_path, official_weights, run):
    weights = dict(official_weights)
    large = torch.zeros(500_000)
    large[:4] = weights['patch_embed.conv1.bias']
    weights['patch_embed.conv1.bias'] = large[:4]
    torch.save(weights, tmp_path / 'source')
    run(*convert_args(tmp_path / 'f', tmp_path / 'source'))
    assert (tmp_path / 'f').stat().st_size < 1_000_000


def test_several_files_go_into_a_folder(tmp_path, run):
    status, out, err = run(
        *convert_args(tmp_path / 'out', ROOT / 'tests/data/*_64.pth')
    )
    assert status == 0
    names = {'pre_norm_64.pth', 'post_norm_layer_scale_64.pth'}
    assert {path.name for path in (tmp_path / 'out').iterdir()} == names
    assert '2/2' in err


def test_names_that_look_like_patterns_and_safetensors(tmp_path, run):
    for name in ('w[1].pth', 'w1.pth'):
        (tmp_path / name).write_bytes(SOURCE.read_bytes())
    source = tmp_path / 'w[1].pth'
    assert str(source) in run('--pt_pth', source, '--inspect')[1]
    save_file(load_model(SOURCE), tmp_path / 'w.safetensors')
    (tmp_path / 'out').mkdir()
    args = convert_args(tmp_path / 'out', tmp_path / 'w.safetensors')
    assert run(*args)[0] == 0
    assert load(tmp_path / 'out/w.pth')['state_dict']
    (tmp_path / 'w.pth').write_bytes(SOURCE.read_bytes())
    status, _, err = run(
        *('--pt_pth', tmp_path / 'w.pth', tmp_path / 'w.safetensors'),
        *('--tg_pth', tmp_path / 'both', '--tg_size', 128),
    )
    assert status == 2 and 'same name' in err


def test_one_bad_file_does_not_stop_the_others(tmp_path, run):
    (tmp_path / 'bad').write_bytes(b'')
    status, _, err = run(
        '--pt_pth',
        tmp_path / 'bad',
        SOURCE,
        '--tg_pth',
        tmp_path / 'out',
        '--tg_size',
        128,
    )
    assert status == 1
    assert f'{tmp_path / "bad"} is empty' in err
    assert [p.name for p in (tmp_path / 'out').iterdir()] == [SOURCE.name]


def test_equal_names_would_replace_each_other(tmp_path, run):
    (tmp_path / SOURCE.name).write_bytes(SOURCE.read_bytes())
    status, _, err = run(
        '--pt_pth',
        tmp_path / SOURCE.name,
        SOURCE,
        '--tg_pth',
        tmp_path / 'out',
        '--tg_size',
        128,
        '--force',
    )
    assert status == 2
    assert 'same name' in err
    assert not (tmp_path / 'out').exists()


def test_inspect_prints_a_table(tmp_path, run):
    status, out, _ = run('--pt_pth', SOURCE, '--inspect')
    assert status == 0
    rows = dict(line.split(None, 1) for line in out.strip().splitlines())
    assert rows['layout'] == 'model'
    assert rows['img_size'] == '64x64'
    assert rows['task'] == 'cls, 10 classes'
    assert rows['epoch'] == '299'
    assert rows['accuracy'] == '82.20 %'
    assert 'ImageClassifier' in out
    source = load_model(SOURCE)
    backbone = sum(
        v.numel() for k, v in source.items() if 'classifier' not in k
    )
    assert rows['parameters'].startswith(f'{backbone / 1e6:.2f} M backbone')


@pytest.mark.parametrize(
    'args, words',
    [
        (('--tg_siz', '128'), 'unrecognized arguments'),
        (('--resume',), 'unrecognized arguments'),
        (('--tg_size', '31'), 'at least 32'),
        (('--tg_size', '-64'), "got '-64'"),
        (('--tg_size', '64.5'), "got '64.5'"),
        (('--tg_size', '64', '64', '64'), 'one side or H W'),
        (('--method', 'nearest'), 'invalid choice'),
        (('--inspect',), 'leave out --tg_'),
        (('--tg_pth', 'f.safetensors'), 'name it .pth'),
    ],
)
def test_usage_errors_exit_with_2(tmp_path, run, args, words):
    status, _, err = run(*convert_args(tmp_path / 'f'), *args)
    assert status == 2
    assert words in err.splitlines()[-1]
    assert not (tmp_path / 'f').exists()


def test_missing_target_is_a_usage_error(run):
    status, _, err = run('--pt_pth', SOURCE)
    assert status == 2
    assert '--tg_pth and --tg_size are required' in err


@pytest.mark.parametrize('given', ((224,), (64, 128)))
def test_pt_size_is_checked(tmp_path, run, given):
    status, _, err = run(*convert_args(tmp_path / 'f'), '--pt_size', *given)
    assert status == 1
    assert 'has the FVE grids of 64x64, not of --pt_size' in err
    assert not (tmp_path / 'f').exists()


def test_rectangular_source_where_a_square_is_given(tmp_path, run):
    run(*convert_args(tmp_path / 'wide', size=(64, 128)))
    args = convert_args(tmp_path / 'f', tmp_path / 'wide', (96,))
    status, _, err = run(*args, '--pt_size', 64)
    assert status == 1
    assert '64x128, not of --pt_size 64x64' in err
    assert run(*args, '--pt_size', 64, 128)[0] == 0


def test_existing_target_needs_force(tmp_path, run):
    target = tmp_path / 'f'
    target.write_bytes(b'precious')
    status, _, err = run(*convert_args(target))
    assert status == 1
    assert 'exists' in err
    assert '--force' in err
    assert target.read_bytes() == b'precious'
    assert run(*convert_args(target), '--force')[0] == 0
    assert 'state_dict' in load(target)


@pytest.mark.parametrize('link', (os.symlink, os.link, None))
def test_source_is_never_the_target(tmp_path, run, link):
    source = tmp_path / 'source'
    source.write_bytes(SOURCE.read_bytes())
    target = source
    if link:
        target = tmp_path / 'target'
        link(source, target)
    status, _, err = run(*convert_args(target, source), '--force')
    assert status == 1
    assert 'is the source itself' in err
    assert source.read_bytes() == SOURCE.read_bytes()


def test_missing_folder_and_missing_source(tmp_path, run):
    status, _, err = run(*convert_args(tmp_path / 'no' / 'f'))
    assert status == 1
    assert 'does not exist: create it first' in err
    status, _, err = run(*convert_args(tmp_path / 'f', tmp_path / 'none'))
    assert status == 1
    assert 'none does not exist' in err


@pytest.mark.parametrize(
    'where, call', [(Path, 'write_bytes'), (os, 'fsync'), (os, 'replace')]
)
def test_full_disk_leaves_the_target_alone(
    tmp_path, run, monkeypatch, where, call
):
    target = tmp_path / 'f'
    target.write_bytes(b'precious')

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(where, call, fail)
    status, _, err = run(*convert_args(target), '--force')
    assert status == 1
    assert f'cannot write {target}: No space left on device' in err
    assert target.read_bytes() == b'precious'
    assert list(tmp_path.iterdir()) == [target]


def test_nan_is_named_in_a_warning(tmp_path, official_weights, run):
    weights = dict(official_weights)
    weights['freq_embed.1'] = weights['freq_embed.1'] * float('nan')
    torch.save(weights, tmp_path / 'source')
    status, _, err = run(*convert_args(tmp_path / 'f', tmp_path / 'source'))
    assert status == 0
    assert 'warning: ' in err
    assert 'NaN or infinity in freq_embed.1' in err


def test_bad_file_ends_without_a_traceback(tmp_path, monkeypatch, capsys):
    """The file at the root of the repository runs the same command."""
    (tmp_path / 'page.pth').write_text('<!DOCTYPE html><html></html>')
    args = convert_args(tmp_path / 'f', tmp_path / 'page.pth')
    monkeypatch.setattr(sys, 'argv', [str(SCRIPT), *map(str, args)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPT), run_name='__main__')
    assert end.value.code == 1
    assert capsys.readouterr().err == (
        f'interpolate4downstream.py: error: {tmp_path}/page.pth is a web '
        'page, not a checkpoint: download the file itself, not the page that '
        'shows it\n'
    )
    assert not (tmp_path / 'f').exists()


def test_help_says_what_to_do_with_the_result(run):
    status, out, _ = run('--help')
    assert status == 0
    assert "init_cfg=dict(type='Pretrained'" in out
