"""Cast weights kept at evaluation under autocast are never stale."""

import copy
import pickle

import pytest
import torch

from mmvheat.models import parameter_cache

IMAGE = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(build, arch):
    return build(arch).eval()


@pytest.fixture
def packed(monkeypatch):
    """Collects the shapes of all weights that are packed."""
    shapes = []
    pack_weight = parameter_cache.pack_weight

    def count(weight):
        shapes.append(tuple(weight.shape))
        return pack_weight(weight)

    monkeypatch.setattr(parameter_cache, 'pack_weight', count)
    return shapes


@torch.no_grad()
def run(model):
    with torch.autocast('cpu', torch.bfloat16):
        return model(IMAGE)


def train(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    sum(output.pow(3).mean() for output in model(IMAGE)).backward()
    optimizer.step()


def load(model):
    weights = {k: v * 1.1 for k, v in model.state_dict().items()}
    model.load_state_dict(weights)


@torch.no_grad()
def scale(model):
    for parameter in model.parameters():
        parameter.mul_(1.1)


def swap(model):
    for parameter in model.parameters():
        parameter.data = parameter.data * 1.1


def write_and_evaluate(model):
    for parameter in model.parameters():
        parameter.data.mul_(1.1)
    model.eval()


def follow(model):
    student = copy.deepcopy(model)
    model.requires_grad_(False)
    run(model)
    train(student)
    for mean, new in zip(model.parameters(), student.parameters()):
        mean.data.lerp_(new.data, 0.5)


def test_weights_are_cast_once(model, packed):
    first = run(model)
    assert len(packed) == 5 * 5  # blocks, matrices of each
    second = run(model)
    assert len(packed) == 5 * 5
    assert all(a.equal(b) for a, b in zip(first, second))


@pytest.mark.parametrize(
    'change',
    [train, load, scale, swap, write_and_evaluate, follow],
    ids=lambda change: change.__name__,
)
def test_changes_are_seen(model, change):
    before = run(model)
    change(model)
    after = run(model)
    assert not after[0].equal(before[0])
    fresh = run(copy.deepcopy(model))
    assert all(a.equal(b) for a, b in zip(after, fresh))


def test_nothing_is_kept_without_autocast_or_in_training(model, packed):
    with torch.no_grad():
        model(IMAGE)
    run(model.train())
    assert not packed


def test_onednn_can_be_switched_off(model):
    expected = run(model)
    with torch.backends.mkldnn.flags(enabled=False):
        outputs = run(model)
    for a, b in zip(outputs, expected):
        assert (a - b).norm() <= 2e-2 * b.norm()


def test_input_gradients_of_frozen_weights(model):
    run(model)
    model.requires_grad_(False)
    image = IMAGE.clone().requires_grad_()
    exact = IMAGE.clone().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        model(image)[3].float().pow(3).mean().backward()
    model(exact)[3].pow(3).mean().backward()
    error = (image.grad - exact.grad).norm() / exact.grad.norm()
    assert error <= 5e-2


def test_copies_and_files_hold_no_casts(model):
    keys = list(model.state_dict())
    size = len(pickle.dumps(model))
    outputs = run(model)
    assert list(model.state_dict()) == keys
    assert len(pickle.dumps(model)) == size
    again = run(pickle.loads(pickle.dumps(model)))
    assert all(a.equal(b) for a, b in zip(outputs, again))


def test_training_follows_inference_mode(model):
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16):
        inside = model(IMAGE)
    outputs = run(model)
    assert all(a.equal(b) for a, b in zip(inside, outputs))
    train(model.train())
