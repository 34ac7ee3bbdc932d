"""The installed command runs the tools, and completes what they take."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmvheat import cli, zoo
from mmvheat.completion import options_of, write_completion

ROOT = Path(__file__).parents[2]


@pytest.fixture
def mmvheat(monkeypatch, capsys):
    """Run the command in this process: what it printed, and exited with."""
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setitem(sys.modules, '__main__', sys.modules['__main__'])

    def run(*arguments: str) -> tuple[str, int]:
        monkeypatch.setattr(sys, 'argv', ['mmvheat', *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return captured.out + captured.err, code

    return run


def test_help_lists_all_commands_with_examples(mmvheat):
    printed, code = mmvheat('--help')
    assert code == 0
    for name in (
        *('new', 'train', 'test', 'infer', 'convert', 'heat'),
        *('robustness', 'export', 'zoo'),
    ):
        assert re.search(rf'^  {name} +\w', printed, re.M)
    assert 'examples:' in printed
    assert mmvheat()[0] == printed


@pytest.mark.parametrize(
    'name', ['new', 'convert', 'zoo', 'infer', 'robustness', 'export']
)
def test_help_of_a_command(mmvheat, name):
    printed, code = mmvheat(name, '--help')
    assert code == 0
    assert f'usage: mmvheat {name}' in printed
    assert f'  mmvheat {name} ' in printed.split('examples:')[-1]


def test_unknown_command(mmvheat):
    printed, code = mmvheat('tarin')
    assert code == 2
    assert "'tarin' is no command" in printed


@pytest.mark.parametrize(
    ('tool', 'name'),
    [
        ('train.py', 'train'),
        ('test.py', 'test'),
        ('infer.py', 'infer'),
        ('new_project.py', 'new'),
        ('robustness.py', 'robustness'),
        ('visualization/vis_heat.py', 'heat'),
        ('deployment/export.py', 'export'),
    ],
)
def test_a_tool_is_the_command(mmvheat, monkeypatch, capsys, tool, name):
    expected, _ = mmvheat(name, '--help')
    path = ROOT / 'tools' / tool
    monkeypatch.setattr(sys, 'argv', [str(path), '--help'])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name='__main__')
    assert not stop.value.code
    printed = capsys.readouterr().out
    shown = re.sub(r'\s+', ' ', printed.replace(path.name, f'mmvheat {name}'))
    assert shown == re.sub(r'\s+', ' ', expected)


def test_exit_code_of_a_command(mmvheat):
    printed, code = mmvheat('convert', '--inspect', '--pt_pth', '/no.pth')
    assert code == 1
    assert '/no.pth' in printed


def test_error_of_a_tool_is_one_sentence(mmvheat):
    printed, code = mmvheat('train', '/no.py')
    assert code == 1
    assert 'error: The config /no.py does not exist' in printed
    assert 'Traceback' not in printed


@pytest.mark.parametrize(
    'name',
    [
        *('train', 'test', 'infer', 'new', 'zoo', 'heat', 'robustness'),
        *('convert', 'export'),
    ],
)
def test_options_are_those_of_the_parser(mmvheat, name):
    printed, _ = mmvheat(name, '--help')
    usage = printed.split('examples:')[0].split('options:')[1]
    options = set(re.findall(r'^\s+(?:-\w, )?(--[\w-]+)', usage, re.M))
    assert set(options_of(name)) == options


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        (['tr'], ['train']),
        (['t'], ['train', 'test']),
        (['train', '--a'], ['--amp', '--auto-scale-lr']),
        (['new', '/data', '--mo'], ['--model']),
        (['convert', '--tg'], ['--tg_pth', '--tg_size']),
        (['completion', ''], ['bash', 'zsh']),
        (['train', 'con'], []),  # files, by the shell itself
    ],
)
def test_bash_completes(words, expected):
    script = write_completion('bash')
    listed = ' '.join(f"'{word}'" for word in ['mmvheat', *words])
    script += (
        f'\nCOMP_WORDS=({listed}); COMP_CWORD={len(words)}\n'
        '_mmvheat; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ['bash', '-c', script], capture_output=True, text=True
    )
    assert done.stderr == ''
    assert done.stdout.split() == expected


def test_completion_of_other_shells(mmvheat, monkeypatch):
    assert write_completion('zsh').startswith('autoload -U +X bashcompinit')
    monkeypatch.setenv('SHELL', '/bin/zsh')
    assert write_completion() == write_completion('zsh')
    printed, code = mmvheat('completion', 'fish')
    assert code == 2
    assert "'fish'" in printed


def test_zoo_shows_the_figures_of_the_metafiles(mmvheat):
    printed, _ = mmvheat('zoo', '--task', 'segmentation')
    metafile = yaml.safe_load(
        (ROOT / 'configs/upernet/metafile.yml').read_text()
    )
    listed = 0
    for entry in metafile['Models']:
        for result in entry.get('Results', []):
            (row,) = [r for r in printed.splitlines() if entry['Name'] in r]
            assert f'mIoU {result["Metrics"]["mIoU"]}' in row
            listed += 1
    assert listed
    assert 'mask-rcnn' not in printed
    assert 'box AP' in mmvheat('zoo', '--task', 'detection')[0]
    everything, _ = mmvheat('zoo', '--all')
    assert all(model.config in everything for model in zoo.list_models())
    printed, code = mmvheat('zoo', 'nothing')
    assert code == 1
    assert "No config with 'nothing'" in printed
