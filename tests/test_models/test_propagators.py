"""Backbones of every law and every source of k."""

import itertools

import pytest
import torch
from mmengine.registry import MODELS

from mmvheat import fast
from mmvheat.checkpoint import load_pretrained
from mmvheat.models import vHeat
from mmvheat.nn import (
    DampedWavePropagator,
    FractionalHeatPropagator,
    HeatPropagator,
    Propagator,
    TailPropagator,
)


@pytest.fixture(autouse=True, scope='module')
def law_of_a_user():
    """A law of ten lines, as the tutorial has it."""

    @MODELS.register_module()
    class BandPass(Propagator):
        keeps_mean = False

        def response(self, s, k, x):
            return k * s * torch.exp(1 - k * s)

    yield
    MODELS.module_dict.pop('BandPass')


LAWS = [
    dict(type='HeatPropagator'),
    dict(type='FractionalHeatPropagator', alpha=1.3),
    dict(type='TailPropagator'),
    dict(type='DampedWavePropagator', v=0.8, alpha=0.3, r=0.2),
    dict(type='BandPass'),
]
SOURCES = ['freq_embed', 'input', 'scalar', 'vector', 5]
COMBINATIONS = list(itertools.product(LAWS, SOURCES))
COMBINATION_IDS = [f'{law["type"]}-{k}' for law, k in COMBINATIONS]
of_every_combination = pytest.mark.parametrize(
    ('law', 'k'), COMBINATIONS, ids=COMBINATION_IDS
)
IMAGE = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(0))


def load(model, path):
    """Load a checkpoint as ``init_cfg`` does; return the report."""
    return load_pretrained(model, str(path), logger=None)


@pytest.fixture
def model(build, law, k):
    model = build(propagator=law, k=k, out_indices=(0, 1))
    for name, parameter in model.named_parameters():
        if 'gate' in name:
            torch.nn.init.normal_(parameter)
    return model


@of_every_combination
class TestCombinations:
    def test_all_parameters_train(self, model):
        outputs = model(IMAGE)
        sum(output.pow(3).mean() for output in outputs).backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad.isfinite().all(), name
                assert parameter.grad.any(), name
            else:
                assert name.startswith('freq_embed.'), name

    def test_evaluation_is_as_in_training_whatever_was_kept(self, model):
        expected = [output.detach() for output in model(IMAGE)]
        model.eval()
        with torch.no_grad():
            for _ in range(2):
                for output, same in zip(model(IMAGE), expected):
                    torch.testing.assert_close(output, same, rtol=0, atol=2e-5)
            for parameter in model.parameters():
                parameter.data.add_(0.05 * torch.randn_like(parameter))
            outputs = model(IMAGE)
            with fast.disabled():
                for output, plain in zip(outputs, model(IMAGE)):
                    torch.testing.assert_close(
                        output, plain, rtol=0, atol=2e-5
                    )


@of_every_combination
class TestCheckpoints:
    @pytest.fixture(autouse=True)
    def both_states(self):
        """Weights are the same in both."""

    def test_checkpoints_of_heat_load(self, model, build, k, tmp_path):
        heat = build(out_indices=(0, 1))
        torch.save(heat.state_dict(), tmp_path / 'heat.pth')
        report = load(model, tmp_path / 'heat.pth')
        own = ('propagator', 'log_k')
        assert all(any(o in name for o in own) for name in report.missing)
        assert len(report.loaded) + len(report.missing) == len(
            model.state_dict()
        )
        if k in ('freq_embed', 'input'):
            assert not report.unexpected
        else:
            assert all('.to_k.0.' in name for name in report.unexpected)

    def test_own_checkpoints_load_again(self, model, build, law, k, tmp_path):
        torch.save(model.state_dict(), tmp_path / 'own.pth')
        other = build(propagator=law, k=k, out_indices=(0, 1))
        for parameter in other.parameters():
            parameter.data.add_(1)
        report = load(other, tmp_path / 'own.pth')
        assert not report.missing
        assert not report.unexpected
        model.eval(), other.eval()
        for output, same in zip(other(IMAGE), model(IMAGE)):
            assert output.equal(same)


