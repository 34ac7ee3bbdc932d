"""Faster forwards stand in for plain ones where they give the same."""

import contextlib
import functools
import importlib.util
import runpy
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from mmvheat import fast
from mmvheat.fast import forwards, onednn, seam
from mmvheat.models import heat_block
from mmvheat.models.heat_block import Mlp
from mmvheat.models.layers import ChannelsLastConv2d
from mmvheat.nn import HeatPropagator
from mmvheat.ops import heat_response

IMAGE = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(build, arch):
    return build(arch)


@pytest.fixture
def taken(monkeypatch):
    """Collects the names of the faster forwards that ran."""
    names = []
    for name, (faster, *rest) in forwards.FASTER.items():

        def run(*args, name=name, faster=faster):
            out = faster(*args)
            if out is not None:
                names.append(name)
            return out

        monkeypatch.setitem(forwards.FASTER, name, (run, *rest))
    return names


@pytest.mark.parametrize('training', [False, True])
def test_both_states_give_the_same(model, training):
    model.train(training)
    runs = []
    for context in (fast.disabled, torch.enable_grad):
        with context():
            outputs = model(IMAGE)
            loss = sum(output.pow(3).mean() for output in outputs)
            grads = torch.autograd.grad(loss, list(model.parameters()))
        runs.append((outputs, grads))
    for got, expected in zip(*[run[0] for run in runs]):
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-5)
    for got, expected in zip(*[run[1] for run in runs]):
        assert (got - expected).norm() <= 1e-4 * expected.norm()


@pytest.mark.parametrize('kernel', [1, 3])
def test_mlps_of_any_kernel(kernel):
    layers = [Mlp(6, 24) for _ in range(2)]
    for layer in layers:
        torch.manual_seed(0)
        layer.fc1 = ChannelsLastConv2d(6, 24, kernel, padding=kernel // 2)
    layers[1].load_state_dict(layers[0].state_dict())
    inputs = [torch.randn(2, 5, 7, 6).requires_grad_()]
    inputs.append(inputs[0].detach().clone().requires_grad_())
    got = layers[0](inputs[0])
    with fast.disabled():
        expected = layers[1](inputs[1])
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    got.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for parameter, plain in zip(*(f.parameters() for f in layers)):
        torch.testing.assert_close(parameter.grad, plain.grad)
        # Gradients go into the buckets of DDP as they are.
        assert parameter.grad.stride() == parameter.stride()


def test_disabled_takes_nothing(model, taken):
    with fast.disabled():
        assert not fast.is_enabled()
        with fast.disabled():
            model(IMAGE)
        assert not fast.is_enabled()
        model(IMAGE)
    assert fast.is_enabled()
    assert not taken
    model(IMAGE)
    kept = {'HeatConduction.get_k', 'Propagator.respond'}
    kept |= {'HeatStage.resize_freq_embed'}
    assert set(taken) == kept
    taken.clear()
    with torch.no_grad():
        model(IMAGE)
    products = {'HeatConduction.forward'}
    if onednn.has_onednn(IMAGE):
        products |= {'Mlp.forward'}
    assert set(taken) == kept | products


@pytest.mark.parametrize(
    ('value', 'enabled'),
    [(None, True), ('0', False), ('1', True), ('all', True)],
)
def test_switch_of_a_process(value, enabled, monkeypatch):
    monkeypatch.delenv('MMVHEAT_FAST', raising=False)
    if value is not None:
        monkeypatch.setenv('MMVHEAT_FAST', value)
    assert runpy.run_path(seam.__file__)['is_enabled']() == enabled


def test_other_values_of_the_switch_are_named(monkeypatch):
    monkeypatch.setenv('MMVHEAT_FAST', 'yes')
    with pytest.raises(ValueError, match="0, 1 or all, not 'yes'"):
        runpy.run_path(seam.__file__)


def load_fork(folder, old, new):
    """Import a copy of the operator's file with a change."""
    source = Path(heat_block.__file__).read_text()
    assert old in source
    source = source.replace('from .layers', 'from mmvheat.models.layers')
    (folder / 'fork.py').write_text(source.replace(old, new))
    spec = importlib.util.spec_from_file_location('fork', folder / 'fork.py')
    fork = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fork)
    return fork


