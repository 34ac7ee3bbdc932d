"""The tool that measures what the decays cost."""

import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).parents[2] / 'tools/analysis_tools'
sys.path.insert(0, str(TOOLS))

import benchmark_decay  # noqa: E402
from benchmark_models import build_network  # noqa: E402


def compute(model, function):
    model.zero_grad()
    decays = []
    for i, stage in enumerate(model.layers):
        size = (24 // 2**i, 40 // 2**i)
        decays += function(stage, model.freq_embed[i], size)
    sum(decay.square().sum() for decay in decays).backward()
    grads = {n: p.grad for n, p in model.named_parameters()}
    return decays, {n: g for n, g in grads.items() if g is not None}


def test_both_ways_give_the_same_decays_and_gradients():
    model = build_network('vheat-n')
    with torch.no_grad():
        for freq_embed in model.freq_embed:
            freq_embed.normal_()
    decays, grads = compute(model, benchmark_decay.compute_decays)
    expected, expected_grads = compute(model, benchmark_decay.define_decays)

    assert len(decays) == sum(stage.depth for stage in model.layers)
    torch.testing.assert_close(decays, expected, rtol=1e-5, atol=1e-6)
    assert len(grads) == len(model.layers) + 2 * len(decays)
    torch.testing.assert_close(grads, expected_grads, rtol=1e-3, atol=1e-4)


def test_prints_a_line_for_each_dtype(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    argv = ['x', '--model', 'vheat-n', '--size', '1x64x96', '--repeats', '1']
    monkeypatch.setattr(sys, 'argv', argv)
    benchmark_decay.main()

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(':')[0] for line in lines] == [
        'vheat-n 1x64x96 fp32',
        'vheat-n 1x64x96 bf16',
    ]
    assert all(' of a training step' in line for line in lines)


def test_refuses_no_rounds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(sys, 'argv', ['x', '--repeats', '0'])
    with pytest.raises(SystemExit):
        benchmark_decay.main()
    assert 'at least 1' in capsys.readouterr().err
