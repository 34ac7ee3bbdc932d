"""The ablation trains what is not done, and reports what is."""

import json
import runpy
import statistics
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from PIL import Image

from mmvheat.analysis import trials
from mmvheat.errors import UserError

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/analysis_tools/ablate_propagators.py'


class Process:
    """What runs in another process runs in this one."""

    def __init__(self, target, args):
        self.run = lambda: target(*args)

    def start(self):
        try:
            self.run()
        except RuntimeError:
            self.exitcode = 1
        else:
            self.exitcode = 0

    def join(self):
        pass


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """The tool; ``configs`` are those it trains, ``fails`` whether they do."""
    tool = SimpleNamespace(configs=[], fails=False, scores=iter(range(50, 99)))
    functions = runpy.run_path(str(TOOL))

    def build(cfg):
        tool.configs.append(cfg)
        return SimpleNamespace(train=lambda: train(Path(cfg.work_dir)))

    def train(folder):
        if tool.fails:
            raise RuntimeError('out of luck')
        log = folder / '20260101_000000/vis_data/scalars.json'
        log.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            {'loss': 1.0, 'epoch': 1, 'step': 1},
            {'accuracy/top1': next(tool.scores), 'step': 1},
        ]
        log.write_text('\n'.join(map(json.dumps, lines)))

    def run(*args):
        monkeypatch.setattr('sys.argv', ['x', f'--out-dir={tmp_path}', *args])
        monkeypatch.chdir(tmp_path)
        functions['main']()

    scope = functions['main'].__globals__
    monkeypatch.setitem(scope, 'make_digit_scenes', lambda _: None)
    monkeypatch.setitem(scope, 'RUNNERS', SimpleNamespace(build=build))
    context = SimpleNamespace(Process=Process, set_forkserver_preload=print)
    processes = SimpleNamespace(get_context=lambda _: context)
    monkeypatch.setattr(trials, 'multiprocessing', processes)
    monkeypatch.setattr(trials.os, 'dup2', lambda *_: None)
    tool.run, tool.laws = run, functions['LAWS']
    tool.list_options = functions['list_options']
    return tool


def test_every_law_is_trained_with_every_seed_once(tool, tmp_path, capsys):
    tool.run('--laws', 'heat', 'wave', '--seeds', '0', '1', '2')
    assert len(tool.configs) == 6
    seeds = sorted(cfg.randomness.seed for cfg in tool.configs)
    assert seeds == [0, 0, 1, 1, 2, 2]
    tool.run('--laws', 'heat', 'wave')
    assert len(tool.configs) == 6  # all was done
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
    assert result['settings']['options'] == {'model.backbone.k': 1}
    result['settings']['options'] = {}
    done.write_text(json.dumps(result))
    tool.run('--laws', 'k1', '--seeds', '0')
    assert [cfg.model.backbone.k for cfg in tool.configs] == [1, 1]


def test_failed_runs_are_told_and_not_taken(tool, tmp_path):
    tool.fails = True
    with pytest.raises(UserError, match='k5, seed 7, .* exit code 1'):
        tool.run('--laws', 'k5', '--seeds', '7')
    assert not (tmp_path / 'k5_7/result.json').exists()


def test_every_law_is_a_config_that_builds(tool):
    pytest.importorskip('mmpretrain')
    from mmengine.registry import MODELS

    scope = runpy.run_path(str(TOOL))
    cfg = Config.fromfile(ROOT / scope['CONFIG'])
    for name, law in tool.laws.items():
        changed = cfg.copy()
        changed.merge_from_dict(tool.list_options(law))
        backbone = MODELS.build(changed.model.backbone)
        propagator = type(backbone.layers[0][0].op.propagator).__name__
        expected = law.options.get('propagator.type', 'HeatPropagator')
        assert propagator == expected, name
