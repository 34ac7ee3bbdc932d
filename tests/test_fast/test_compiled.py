"""What torch.compile records of blocks: kernels on trial, else plain code.

Recorded programs run here in Triton's interpreter, operator by operator.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.autograd import forward_ad

from mmvheat import fast
from mmvheat.models import HeatBlock
from mmvheat.nn import HeatPropagator

pytest.importorskip('triton')


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def programs():
    """Collects the programs that were recorded."""
    return []


@pytest.fixture
def compile_block(programs):
    def note(program, inputs):
        programs.append(program)
        return program.forward

    return lambda block, dynamic=None: torch.compile(
        block, fullgraph=True, backend=note, dynamic=dynamic
    )


def make_block(**kwargs):
    torch.manual_seed(0)
    return HeatBlock(12, **kwargs)


def make_inputs(*size):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, generator=generator).requires_grad_()
        for shape in ((*size, 12), (*size[1:], 12))
    ]


def list_kernels(program):
    targets = [
        str(node.target)
        for module in program.modules()
        for node in getattr(module, 'graph', program.graph).nodes
    ]
    return {name for name in targets if name.startswith('mmvheat.')}


def train(block, compiled, *inputs):
    """Output and gradients of inputs and parameters."""
    torch.manual_seed(1)  # of stochastic depth
    out = compiled(*inputs)
    leaves = [*inputs, *block.parameters()]
    return out, *torch.autograd.grad(out.square().sum(), leaves)


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(drop_path=0.5),
        *(
            pytest.param(kwargs, marks=pytest.mark.slow)
            for kwargs in ({}, dict(post_norm=True))
        ),
    ],
    ids=str,
)
def test_training_with_any_size(compile_block, programs, kwargs):
    block = make_block(**kwargs)
    compiled = compile_block(block, dynamic=True)
    with fast.on_trial():
        for size in ((2, 3, 5), (2, 4, 6)):
            inputs = make_inputs(*size)
            results = train(block, compiled, *inputs)
            expected = train(block, block, *inputs)
            for got, truth in zip(results, expected):
                torch.testing.assert_close(got, truth)
    assert len(programs) == 1
    assert list_kernels(programs[0])


@torch.no_grad()
def test_evaluation_of_any_size(compile_block, programs):
    block = make_block().eval()
    compiled = compile_block(block, dynamic=True)
    with fast.on_trial():
        for size in ((2, 3, 5), (2, 7, 4), (3, 6, 8)):
            inputs = make_inputs(*size)
            torch.testing.assert_close(compiled(*inputs), block(*inputs))
    assert len(programs) == 1
    assert 'mmvheat.run_mlp_branch.default' in list_kernels(programs[0])


@pytest.mark.filterwarnings('ignore:HeatBlock.forward')
@pytest.mark.parametrize('change', ['layer', 'law', 'nothing on trial'])
@torch.no_grad()
def test_plain_code_where_kernels_would_not_do(
    compile_block, programs, change, monkeypatch
):
    block, inputs = make_block().eval(), make_inputs(2, 3, 5)
    context = fast.on_trial
    if change == 'layer':
        block.mlp.fc2.register_forward_hook(lambda *args: 2 * args[-1])
    elif change == 'law':
        law = lambda self, s, k, x: torch.exp(-3 * k * s)  # noqa: E731
        monkeypatch.setattr(HeatPropagator, 'response', law)
    else:
        context = contextlib.nullcontext
    with context():
        got = compile_block(block)(*inputs)
    with fast.disabled():
        expected = block(*inputs)
    torch.testing.assert_close(got, expected)
    assert not list_kernels(programs[0])


@torch.no_grad()
def test_forward_mode_differentiation(compile_block):
    block, (x, freq_embed) = make_block().eval(), make_inputs(2, 3, 5)
    tangents = []
    with fast.on_trial(), forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        for run in (compile_block(block), block):
            out = run(dual, freq_embed)
            tangents.append(forward_ad.unpack_dual(out).tangent)
    torch.testing.assert_close(*tangents)


@torch.no_grad()
def test_what_is_exported_is_plain():
    block, inputs = make_block().eval(), make_inputs(2, 3, 5)
    with fast.on_trial():
        program = torch.export.export(block, tuple(inputs))
    assert not list_kernels(program.graph_module)


@pytest.mark.slow
def test_compilers_get_kernels_that_overwrite_nothing():
    """Behind AOTAutograd, as for a card that need not be here."""
    environment = {**os.environ}
    environment.pop('TRITON_INTERPRET', None)
    script = Path(__file__).with_name('recorded.py')
    run = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    forward, backward = map(int, run.stdout.split())
    assert forward >= 6
    assert backward >= 6