def test_forks_run_what_their_file_says(tmp_path):
    fork = load_fork(
        tmp_path,
        'self.propagator(u, self.get_k(u, freq_embed))',
        '2 * u.roll(1, 1)',
    )
    x, freq_embed = torch.randn(2, 5, 6, 8), torch.randn(5, 6, 8)
    op = fork.HeatConduction(8)
    with pytest.warns(UserWarning, match='HeatConduction.forward .* aside'):
        y = op(x, freq_embed)
    block = fork.HeatBlock(8)
    block(x, freq_embed)
    with fast.disabled():
        assert y.equal(op(x, freq_embed))


def test_forks_that_change_nothing_stay_fast(tmp_path, taken):
    fork = load_fork(tmp_path, 'Transform features', 'Change features')
    op = fork.HeatConduction(8)
    with torch.no_grad():
        op(torch.randn(2, 5, 6, 8), torch.randn(5, 6, 8))
    parts = ['HeatConduction.get_k', 'Propagator.respond']
    assert taken == [*parts, 'HeatConduction.forward']


@pytest.mark.filterwarnings('ignore:HeatConduction.forward')
@pytest.mark.parametrize(
    ('context', 'method'),
    [
        (contextlib.nullcontext, 'HeatConduction.forward'),
        (fast.on_trial, 'HeatBlock.forward'),
    ],
    ids=['by default', 'kernels'],
)
def test_edited_laws_are_seen(build, monkeypatch, context, method):
    def response(self, s, k, x):
        return torch.exp(-3 * k * s)

    monkeypatch.setattr(HeatPropagator, 'response', response)
    model = build().eval()
    with context(), pytest.warns(UserWarning, match=f'{method} .* aside'):
        outputs = model(IMAGE)
    with fast.disabled():
        torch.testing.assert_close(outputs, model(IMAGE), rtol=0, atol=1e-5)


def wrap_law(response):
    @functools.wraps(response)
    def wrapped(self, s, k, x):
        return response(self, s, 30 * k, x)

    return wrapped


def begin_otherwise(response):
    def changed(self, s, k, x):
        k = 30 * k
        return heat_response(s, k)

    return changed


@pytest.mark.filterwarnings('ignore:Heat')
@pytest.mark.parametrize(
    'change', [wrap_law, begin_otherwise, lambda _: mock.MagicMock()]
)
def test_what_hides_a_change_is_seen(build, monkeypatch, change, taken):
    changed = change(HeatPropagator.response)
    monkeypatch.setattr(HeatPropagator, 'response', changed)
    if isinstance(changed, mock.MagicMock):
        changed.side_effect = lambda s, k, x: torch.exp(-s * k)
    model = build().eval()
    with torch.no_grad(), fast.on_trial():
        model(IMAGE)
    assert not {'HeatBlock.forward', 'HeatConduction.forward'} & set(taken)


@pytest.mark.filterwarnings('ignore:Mlp.forward')
def test_patched_layers_are_seen(monkeypatch):
    mlp, x = Mlp(6, 24), torch.randn(2, 5, 7, 6)
    forward = ChannelsLastConv2d.forward

    def double(self, x):
        return 2 * forward(self, x)

    monkeypatch.setattr(ChannelsLastConv2d, 'forward', double)
    with torch.no_grad():
        got = mlp(x)
        with fast.disabled():
            torch.testing.assert_close(got, mlp(x))


def test_calls_of_any_form():
    mlp, x = Mlp(6, 24), torch.randn(2, 5, 7, 6)
    program = torch.fx.symbolic_trace(mlp)
    with torch.no_grad():
        torch.testing.assert_close(mlp(x=x), mlp(x))
        torch.testing.assert_close(program(x), mlp(x))
        with pytest.raises(RuntimeError):
            mlp(x.bfloat16())
        with pytest.raises(RuntimeError, match='channels'):
            mlp(x[..., :5])


@pytest.mark.parametrize(
    'change',
    [
        dict(propagator=dict(type='DampedWavePropagator')),
        dict(k='input'),
        dict(k=5),
    ],
    ids=str,
)
def test_other_laws_run_the_plain_operator(build, taken, change):
    model = build(**change).eval()
    with torch.no_grad():
        model(IMAGE)
    kept = change != dict(k='input')  # else an image has a k of its own
    assert ('Propagator.respond' in taken) == kept
    assert not {'HeatBlock.forward', 'HeatConduction.forward'} & set(taken)


