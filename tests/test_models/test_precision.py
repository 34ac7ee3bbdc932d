"""Under autocast the residual stream and norms are in single precision."""

import copy

import pytest
import torch

from mmvheat.models import HeatBlock
from mmvheat.models.layers import LayerNorm

IMAGE = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
# Of the gradients of all parameters, relative to those in double precision.
MEDIAN_ERRORS = {torch.bfloat16: 2e-2, torch.float16: 4e-3}


@pytest.fixture(params=MEDIAN_ERRORS, ids=str)
def dtype(request):
    return request.param


@pytest.mark.parametrize('training', [False, True])
def test_stream_and_norms_are_single_precision(build, arch, dtype, training):
    model = build(arch).train(training)
    seen = {HeatBlock: [], LayerNorm: [], torch.nn.Linear: []}
    for module in model.modules():
        if type(module) in seen:
            module.register_forward_hook(
                lambda module, _, out: seen[type(module)].append(out.dtype)
            )
    with torch.autocast('cpu', dtype):
        outputs = model(IMAGE)
    assert {out.dtype for out in outputs} == {torch.float32}
    assert set(seen[HeatBlock]) == set(seen[LayerNorm]) == {torch.float32}
    assert set(seen[torch.nn.Linear]) == {dtype}


def test_gradients_are_near_those_in_double_precision(build, arch, dtype):
    model = build(arch).train()
    exact = copy.deepcopy(model).double()
    with torch.autocast('cpu', dtype):
        outputs = model(IMAGE)
    sum(o.double().pow(3).mean() for o in outputs).backward()
    sum(o.pow(3).mean() for o in exact(IMAGE.double())).backward()
    expected = dict(exact.named_parameters())
    errors = {}
    for name, parameter in model.named_parameters():
        truth = expected[name].grad
        assert parameter.grad.dtype == torch.float32
        errors[name] = (parameter.grad - truth).norm() / truth.norm()
        # The ReLU of a k near zero may fall to the other side.
        if 'to_k' not in name and 'freq_embed' not in name:
            assert errors[name] <= 8 * MEDIAN_ERRORS[dtype], name
    median = torch.stack(list(errors.values())).median()
    assert median <= MEDIAN_ERRORS[dtype]


def test_small_branches_are_not_rounded_away(build):
    """A new layer scale is 1e-5, far below the digits of bfloat16."""
    model = build('post_norm').eval()
    for stage in model.layers:
        for block in stage.blocks:
            block.gamma1.data.fill_(1e-5)
            block.gamma2.data.fill_(1e-5)
    x = torch.randn(1, 9, 9, 8) + 3
    freq_embed = torch.randn(9, 9, 8)
    block = model.layers[0][0]
    with torch.no_grad():
        expected = block.double()(x.double(), freq_embed.double()) - x
        with torch.autocast('cpu', torch.bfloat16):
            change = block.float()(x, freq_embed) - x
    assert (change - expected).norm() <= 0.1 * expected.norm()


def test_deterministic_training_needs_no_interpolation_backward(build):
    """CUDA has no deterministic backward pass of bicubic interpolation."""
    model = build().to('meta')
    outputs = model(IMAGE.to('meta'))
    names, nodes = set(), [o.grad_fn for o in outputs]
    while nodes:
        node = nodes.pop()
        if node is not None and node not in names:
            names.add(node)
            nodes += [parent for parent, _ in node.next_functions]
    kinds = {node.name() for node in names}
    assert not [kind for kind in kinds if 'Upsample' in kind]
    assert any('AccumulateGrad' in kind for kind in kinds)


@pytest.mark.parametrize('state', ['fast', 'plain'], indirect=True)
def test_parameters_gathered_in_half_precision_train(build, arch, state):
    """As FSDP gathers them where it is told to, here all but the FVEs."""
    model = build(arch).train()
    for module in model.modules():
        if isinstance(module, LayerNorm):
            module.bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        outputs = model(IMAGE)
    sum(o.float().mean() for o in outputs).backward()
    assert all(o.dtype == torch.float32 for o in outputs)
    assert all(p.grad.isfinite().all() for p in model.parameters())
