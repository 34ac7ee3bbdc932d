"""Laws as modules: mean rules, domains, sources of k, kept responses."""

import math

import numpy as np
import pytest
import torch

from mmvheat import fast
from mmvheat.fast import kept
from mmvheat.nn import (
    DampedWavePropagator,
    FractionalHeatPropagator,
    HeatConduction2d,
    HeatPropagator,
    Propagator,
    TailPropagator,
    check_propagator,
    make_source,
)
from mmvheat.ops import conduct_heat

C = 6
LAWS = [
    HeatPropagator(C),
    FractionalHeatPropagator(C, alpha=0.8),
    DampedWavePropagator(C),
    DampedWavePropagator(C, v=0.7, alpha=3.0, r=0.5),
]


def make_features(*sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *sizes, C, generator=generator)


@pytest.fixture
def counted(monkeypatch):
    """Counts responses that are computed."""
    calls = []
    for law in (
        HeatPropagator,
        FractionalHeatPropagator,
        TailPropagator,
        DampedWavePropagator,
    ):

        def response(self, s, k, x, plain=law.response):
            calls.append(type(self).__name__)
            return plain(self, s, k, x)

        monkeypatch.setattr(law, 'response', response)
    return calls


def test_heat_is_conduction():
    x = make_features(5, 7) + 3
    k = make_features(5, 7, seed=1)[0].square()
    assert HeatPropagator(C)(x, k).equal(conduct_heat(x, k))


