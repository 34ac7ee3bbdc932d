"""What is replayed, and that a run with replays is the run without them.

CUDA graphs need a GPU (tests/test_gpu/test_graphs.py). Here something like
them takes their place.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from graph_recorder import Recorder
from mmengine.config import ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmvheat.engine import BFloat16OptimWrapper
from mmvheat.engine.hooks import CUDAGraphHook
from mmvheat.errors import UserError

SIZE = (32, 48)


class Backbone(nn.Module):
    """Two maps; statistics, noise, what is frozen and what nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2)
        self.norm = nn.BatchNorm2d(4)
        self.frozen = nn.Parameter(torch.ones(4, 1, 1), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(1))
        self.noise = 0.0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute them."""
        x = self.norm(self.conv(x)) * self.frozen
        return x, nn.functional.dropout(x.relu(), self.noise)


class Model(BaseModel):
    """A model as those of OpenMMLab."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.head = nn.Linear(4, 1)

    def forward(self, inputs, mode='tensor', **kwargs) -> object:
        """Give the loss, or what is predicted."""
        first, second = self.backbone(inputs)
        y = self.head((first.tanh() + second).mean((2, 3)))
        return dict(loss=y.square().mean()) if mode == 'loss' else [y]


@pytest.fixture
def log(
    caplog: pytest.LogCaptureFixture,
) -> Iterator[pytest.LogCaptureFixture]:
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model()


class OnCPU(CUDAGraphHook):
    """The hook where a recorder is all there is of CUDA."""

    def before_train(self, runner: Runner) -> None:
        """Record."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.cuda, 'is_available', lambda: True)
            super().before_train(runner)


@pytest.fixture
def recorder(model: Model, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder(model.backbone)
    monkeypatch.setattr(torch.cuda, 'make_graphed_callables', recorder)
    return recorder


def make_runner(model: nn.Module, wrap=OptimWrapper, **cfg) -> SimpleNamespace:
    sampler = SimpleNamespace(batch_size=4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return SimpleNamespace(
        model=model,
        cfg=ConfigDict(cfg),
        logger=MMLogger.get_current_instance(),
        optim_wrapper=wrap(optimizer=optimizer),
        train_dataloader=SimpleNamespace(batch_sampler=sampler),
    )


def start(runner: SimpleNamespace) -> CUDAGraphHook:
    hook = OnCPU(size=SIZE)
    hook.before_train(runner)
    return hook


def draw(*batches: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(b, 3, *SIZE, generator=generator) for b in batches]


def get_gradients(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


@pytest.fixture
def parallel() -> Iterator[Callable[[nn.Module], nn.Module]]:
    """Wraps a model as one process of several does."""
    dist.init_process_group(
        'gloo', store=dist.HashStore(), rank=0, world_size=1
    )
    yield lambda model: MMDistributedDataParallel(
        model, find_unused_parameters=True
    )
    dist.destroy_process_group()


def train(
    network: nn.Module, hook: CUDAGraphHook, wrap=OptimWrapper, **zero_grad
) -> tuple:
    """Losses and gradients of steps of two batches, and the weights."""
    runner = make_runner(network, wrap)
    wrapper = runner.optim_wrapper
    network.eval()  # as after a validation
    hook.before_train(runner)
    network.train()
    steps = []
    for number, images in enumerate(draw(4, 4, 3, 4, 4, 4)):
        hook.before_train_iter(runner, number)
        with wrapper.optim_context(network):
            loss = network(images, mode='loss')['loss']
        wrapper.backward(loss)
        steps.append((loss.item(), get_gradients(network)))
        if number % 2:
            wrapper.step()
            wrapper.zero_grad(**zero_grad)
    hook.after_train(runner)
    return steps, network.state_dict()


@pytest.mark.parametrize('set_to_none', [True, False])
@pytest.mark.parametrize('wrap', [OptimWrapper, BFloat16OptimWrapper])
def test_steps_equal_those_without(model, recorder, wrap, set_to_none) -> None:
    """Also those of a smaller batch and of gradients added up."""
    plain = copy.deepcopy(model)
    options = dict(wrap=wrap, set_to_none=set_to_none)
    expected = train(plain, Hook(), **options)
    got = train(model, OnCPU(SIZE), **options)
    assert recorder.replays == 5
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_steps_in_parallel_equal_those_without(
    model, recorder, parallel
) -> None:
    plain = parallel(copy.deepcopy(model))
    expected = train(plain, Hook())
    got = train(parallel(model), OnCPU(SIZE))
    assert recorder.replays == 5
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_backbone_is_recorded_in_the_precision_of_the_run(
    model, recorder
) -> None:
    runner = make_runner(model, BFloat16OptimWrapper)
    hook = start(runner)
    (images,) = draw(4)
    hook.before_train_iter(runner)
    exact = model.backbone(images)[0]  # not what was recorded
    assert recorder.replays == 0
    with runner.optim_wrapper.optim_context(model):
        rounded = model.backbone(images)[0]
    assert recorder.replays == 1
    assert 0 < (rounded - exact).abs().max() < 0.1


def test_one_replay_an_iteration(model, recorder) -> None:
    """A second one would write over what the first one keeps."""
    hook = start(make_runner(model))
    first, second = draw(4, 4)
    plain = copy.deepcopy(model)
    for network in (plain, model):
        hook.before_train_iter(None)
        losses = [network(x, 'loss')['loss'] for x in (first, second)]
        sum(losses).backward()
    assert recorder.replays == 1
    torch.testing.assert_close(get_gradients(model), get_gradients(plain))


@pytest.mark.parametrize(
    'change',
    [
        lambda model, x: model.eval()(x),
        lambda model, x: torch.no_grad()(model)(x),
        lambda model, x: model(x[..., 1:]),
        lambda model, x: model(x.clone().requires_grad_()),
        lambda model, x: model.double()(x.double()),
    ],
    ids=['eval', 'no_grad', 'size', 'gradient of images', 'dtype'],
)
def test_all_else_runs_plainly(model, recorder, change) -> None:
    plain = copy.deepcopy(model)
    hook = start(make_runner(model))
    (images,) = draw(4)
    hook.before_train_iter(None)
    (got,), (expected,) = change(model, images), change(plain, images)
    assert recorder.replays == 0
    assert got.equal(expected)


def test_recording_leaves_no_trace(model, recorder) -> None:
    model.backbone.noise = 0.5
    model(draw(4)[0], 'loss')['loss'].backward()
    before = copy.deepcopy((model.state_dict(), get_gradients(model)))
    torch.manual_seed(7)
    hook = start(make_runner(model))
    number = torch.rand(())
    torch.manual_seed(7)
    assert torch.rand(()) == number
    after = model.state_dict(), get_gradients(model)
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    hook.after_train(None)
    assert 'forward' not in vars(model.backbone)


@pytest.mark.parametrize(
    'copy_model', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_copies_compute_with_weights_of_their_own(
    model, recorder, copy_model
) -> None:
    hook = start(make_runner(model))
    (images,) = draw(4)
    twin = copy_model(copy_model(model))
    nn.init.zeros_(twin.backbone.norm.weight)
    hook.before_train_iter(None)
    assert not twin.backbone(images)[0].any()
    assert recorder.replays == 0
    assert model.backbone(images)[0].any()


def test_plain_batches_are_told_once(model, recorder, log) -> None:
    hook = start(make_runner(model))
    for images in draw(4, 3, 2):
        hook.before_train_iter(None)
        model(images)
    (message,) = log.messages
    assert '(4, 3, 32, 48)' in message
    assert '(3, 3, 32, 48)' in message


@pytest.mark.parametrize(
    ('word', 'cfg', 'spoil'),
    [
        ('compile', dict(compile=dict()), None),
        ('with_cp', dict(activation_checkpointing=['backbone']), None),
        ('with_cp', {}, lambda r: setattr(r.model.backbone, 'with_cp', True)),
        ('FlexibleRunner', {}, lambda r: setattr(r, 'strategy', 1)),
        (
            'DataParallel',
            {},
            lambda r: setattr(r, 'model', nn.DataParallel(r.model)),
        ),
        ('without a backbone', {}, lambda r: delattr(r.model, 'backbone')),
        (
            'hooks',
            {},
            lambda r: r.model.backbone.conv.register_forward_hook(print),
        ),
    ],
)
def test_what_a_graph_would_spoil_is_refused(
    model, recorder, word, cfg, spoil
) -> None:
    runner = make_runner(model, **cfg)
    if spoil is not None:
        spoil(runner)
    with pytest.raises(UserError, match=word):
        start(runner)


def test_without_cuda_it_only_warns(model, log) -> None:
    if torch.cuda.is_available():
        pytest.skip('there is CUDA')
    runner = make_runner(model, compile=True)
    hook = CUDAGraphHook(SIZE)
    hook.before_train(runner)
    hook.before_train_iter(runner)
    hook.after_train(runner)
    assert ['does nothing' in message for message in log.messages] == [True]
    assert 'forward' not in vars(model.backbone)


def test_a_failure_says_what_to_switch_off(
    model, recorder, monkeypatch
) -> None:
    def wait(*args: object) -> None:
        raise ValueError('the fault of the network')

    monkeypatch.setattr(Backbone, 'forward', wait)
    with pytest.raises(RuntimeError, match='out of the config') as caught:
        start(make_runner(model))
    assert str(caught.value.__cause__) == 'the fault of the network'


class Images(Dataset):
    """Six images."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict:
        return dict(inputs=draw(6)[0][index])