def test_other_methods_run_as_they_are():
    class Other(torch.nn.Module):
        @fast.accelerated
        def forward(self, x):
            return x + 1

    assert Other()(torch.zeros(1)).item() == 1


def test_counters_of_flops_see_all(model):
    def count():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.eval()(IMAGE)
        return counter.get_total_flops()

    model.eval()(IMAGE)
    flops = count()
    with fast.disabled():
        assert flops == count() > 0


def test_global_hooks_see_all_layers(model):
    seen = set()
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, *_: seen.add(module)
    )
    try:
        model(IMAGE)
    finally:
        handle.remove()
    layers = {m for m in model.modules() if list(m.parameters(False))}
    assert {m for m in layers if hasattr(m, 'bias')} <= seen


class TestTransforms:
    """What ``torch.func`` and autograd do to a network of plain layers."""

    @pytest.fixture(autouse=True)
    def both_states(self, state):
        """Transforms of both."""

    @pytest.fixture
    def model(self, build, arch):
        return build(arch, out_indices=(0, 1)).double()

    @pytest.fixture
    def image(self):
        return IMAGE.double()

    def loss(self, model, parameters, image):
        outputs = functional_call(model, parameters, (image,))
        return sum(output.pow(3).mean() for output in outputs)

    @pytest.mark.parametrize('training', [False, True])
    def test_grad(self, model, image, training):
        model.train(training)
        parameters = dict(model.named_parameters())
        grads = torch.func.grad(lambda p: self.loss(model, p, image))(
            parameters
        )
        expected = torch.autograd.grad(
            self.loss(model, parameters, image), list(parameters.values())
        )
        for got, wanted in zip(grads.values(), expected):
            torch.testing.assert_close(got, wanted)

    def test_vmap(self, model, image):
        outputs = torch.func.vmap(model)(image[:, None])
        for got, expected in zip(outputs, model(image)):
            torch.testing.assert_close(got[:, 0], expected)

    def test_per_sample_gradients(self, model, image):
        parameters = {k: p.detach() for k, p in model.named_parameters()}
        grads = torch.func.vmap(
            torch.func.grad(lambda p, x: self.loss(model, p, x[None])),
            in_dims=(None, 0),
        )(parameters, image)
        one = torch.func.grad(lambda p: self.loss(model, p, image[1:]))(
            parameters
        )
        for name, grad in grads.items():
            torch.testing.assert_close(grad[1], one[name])

    def test_jvp(self, model, image):
        tangent = torch.randn_like(image)
        _, (got, *_) = torch.func.jvp(model, (image,), (tangent,))
        step = 1e-6
        with torch.no_grad():
            ahead, behind = (
                model(image + sign * step * tangent)[0] for sign in (1, -1)
            )
        torch.testing.assert_close(
            got, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-7
        )

    def test_double_backward(self, model, image):
        """Gradient penalties, against finite differences of gradients."""
        image = image.clone().requires_grad_()
        parameter = model.layers[0][0].op.to_k[0].bias

        def penalise():
            (grad,) = torch.autograd.grad(
                sum(o.pow(3).sum() for o in model(image)),
                image,
                create_graph=True,
            )
            return grad.square().sum()

        (got,) = torch.autograd.grad(penalise(), parameter)
        step = 1e-6
        for i in range(0, len(parameter), 3):
            with torch.no_grad():
                parameter[i] += step
            ahead = penalise().item()
            with torch.no_grad():
                parameter[i] -= 2 * step
            behind = penalise().item()
            with torch.no_grad():
                parameter[i] += step
            expected = (ahead - behind) / (2 * step)
            assert got[i].item() == pytest.approx(expected, rel=1e-3)

    def test_gradgradcheck(self, build, arch):
        model = build(arch, out_indices=(0,), img_size=32).double()
        image = torch.randn(1, 3, 8, 9).double().requires_grad_()
        assert torch.autograd.gradgradcheck(
            lambda x: model(x)[0], (image,), atol=1e-4, fast_mode=True
        )