@pytest.mark.parametrize('law', LAWS, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize('sizes', [(9,), (5, 7), (3, 4, 5)], ids=str)
def test_constants_equal_full_arrays(law, sizes):
    """Issue 5 of vHeat: k = 5 is k = 5 at every frequency and channel."""
    x = make_features(*sizes) + 3
    full = law(x, torch.full((*sizes, C), 5.0))
    for k in (torch.tensor(5.0), torch.full((C,), 5.0)):
        torch.testing.assert_close(law(x, k), full)
    per_image = torch.full((2, *[1] * len(sizes), C), 5.0)
    torch.testing.assert_close(law(x, per_image), full)


@pytest.mark.parametrize('r', [0.0, 0.5])
def test_the_mean_follows_the_initial_velocity(r):
    x, t = make_features(5, 7) + 3, 1.7
    u = DampedWavePropagator(C, alpha=0.4, r=r)(x, torch.tensor(t))
    expected = 1 + r * (1 - math.exp(-0.4 * t)) / 0.4
    torch.testing.assert_close(u.mean((1, 2)), x.mean((1, 2)) * expected)


def test_the_gate_mixes_per_image_and_channel():
    torch.manual_seed(0)
    law = TailPropagator(C, k2=0.7)
    for layer in law.to_gate[::2]:
        torch.nn.init.normal_(layer.weight, std=5)
    x = make_features(5, 7)
    k = torch.tensor(0.4)
    gate = torch.sigmoid(law.to_gate(x.mean((1, 2))))[:, None, None]
    assert gate.std() > 0.05
    heat = conduct_heat(x, torch.full((5, 7, C), 0.4))
    cauchy = FractionalHeatPropagator(C)(x, torch.tensor(0.7))
    expected = gate * heat + (1 - gate) * cauchy
    torch.testing.assert_close(law(x, k), expected, rtol=1e-5, atol=1e-5)


class TestSources:
    x = make_features(5, 7)

    def test_scalar_and_vector_start_at_one_and_learn(self):
        for k, dims in (('scalar', 1), ('vector', C)):
            source = make_source(k, C)
            assert source(self.x).equal(torch.ones(dims))
            HeatPropagator(C)(self.x, source(self.x)).pow(3).sum().backward()
            (parameter,) = source.parameters()
            assert parameter.grad.all()
            parameter.data -= 100
            assert (source(self.x) >= 0).all()

    def test_input_gives_one_k_an_image_and_channel(self):
        source = make_source('input', C)
        torch.nn.init.normal_(source[0].weight)
        k = source(self.x)
        assert k.shape == (2, 1, 1, C)
        weight, bias = source[0].weight, source[0].bias
        expected = (self.x.mean((1, 2)) @ weight.t() + bias).clamp(min=0)
        torch.testing.assert_close(k[:, 0, 0], expected)

    @pytest.mark.parametrize('k', [0, 5, 0.25])
    def test_numbers_stay_and_are_no_weights(self, k):
        source = make_source(k, C)
        assert source(self.x).item() == k
        assert not source.state_dict()

    @pytest.mark.parametrize(
        'k', [-1, math.inf, math.nan, 'constant', None, [5]]
    )
    def test_others_are_named_in_a_sentence(self, k):
        with pytest.raises(ValueError) as caught:
            make_source(k, C)
        (line,) = str(caught.value).splitlines()
        assert line.startswith("k must be 'freq_embed', 'input', 'scalar'")
        assert line.endswith(f'but got {k!r}')


class TestBadInput:
    @pytest.mark.parametrize(
        ('make', 'sentence'),
        [
            (
                lambda: FractionalHeatPropagator(C, alpha=0),
                'alpha of FractionalHeatPropagator must be in (0, 2], but '
                'got 0',
            ),
            (
                lambda: FractionalHeatPropagator(C, alpha=2.1),
                'alpha of FractionalHeatPropagator must be in (0, 2], but '
                'got 2.1',
            ),
            (
                lambda: DampedWavePropagator(C, v=-1),
                'v of DampedWavePropagator must be at least 0, but got -1',
            ),
            (
                lambda: DampedWavePropagator(C, alpha=-0.1),
                'alpha of DampedWavePropagator must be at least 0, but got '
                '-0.1',
            ),
            (
                lambda: TailPropagator(C, k2='input'),
                "k2 of TailPropagator must be 'scalar', 'vector' or a "
                "number of at least 0, but got 'input'",
            ),
            (
                lambda: TailPropagator(C, k2=-3),
                "k2 of TailPropagator must be 'scalar', 'vector' or a "
                'number of at least 0, but got -3',
            ),
        ],
    )
    def test_parameters_out_of_their_domain(self, make, sentence):
        with pytest.raises(ValueError) as caught:
            make()
        assert str(caught.value) == sentence

    def test_no_mean_rule(self):
        with pytest.raises(TypeError) as caught:

            class Ruleless(Propagator):
                def response(self, s, k, x):
                    return 1 / (1 + k * s)

        assert str(caught.value) == (
            'Ruleless needs a mean rule: set keeps_mean = True if its '
            'response is 1 at s = 0 for all parameters, else keeps_mean = '
            'False'
        )

    def test_a_wrong_mean_rule(self):
        class Wrong(Propagator):
            keeps_mean = True

            def response(self, s, k, x):
                return torch.exp(-k * (1 + s))

        with pytest.raises(ValueError) as caught:
            check_propagator(Wrong(C))
        assert str(caught.value) == (
            'Wrong says keeps_mean = True, but its response at s = 0 is '
            '0.368; set keeps_mean = False'
        )

    @pytest.mark.parametrize('law', [HeatPropagator, torch.nn.ReLU()])
    def test_no_propagator(self, law):
        with pytest.raises(TypeError, match='an instance of mmvheat.nn.Prop'):
            check_propagator(law)


class TestKept:
    """Responses kept at evaluation are never stale."""

    x, k = make_features(5, 7), torch.rand(5, 7, C)

    @pytest.fixture(autouse=True)
    def both_states(self):
        """Nothing is kept in the other."""

    @pytest.fixture(autouse=True)
    def no_grad(self):
        with torch.no_grad():
            yield

    def assert_fresh(self, law, k):
        got = law(self.x, k)
        with fast.disabled():
            assert got.equal(law(self.x, k))

    @pytest.mark.parametrize('law', LAWS, ids=lambda law: type(law).__name__)
    def test_second_image_computes_none(self, law, counted):
        law.eval()
        first = law(self.x, self.k)
        second = law(self.x, self.k.clone())
        assert len(counted) <= 1
        assert first.equal(second)
        self.assert_fresh(law, self.k)
        self.assert_fresh(law, self.k + 1)
        law.train()
        before = len(counted)
        law(self.x, self.k)
        law(self.x, self.k)
        assert len(counted) == before + 2
        kept._entries.pop(law)

    def test_settings_may_change(self):
        law = FractionalHeatPropagator(C).eval()
        before = law(self.x, self.k)
        law.alpha = 1.5
        assert not law(self.x, self.k).equal(before)
        self.assert_fresh(law, self.k)

    def test_other_precisions_and_sizes(self):
        law = DampedWavePropagator(C).eval()
        k = torch.tensor(2.0)
        law(self.x, k)
        assert law(self.x.double(), k).dtype == torch.float64
        with fast.disabled():
            expected = law(self.x.double(), k)
        assert law(self.x.double(), k).equal(expected)
        assert law(self.x[:, 1:], k).shape == (2, 4, 7, C)
        with torch.autocast('cpu', torch.bfloat16):
            self.assert_fresh(law, k)

    def test_what_depends_on_the_image_is_not_kept(self, counted):
        law = TailPropagator(C).eval()
        torch.nn.init.normal_(law.to_gate[2].weight)
        law(self.x, self.k)
        assert not law(self.x + 1, self.k).equal(law(self.x, self.k) + 1)
        per_image = torch.rand(2, 1, 1, C)
        LAWS[0].eval()(self.x, per_image)
        assert not kept._entries.get(LAWS[0])
        assert not kept._entries.get(law)

    def test_laws_of_users_are_not_kept(self):
        class Mine(HeatPropagator):
            strength = [1.0]

            def response(self, s, k, x):
                return torch.exp(-self.strength[0] * k * s)

        law = Mine(C).eval()
        before = law(self.x, self.k)
        law.strength[0] = 2.0
        assert not law(self.x, self.k).equal(before)


class Gated(Propagator):
    """A law with layers, weights and a batch norm of its own."""

    keeps_mean = True

    def __init__(self, dims):
        super().__init__(dims)
        self.gate = torch.nn.Linear(dims, dims, bias=False)
        self.norm = torch.nn.BatchNorm1d(dims)
        torch.nn.init.eye_(self.gate.weight)
        self.norm.eval()  # frozen

    def response(self, s, k, x):
        means = self.norm(x.flatten(1, -2).mean(1))
        return torch.exp(-k * s * self.gate(means).sigmoid()[:, None, None])


def test_a_law_keeps_its_own_weights():
    law = Gated(C)
    layer = HeatConduction2d(C, 4, law)
    assert torch.equal(law.gate.weight, torch.eye(C))
    assert law.training and not law.norm.training
    assert layer.linear.weight.std() < 0.05
    layer.reset_parameters()
    assert torch.equal(law.gate.weight, torch.eye(C))


@pytest.mark.parametrize('make', [torch.tensor, np.float32, np.float64])
def test_settings_may_be_changed(make):
    law = FractionalHeatPropagator(C).eval()
    x, k = make_features(5, 7), torch.tensor(2.0)
    for alpha in (0.5, 1.0, 2.0):
        law.alpha = make(alpha)
        expected = FractionalHeatPropagator(C, alpha)(x, k)
        with torch.no_grad():
            torch.testing.assert_close(law(x, k), expected)


def test_a_velocity_set_later_moves_the_mean():
    law, x = DampedWavePropagator(C), make_features(5, 7) + 3
    law.r = 0.5
    expected = DampedWavePropagator(C, r=0.5)(x, torch.tensor(1.7))
    assert torch.equal(law(x, torch.tensor(1.7)), expected)


@pytest.mark.parametrize('assign', [False, True])
def test_constants_outlive_a_start_on_the_meta_device(assign):
    def make():
        return HeatConduction2d(4, 5, TailPropagator(4, k2=0.7), k=0.3)

    source = make()
    with torch.device('meta'):
        layer = make()
    if not assign:
        layer.to_empty(device='cpu')
    layer.load_state_dict(source.state_dict(), assign=assign)
    x = torch.randn(1, 4, 5, 6)
    assert layer(x).equal(source(x))


def test_constants_are_exact_in_every_precision():
    x = torch.zeros(1, 1, 2, 3)
    for dtype in (torch.float64, torch.bfloat16):
        layer = HeatConduction2d(1, 2, k=0.3).to(dtype)
        k = layer.get_k(x.to(dtype).movedim(1, -1))
        assert abs(k.item() - 0.3) < (1e-15 if dtype.itemsize > 4 else 1e-7)


def test_numbers_of_numpy_are_numbers():
    x = torch.zeros(1, C)
    assert make_source(np.float32(2), C)(x) == 2
    assert TailPropagator(C, k2=np.float32(2)).to_k2(x) == 2
