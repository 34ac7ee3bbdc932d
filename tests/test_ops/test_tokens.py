"""Functions applied in pieces against the same functions applied at once."""

import pytest
import torch

from mmvheat.ops import linear, map_tokens, tokens


def function(x, y, weight, bias):
    """Depends on every argument in a way of its own."""
    return torch.tanh(linear(x, weight, bias)) * y.square()


@pytest.fixture
def make():
    """Make leaves and, apart, the same leaves: (tokens, rest) twice."""

    def make(shared, dtype=torch.float64, batch=3, size=(5, 7)):
        generator = torch.Generator().manual_seed(0)
        shapes = [
            (batch, *size, 6),
            (batch, 1, 1, 4) if shared else (batch, *size, 4),
            (4, 6),
            (4,),
            (2, 4),
            (2,),
        ]
        leaves = [torch.randn(s, generator=generator) for s in shapes]
        return tuple(
            [t.to(dtype).clone().requires_grad_() for t in leaves]
            for _ in range(2)
        )

    return make


@pytest.fixture(params=[1, 7, 10**6], ids='pieces of {}'.format)
def piece_size(request, monkeypatch):
    """Tokens in a piece: one, the rows of an image, all."""

    def cut(t):
        size = min(request.param, t.shape[1])
        images = max(1, request.param // t.shape[1])
        for image in range(0, t.shape[0], images):
            for start in range(0, t.shape[1], size):
                yield (
                    slice(image, image + images),
                    slice(start, start + size),
                )

    monkeypatch.setattr(tokens, '_split', cut)


def run(leaves, with_linear=True):
    x, y, *parameters, weight, bias = leaves
    last = (weight, bias) if with_linear else ()
    return map_tokens(function, (x, y), parameters, *last)


def run_at_once(leaves, with_linear=True):
    x, y, w, b, weight, bias = leaves
    out = torch.tanh(x @ w.t() + b) * y**2
    return out @ weight.t() + bias if with_linear else out


@pytest.mark.parametrize('shared', [False, True])
@pytest.mark.parametrize('with_linear', [False, True])
def test_outputs_and_gradients(make, piece_size, shared, with_linear):
    leaves, copies = make(shared)
    out = run(leaves, with_linear)
    expected = run_at_once(copies, with_linear)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    grad = torch.randn_like(out)
    count = 6 if with_linear else 4
    grads = torch.autograd.grad(out, leaves[:count], grad)
    truth = torch.autograd.grad(expected, copies[:count], grad)
    for got, wanted in zip(grads, truth):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize('trained', range(6))
def test_one_trained_argument_is_enough(make, piece_size, trained):
    leaves, copies = make(shared=True)
    for i, leaf in enumerate(leaves):
        leaf.requires_grad_(i == trained)
    run(leaves).square().sum().backward()
    run_at_once(copies).square().sum().backward()
    for i, (leaf, copy) in enumerate(zip(leaves, copies)):
        if i == trained:
            torch.testing.assert_close(leaf.grad, copy.grad)
        else:
            assert leaf.grad is None


@pytest.mark.parametrize('piece_size', [7, 10**6], indirect=True)
def test_single_precision_equals_double(make, piece_size):
    # Products are not torch's in single precision.
    leaves, _ = make(False, torch.float32, batch=2, size=(40, 50))
    _, copies = make(False, torch.float64, batch=2, size=(40, 50))
    out, expected = run(leaves), run_at_once(copies)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=1e-4)
    out.square().mean().backward()
    expected.square().mean().backward()
    for leaf, copy in zip(leaves, copies):
        scale = copy.grad.abs().max()
        error = (leaf.grad - copy.grad).abs().max()
        assert error <= 1e-5 * scale


@pytest.mark.parametrize('piece_size', [7, 10**6], indirect=True)
def test_autocast_holds_in_the_backward_pass(make, piece_size):
    leaves, copies = make(False, torch.float32)
    with torch.autocast('cpu', torch.bfloat16):
        out = run(leaves)
    assert out.dtype == torch.bfloat16
    out.float().square().mean().backward()
    run_at_once(copies).square().mean().backward()
    for leaf, copy in zip(leaves, copies):
        assert leaf.grad.dtype == torch.float32
        error = (leaf.grad - copy.grad).norm() / copy.grad.norm()
        assert 1e-6 < error < 3e-2  # Rounded to half precision on the way.


def test_pieces_cover_every_token_once():
    for shape in ((1, 1, 3), (5, 49, 768), (2, 67200, 96), (3, 5000, 7)):
        covered = torch.zeros(shape[:2], dtype=torch.int)
        for piece in tokens._split(torch.empty(shape, device='meta')):
            covered[piece] += 1
        assert covered.eq(1).all()


@pytest.mark.parametrize('piece_size', [7], indirect=True)
def test_no_second_derivatives_of_pieces(make, piece_size):
    leaves, _ = make(False)
    (grad,) = torch.autograd.grad(
        run(leaves).square().sum(), leaves[0], create_graph=True
    )
    with pytest.raises(RuntimeError, match='once_differentiable'):
        grad.sum().backward()