class Metric(BaseMetric):
    """Needs no truth."""

    def process(self, data_batch, data_samples) -> None:
        """Keep what is predicted."""
        self.results += [float(y) for sample in data_samples for y in sample]

    def compute_metrics(self, results) -> dict:
        """Average."""
        return dict(mean=sum(results) / len(results))


def test_a_run_equals_one_without(model, recorder, tmp_path) -> None:
    """In mmengine's loops, beside averaged weights, with validations."""
    plain = copy.deepcopy(model)
    loader = dict(
        dataset=Images(),
        sampler=dict(type='DefaultSampler', shuffle=False),
        batch_size=4,
        num_workers=0,
        collate_fn=dict(type='default_collate'),
    )
    weights = []
    for network, hooks in ((plain, []), (model, [OnCPU(SIZE)])):
        Runner(
            network,
            str(tmp_path),
            train_dataloader=loader,
            val_dataloader=loader,
            val_evaluator=[Metric()],
            train_cfg=dict(by_epoch=True, max_epochs=2),
            val_cfg=dict(),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            custom_hooks=[dict(type='EMAHook'), *hooks],
            experiment_name='test' + str(len(weights)),
        ).train()
        path = tmp_path / 'epoch_2.pth'
        weights.append(torch.load(path, weights_only=False))
    assert recorder.replays == 2
    assert 'forward' not in vars(model.backbone)
    for name in ('state_dict', 'ema_state_dict'):
        expected, got = (checkpoint[name] for checkpoint in weights)
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