class TestDefault:
    def test_it_is_heat_from_the_embeddings(self, build):
        plain = build()
        named = build(propagator=dict(type='HeatPropagator'), k='freq_embed')
        for model in (plain, named):
            assert type(model.layers[0][0].op.propagator) is HeatPropagator
        assert list(plain.state_dict()) == list(named.state_dict())
        for a, b in zip(plain(IMAGE), named(IMAGE)):
            assert a.equal(b)

    def test_official_weights_load_strictly(self, official_run):
        model = vHeat(
            official_run.expected['arch'],
            img_size=official_run.expected['img_size'],
            propagator=dict(type='DampedWavePropagator'),
        )
        missing, unexpected = model.load_state_dict(
            official_run.weights, strict=False
        )
        assert all(name.startswith('outnorm') for name in missing)
        assert not unexpected


class TestMeaning:
    @pytest.fixture(autouse=True)
    def both_states(self):
        """Nothing is computed fast."""

    def test_laws_get_their_settings_and_channels(self, build):
        for law, cls in (
            (
                dict(type='FractionalHeatPropagator', alpha=0.5),
                FractionalHeatPropagator,
            ),
            (dict(type='TailPropagator', k2=3), TailPropagator),
            (dict(type='DampedWavePropagator', v=2), DampedWavePropagator),
        ):
            model = build(propagator=law)
            for i, stage in enumerate(model.layers):
                for block in stage.blocks:
                    propagator = block.op.propagator
                    assert type(propagator) is cls
                    assert propagator.dims == model.embed_dims[i]
            laws = [m for m in model.modules() if isinstance(m, cls)]
            assert len(laws) == 5  # none is shared
        assert laws[0].v == 2
        assert law == dict(type='DampedWavePropagator', v=2)

    def test_without_strength_nothing_spreads(self, build):
        """k = 0 makes the operator one of single cells."""
        model = build(k=0, out_indices=(0,)).eval()
        op = model.layers[0][0].op
        u = torch.randn(1, 7, 5, 8)
        k = op.get_k(u, model.freq_embed[0])
        torch.testing.assert_close(op.propagator(u, k), u)

    def test_embeddings_without_effect_are_not_trained(self, build):
        model = build(k='vector').train()
        assert not any(f.requires_grad for f in model.freq_embed)
        before = model(IMAGE)[0]
        for freq_embed in model.freq_embed:
            freq_embed.data.normal_()
        assert model(IMAGE)[0].equal(before)


class TestBadInput:
    @pytest.fixture(autouse=True)
    def both_states(self):
        """Nothing is computed fast."""

    @pytest.mark.parametrize(
        ('kwargs', 'sentence'),
        [
            (dict(k='constant'), "k must be 'freq_embed', .* got 'constant'"),
            (dict(k=-1), 'k must be .* a number of at least 0, but got -1'),
            (
                dict(
                    propagator=dict(type='FractionalHeatPropagator', alpha=3)
                ),
                r'alpha of FractionalHeatPropagator must be in \(0, 2\]',
            ),
        ],
    )
    def test_values_are_named(self, build, kwargs, sentence):
        with pytest.raises(ValueError, match=sentence):
            build(**kwargs)

    @pytest.mark.parametrize(
        ('law', 'sentence'),
        [
            ('HeatPropagator', "dict such as .* but got 'HeatPropagator'"),
            (dict(type='vHeat'), 'dims'),
            (dict(type='HeatPropagator', alpha=1), 'alpha'),
        ],
    )
    def test_other_things_are_no_laws(self, build, law, sentence):
        with pytest.raises(TypeError, match=sentence):
            build(propagator=law)

    def test_unknown_laws_are_named(self, build):
        with pytest.raises(KeyError, match='HeatPropagater is not in'):
            build(propagator=dict(type='HeatPropagater'))

    def test_volumes_are_refused_in_a_sentence(self, build):
        with pytest.raises(ValueError) as caught:
            build()(torch.zeros(1, 3, 8, 64, 64))
        assert str(caught.value) == (
            'vHeat takes images (B, channels, H, W), but got '
            '(1, 3, 8, 64, 64); for volumes there is '
            'mmvheat.nn.HeatConduction3d'
        )
