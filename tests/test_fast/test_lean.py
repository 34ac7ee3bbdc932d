"""Lean functions against the same functions with torch's own autograd."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmvheat.fast import lean
from mmvheat.fast.lean import run_lean
from mmvheat.models.layers import ChannelsLastConv2d

LAYERS = {
    'none': lambda: None,
    'linear': lambda: nn.Linear(6, 5),
    'without bias': lambda: nn.Linear(6, 5, bias=False),
    'pointwise': lambda: ChannelsLastConv2d(6, 5, 1),
    'depthwise': lambda: ChannelsLastConv2d(6, 6, 3, padding=1, groups=6),
    'strided': lambda: ChannelsLastConv2d(6, 5, 3, 2, 1, bias=False),
}


def function(x, y, weight):
    """Depends on every input in a way of its own."""
    return F.layer_norm(x, (6,), weight) * torch.tanh(y) + y.square()


@pytest.fixture(params=LAYERS)
def layer(request):
    torch.manual_seed(0)
    layer = LAYERS[request.param]()
    return layer if layer is None else layer.double()


def make_leaves(layer, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 5, 7, 6), (2, 1, 1, 6), (6,)]
    leaves = [torch.randn(s, generator=generator).to(dtype) for s in shapes]
    parameters = [] if layer is None else list(layer.parameters())
    return [leaf.requires_grad_() for leaf in leaves], parameters


def run_plainly(layer, *inputs):
    x = function(*inputs)
    return x if layer is None else layer(x)


def test_outputs_and_gradients(layer):
    inputs, parameters = make_leaves(layer)
    out = run_lean(function, *inputs, layer=layer)
    expected = run_plainly(layer, *inputs)
    assert out.equal(expected)
    grad = torch.randn_like(out)
    grads = torch.autograd.grad(out, inputs + parameters, grad)
    truth = torch.autograd.grad(expected, inputs + parameters, grad)
    for got, wanted in zip(grads, truth):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-11)


def test_second_derivatives(layer):
    inputs, parameters = make_leaves(layer)
    inputs[0] = inputs[0].detach()[:1, :3, :3].requires_grad_()
    inputs[1] = inputs[1].detach()[:1].requires_grad_()

    def run(*args):
        return run_lean(function, *args[:3], layer=layer)

    assert torch.autograd.gradgradcheck(run, (*inputs, *parameters))


def test_inputs_may_depend_on_each_other():
    leaf = torch.randn(2, 3, 3, 6, dtype=torch.float64, requires_grad=True)

    def penalise(run):
        y = leaf.sin()
        out = run(lambda a, b: a.exp() * b, leaf, y)
        (grad,) = torch.autograd.grad(
            out.square().sum(), leaf, create_graph=True
        )
        return torch.autograd.grad(grad.square().sum(), leaf)[0]

    torch.testing.assert_close(
        penalise(run_lean), penalise(lambda function, *args: function(*args))
    )


def test_one_trained_tensor_is_enough(layer):
    inputs, parameters = make_leaves(layer)
    for trained in inputs + parameters:
        for leaf in inputs + parameters:
            leaf.requires_grad_(leaf is trained)
            leaf.grad = None
        run_lean(function, *inputs, layer=layer).square().sum().backward()
        grads = [leaf.grad for leaf in inputs + parameters]
        expected = torch.autograd.grad(
            run_plainly(layer, *inputs).square().sum(), trained
        )
        assert sum(g is not None for g in grads) == 1
        torch.testing.assert_close(trained.grad, expected[0])


def test_autocast_holds_in_the_backward_pass(layer):
    inputs, parameters = make_leaves(layer, torch.float32)
    if layer is not None:
        layer.float()
    with torch.autocast('cpu', torch.bfloat16):
        out = run_lean(function, *inputs, layer=layer)
        expected = run_plainly(layer, *inputs)
    assert out.dtype == expected.dtype
    grad = torch.randn_like(out)
    leaves = inputs + parameters
    grads = torch.autograd.grad(out, leaves, grad)
    truth = torch.autograd.grad(expected, leaves, grad)
    for got, wanted in zip(grads, truth):
        assert got.dtype == wanted.dtype
        assert (got - wanted).norm() <= 5e-3 * wanted.norm()


@pytest.mark.parametrize('large', [True, False])
def test_inputs_alone_are_kept_of_large_maps(layer, large, monkeypatch):
    if not large:
        monkeypatch.setattr(lean, '_MIN_BYTES', 2**20)
    inputs, parameters = make_leaves(layer)
    saved = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: saved.setdefault(t.data_ptr(), t), lambda t: t
    ):
        run_lean(function, *inputs, layer=layer)
    kept = {pointer for pointer, t in saved.items() if t.numel()}
    own = {t.data_ptr() for t in inputs}
    assert own <= kept
    assert (own == kept) == large


def test_no_product_is_computed_twice(layer):
    inputs, _ = make_leaves(layer)
    counts = []
    for run in (
        lambda *args: run_lean(function, *args, layer=layer),
        lambda *args: run_plainly(layer, *args),
    ):
        with FlopCounterMode(display=False) as counter:
            run(*inputs).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]
    assert (counts[0] > 0) == (layer is not None)
