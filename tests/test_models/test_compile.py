"""torch.compile gives what eager execution gives, in one graph."""

import shutil

import pytest
import torch

SMALLEST = dict(
    embed_dims=8, depths=(1, 1, 1, 1), post_norm=False, layer_scale=None
)
needs_compiler = pytest.mark.skipif(
    not (shutil.which('c++') or shutil.which('g++')),
    reason='the inductor backend needs a C++ compiler',
)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compile_whole(model, backend, dynamic=None):
    return torch.compile(
        model, fullgraph=True, backend=backend, dynamic=dynamic
    )


def make_image(height, width, batch=2):
    generator = torch.Generator().manual_seed(height)
    return torch.randn(batch, 3, height, width, generator=generator)


def assert_equal_evaluation(model, compiled, image):
    with torch.no_grad():
        outputs, expected = compiled(image), model(image)
    for output, eager in zip(outputs, expected):
        torch.testing.assert_close(output, eager, rtol=0, atol=1e-4)


def assert_equal_training(model, compiled, image):
    runs = []
    for run in (model, compiled):
        model.zero_grad()
        outputs = run(image)
        sum(output.pow(3).mean() for output in outputs).backward()
        gradients = [p.grad.clone() for p in model.parameters()]
        runs.append((outputs, gradients))
    (expected, eager_gradients), (outputs, gradients) = runs
    for output, eager in zip(outputs, expected):
        torch.testing.assert_close(output, eager, rtol=0, atol=1e-4)
    for gradient, eager in zip(gradients, eager_gradients):
        assert (gradient - eager).norm() <= 1e-3 * eager.norm()


@pytest.mark.parametrize('dynamic', [None, True])
def test_evaluation_is_one_graph(build, arch, dynamic):
    model = build(arch).eval()
    compiled = compile_whole(model, 'aot_eager', dynamic)
    sizes = [(64, 64), (72, 100)] + [(96, 161), (33, 47)] * bool(dynamic)
    for size in sizes:
        assert_equal_evaluation(model, compiled, make_image(*size))


@pytest.mark.parametrize('with_cp', [False, True])
def test_training_is_one_graph(build, arch, with_cp):
    model = build(arch, with_cp=with_cp, frozen_stages=-1).train()
    compiled = compile_whole(model, 'aot_eager')
    assert_equal_training(model, compiled, make_image(64, 48))


def test_stochastic_depth_compiles(build):
    model = build(drop_path_rate=0.5).train()
    compiled = compile_whole(model, 'aot_eager')
    sum(output.sum() for output in compiled(make_image(64, 64))).backward()
    assert all(p.grad is not None for p in model.parameters())


@needs_compiler
@pytest.mark.parametrize('dynamic', [False, True])
def test_compiled_kernels_evaluate_equally(build, dynamic):
    model = build(SMALLEST, out_indices=(0,)).eval()
    compiled = compile_whole(model, 'inductor', dynamic)
    for size in [(72, 100), (33, 47)][: 1 + dynamic]:
        assert_equal_evaluation(model, compiled, make_image(*size))


@needs_compiler
def test_compiled_kernels_train_equally(build):
    model = build(SMALLEST, out_indices=(0,)).train()
    compiled = compile_whole(model, 'inductor')
    assert_equal_training(model, compiled, make_image(72, 48))


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize('dynamic', [False, True])
def test_all_stages_compile(build, dynamic):
    model = build('post_norm').eval()
    compiled = compile_whole(model, 'inductor', dynamic)
    for size in [(72, 100), (64, 64), (33, 47)][: 1 + 2 * dynamic]:
        assert_equal_evaluation(model, compiled, make_image(*size))
    model.train()
    assert_equal_training(model, compiled, make_image(72, 100))
