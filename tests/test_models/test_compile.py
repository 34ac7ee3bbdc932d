"""torch.compile gives what eager execution gives, in one graph."""

import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

TESTS = Path(__file__).parents[1]
CONFIG = Config.fromfile(TESTS / 'test_tools/configs/backbone.py')
SMALLEST = dict(CONFIG.smallest.arch)
NO_COMPILER = not (shutil.which('c++') or shutil.which('g++'))


def compiles_kernels(test):
    """Mark a test that waits for a C++ compiler."""
    test = pytest.mark.skipif(NO_COMPILER, reason='needs a C++ compiler')(test)
    return pytest.mark.slow(pytest.mark.timeout(1800)(test))


@pytest.fixture(autouse=True)
def state():
    """Programs hold the plain forwards whatever the state is."""


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=False):
        yield
    torch._dynamo.reset()


@pytest.fixture
def brief_compiler():
    """Let Inductor's C++ compiler optimise little.

    What a kernel computes is the same. It is compiled in this process, since
    another one would import torch first.
    """
    from torch._inductor import config

    options = {
        'cpp.cxx': (None, str(Path(__file__).parent / 'brief_g++')),
        'compile_threads': 1,
    }
    with config.patch(options):
        yield


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
        trained = (p for p in model.parameters() if p.requires_grad)
        gradients = [p.grad.clone() for p in trained]
        runs.append((outputs, gradients))
    (expected, eager_gradients), (outputs, gradients) = runs
    for output, eager in zip(outputs, expected):
        torch.testing.assert_close(output, eager, rtol=0, atol=1e-4)
    for gradient, eager in zip(gradients, eager_gradients):
        assert (gradient - eager).norm() <= 1e-3 * eager.norm()


# Each order of the norms with a downsampling, evaluated or trained.
@pytest.mark.parametrize(
    ('arch', 'stages'), [('pre_norm', (0, 1)), ('post_norm', (0,))]
)
def test_evaluation_is_one_graph(build, arch, stages):
    model = build(arch, out_indices=stages).eval()
    compiled = compile_whole(model, 'aot_eager')
    assert_equal_evaluation(model, compiled, make_image(72, 100))


@pytest.mark.parametrize(
    ('arch', 'stages', 'with_cp'),
    [('pre_norm', (0,), True), ('post_norm', (0, 1), False)],
)
def test_training_is_one_graph(build, arch, stages, with_cp):
    model = build(arch, out_indices=stages, with_cp=with_cp).train()
    compiled = compile_whole(model, 'aot_eager')
    assert_equal_training(model, compiled, make_image(64, 48))


def test_stochastic_depth_compiles(build):
    model = build(SMALLEST, out_indices=(1,), drop_path_rate=0.5).train()
    compiled = compile_whole(model, 'aot_eager')
    sum(output.sum() for output in compiled(make_image(64, 64))).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_autocast_is_part_of_the_graph(build):
    model = build(out_indices=(0,)).eval()
    compiled = compile_whole(model, 'aot_eager')
    image = make_image(72, 100)
    with torch.no_grad():
        exact = model(image)
        with torch.autocast('cpu', torch.bfloat16):
            outputs = compiled(image)
    for output, expected in zip(outputs, exact):
        assert output.dtype == torch.float32  # as all norms are
        error = (output - expected).norm() / expected.norm()
        assert 1e-5 < error < 3e-2  # Half precision, no more, no less.


def test_one_graph_serves_many_sizes(build):
    model = build(SMALLEST, out_indices=(0,)).eval()
    # Sizes are a matter of the recording; what follows it takes four times
    # as long with unknown ones, and is tested by export.
    compiled = compile_whole(model, 'eager', dynamic=True)
    for size in [(72, 100), (64, 64), (33, 47)]:
        assert_equal_evaluation(model, compiled, make_image(*size))
        torch._dynamo.config.error_on_recompile = True


# Four stages are compiled for evaluation in tests/test_deploy/test_files.py,
# and recorded for training in tests/test_tools/test_train.py.
@compiles_kernels
def test_training_compiles(build, brief_compiler):
    arch = dict(SMALLEST, post_norm=True, layer_scale=1e-2)
    model = build(arch, out_indices=(0, 1)).train()
    # Every layer once: a second block would be compiled as the first is.
    del model.layers[1][0]
    model.freq_embed[1].requires_grad_(False)
    model.outnorm1 = torch.nn.Identity()  # it would hide scales
    compiled = compile_whole(model, 'inductor')
    assert_equal_training(model, compiled, make_image(72, 100))


@compiles_kernels
def test_second_size_compiles(build, brief_compiler):
    """By default, torch takes all sizes as variable from the second one on."""
    from torch._inductor.compile_fx import compile_fx

    graphs = []

    def compile_second(graph, inputs):
        graphs.append(graph)
        # The first has fixed sizes, as those that are compiled above.
        return compile_fx(graph, inputs) if graphs[1:] else graph.forward

    model = build(SMALLEST, out_indices=(0,)).eval()
    compiled = compile_whole(model, compile_second)
    # Kernels of single numbers: to find vectors takes Inductor most of its
    # time where sizes are unknown.
    with torch._inductor.config.patch({'cpp.simdlen': 1}):
        for size in [(72, 100), (64, 64), (33, 47)]:
            assert_equal_evaluation(model, compiled, make_image(*size))
    assert len(graphs) == 2
