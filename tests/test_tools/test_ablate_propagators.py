"""The ablation trains what is not done, and reports what is."""

import json
import runpy
import statistics
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from PIL import Image

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/analysis_tools/ablate_propagators.py'


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """The tool; ``commands`` are those it ran, ``code`` what they return."""
    tool = SimpleNamespace(commands=[], code=0, accuracies=iter(range(50, 99)))
    functions = runpy.run_path(str(TOOL))

    def run_in_child(command, log):
        tool.commands.append(command)
        assert f'--work-dir={log.parent}' in command
        log = log.parent / '20260101_000000/vis_data/scalars.json'
        log.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            {'loss': 1.0, 'epoch': 1, 'step': 1},
            {'accuracy/top1': next(tool.accuracies), 'step': 1},
        ]
        log.write_text('\n'.join(map(json.dumps, lines)))
        return tool.code

    def run(*args):
        monkeypatch.setattr('sys.argv', ['x', f'--out-dir={tmp_path}', *args])
        functions['main']()

    scope = functions['main'].__globals__
    monkeypatch.setitem(scope, 'make_data', lambda: None)
    monkeypatch.setitem(scope, 'run_in_child', run_in_child)
    tool.run, tool.laws = run, functions['LAWS']
    tool.UserError = functions['UserError']
    tool.list_options = functions['list_options']
    return tool


def test_every_law_is_trained_with_every_seed_once(tool, tmp_path, capsys):
    tool.run('--laws', 'heat', 'wave', '--seeds', '0', '1', '2')
    assert len(tool.commands) == 6
    seeds = sorted(c[3] for c in tool.commands)
    assert seeds == sorted(2 * [f'--seed={i}' for i in range(3)])
    tool.run('--laws', 'heat', 'wave')
    assert len(tool.commands) == 6  # all was done
    table = (tmp_path / 'ablation.md').read_text()
    assert table in capsys.readouterr().out + '\n'
    _, _, heat, wave = table.splitlines()
    scores = [50, 52, 54]
    assert [c.strip() for c in heat.strip('|').split('|')][1:] == [
        f'{statistics.mean(scores):.1f}',
        f'{statistics.stdev(scores):.1f}',
        '50.0',
        '54.0',
        '3',
    ]
    assert 'damped wave' in wave
    picture = Image.open(tmp_path / 'ablation.png')
    assert picture.width > 600


def test_runs_of_other_settings_are_repeated(tool, tmp_path):
    tool.run('--laws', 'k1', '--seeds', '0')
    done = tmp_path / 'k1_0/result.json'
    result = json.loads(done.read_text())
    assert result['options'] == ['model.backbone.k=1']
    done.write_text(json.dumps({**result, 'options': ['else']}))
    tool.run('--laws', 'k1', '--seeds', '0')
    assert len(tool.commands) == 2
    assert tool.commands[1][-1] == 'model.backbone.k=1'


def test_failed_runs_are_told_and_not_taken(tool, tmp_path):
    tool.code = 1
    with pytest.raises(tool.UserError, match='k5, seed 7, .* exit code 1'):
        tool.run('--laws', 'k5', '--seeds', '7')
    assert not (tmp_path / 'k5_7/result.json').exists()


def test_every_law_is_a_config_that_builds(tool):
    pytest.importorskip('mmpretrain')
    from mmengine.registry import MODELS

    scope = runpy.run_path(str(TOOL))
    cfg = Config.fromfile(ROOT / scope['CONFIG'])
    for name, law in tool.laws.items():
        options = dict(o.split('=') for o in tool.list_options(law))
        changed = cfg.copy()
        changed.merge_from_dict(
            {k: int(v) if v.isdigit() else v for k, v in options.items()}
        )
        backbone = MODELS.build(changed.model.backbone)
        propagator = type(backbone.layers[0][0].op.propagator).__name__
        expected = law.options.get('type', 'HeatPropagator')
        assert propagator == expected, name
