"""CUDA graphs and streams; what is kept between images stays out of them."""

import logging
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from mmvheat.engine import BFloat16OptimWrapper
from mmvheat.engine.hooks import CUDAGraphHook
from mmvheat.fast.gpu import bases

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures('cuda')]


@pytest.fixture
def model(build, arch, state):
    return build(arch)


def make_images(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def get_loss(outputs):
    return sum(output.pow(3).mean() for output in outputs)


def warm_up(run):
    """Run on a side stream what a graph is to capture."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)


@torch.no_grad()
def test_evaluation_is_replayed(model, check):
    """Also after others have used the memory that was free meanwhile."""
    images = make_images(3, 2, 3, 64, 96)
    expected = [model.eval()(image) for image in images]
    model.cuda()
    static = images[0].cuda()
    warm_up(lambda: model(static))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = model(static)
    for image, exact in zip(images, expected):
        for side in (32, 128, 160):
            model(torch.randn(1, 3, side, side, device='cuda'))
        static.copy_(image)
        graph.replay()
        for output, same in zip(outputs, exact):
            check(output, same, 1e-5)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_training_is_replayed(model, check, dtype):
    images = make_images(3, 2, 3, 64, 96).cuda()
    model.cuda().train()
    static = images[0].clone()

    def step():
        model.zero_grad(set_to_none=True)
        # A graph must not read casts of weights from outside.
        with torch.autocast(
            'cuda', dtype, dtype != torch.float32, cache_enabled=False
        ):
            loss = get_loss(model(static))
        loss.backward()
        return loss

    expected = []
    for image in images:
        static.copy_(image)
        loss = step().item()
        gradients = [p.grad.clone() for p in model.parameters()]
        expected.append((loss, gradients))
    warm_up(step)
    model.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()
    for image, (same, gradients) in zip(images, expected):
        static.copy_(image)
        graph.replay()
        check(loss, same, 1e-3)
        for parameter, gradient in zip(model.parameters(), gradients):
            check(parameter.grad, gradient, 1e-3)


def test_graphed_callables(build, arch, check):
    """What torch makes of a module, forward and backward in a graph each."""
    image = make_images(2, 3, 64, 96).cuda()
    model = build(arch).cuda().train()
    get_loss(model(image)).backward()
    expected = [p.grad.clone() for p in model.parameters()]
    graphed = torch.cuda.make_graphed_callables(model, (image.clone(),))
    for _ in range(2):
        model.zero_grad(set_to_none=True)
        get_loss(graphed(image)).backward()
        for parameter, gradient in zip(model.parameters(), expected):
            check(parameter.grad, gradient, 1e-3)


@pytest.fixture
def count_replays(monkeypatch):
    """Counts the graphs that were replayed."""
    graphs = []
    replay = torch.cuda.CUDAGraph.replay

    def run(graph):
        graphs.append(graph)
        return replay(graph)

    monkeypatch.setattr(torch.cuda.CUDAGraph, 'replay', run)
    return lambda: len(graphs)


def wrap_fp16(optimizer):
    return AmpOptimWrapper(optimizer=optimizer, dtype='float16')


def record(backbone, wrap=OptimWrapper, batch=2, size=(64, 96)):
    """Record it by the hook, as a run does; gives the hook and that run."""
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=1e-3, eps=1e-4)
    runner = SimpleNamespace(
        model=torch.nn.Sequential(OrderedDict(backbone=backbone)),
        cfg=ConfigDict(),
        logger=logging.getLogger(__name__),
        optim_wrapper=wrap(optimizer=optimizer),
        train_dataloader=SimpleNamespace(
            batch_sampler=SimpleNamespace(batch_size=batch)
        ),
    )
    hook = CUDAGraphHook(size)
    hook.before_train(runner)
    return hook, runner


@pytest.mark.parametrize('frozen_stages', [-1, 1])
@pytest.mark.parametrize(
    'wrap', [OptimWrapper, BFloat16OptimWrapper, wrap_fp16]
)
def test_hook_replays_and_gradients_add_up(
    build, arch, state, check, count_replays, wrap, frozen_stages
):
    model, plain = (
        build(arch, frozen_stages=frozen_stages).cuda().train()
        for _ in range(2)
    )
    torch.manual_seed(3)
    before = torch.cuda.get_rng_state()
    hook, runner = record(model, wrap)
    assert torch.cuda.get_rng_state().equal(before)
    assert all(p.grad is None for p in model.parameters())
    wrapper = runner.optim_wrapper
    for images in make_images(3, 2, 3, 64, 96).cuda():
        hook.before_train_iter(runner)
        for network in (model, plain):
            with wrapper.optim_context(network):
                loss = get_loss(network(images))
            loss.backward()
        for parameter, same in zip(model.parameters(), plain.parameters()):
            if same.grad is None:
                assert parameter.grad is None
            else:
                check(parameter.grad, same.grad, 1e-3)
    assert count_replays() == 6
    hook.after_train(runner)
    assert 'forward' not in vars(model)


def test_hook_sees_new_weights_and_other_shapes(
    build, arch, check, count_replays
):
    model, plain = (build(arch).cuda().train() for _ in range(2))
    hook, runner = record(model)
    for network in (model, plain):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.1)
    for images in (make_images(2, 3, 64, 96), make_images(1, 3, 64, 96)):
        hook.before_train_iter(runner)
        for got, expected in zip(model(images.cuda()), plain(images.cuda())):
            check(got, expected, 1e-5)
    assert count_replays() == 1


def test_hook_draws_other_paths_in_every_replay(build, count_replays):
    model = build(drop_path_rate=0.5).cuda().train()
    hook, runner = record(model, batch=8)
    images = make_images(1, 3, 64, 96).cuda().expand(8, -1, -1, -1)
    outputs = []
    for seed in (1, 1, 2):
        hook.before_train_iter(runner)
        torch.manual_seed(seed)
        outputs.append(model(images)[-1].clone())
    assert count_replays() == 3
    first, again, other = outputs
    assert first.equal(again)
    assert not first.equal(other)
    assert not first.equal(first[:1].expand_as(first))


@pytest.fixture(scope='module', params=['fp32', 'bf16'])
def run(request, train, few):
    """Trains a classifier of 7 batches and a smaller one an epoch."""

    def run(ranks, *cfg_options):
        return train(
            'vheat-n_12e_digit-crops-64x64.py',
            'model.backbone.drop_path_rate=0.0',
            'optim_wrapper.clip_grad.max_norm=5.0',
            'optim_wrapper.optimizer.eps=1e-4',  # rounding stays small
            'train_cfg.max_epochs=2',
            'train_cfg.val_interval=1',
            'train_dataloader.batch_size=20',
            *few,
            *cfg_options,
            options=['--amp', 'bf16'] if request.param == 'bf16' else [],
            ranks=ranks,
        )

    run.bound = dict(fp32=1e-3, bf16=2e-2)[request.param]
    run.plain = run(0)
    return run


@pytest.mark.timeout(600)
@pytest.mark.xdist_group('hook')
@pytest.mark.parametrize('ranks', [0, 1], ids=['one process', 'DDP'])
def test_run_with_hook_equals_one_without(run, ranks, read_scalars, check):
    work_dir = run(
        ranks,
        'default_hooks.cuda_graph.type=CUDAGraphHook',
        'default_hooks.cuda_graph.size=64,64',
    )
    (log,) = work_dir.glob('*/*.log')
    assert 'replays one batch of shape (20, 3, 64, 64)' in log.read_text()
    assert 'now one of [(4, 3, 64, 64)]' in log.read_text()
    for name in ('loss', 'grad_norm'):
        got, expected = (
            read_scalars(folder, name) for folder in (work_dir, run.plain)
        )
        assert len(got) == 16
        check(got, expected, run.bound, name)
    weights, expected = (
        torch.load(folder / 'epoch_2.pth', weights_only=False)['state_dict']
        for folder in (work_dir, run.plain)
    )
    for name, value in weights.items():
        check(value, expected[name], 10 * run.bound, name)


@torch.no_grad()
def test_compiled_into_graphs(build, arch, check):
    model = build(arch).cuda().eval()
    torch._dynamo.reset()
    compiled = torch.compile(
        model, mode='reduce-overhead', fullgraph=True, dynamic=False
    )
    for image in make_images(4, 2, 3, 64, 96).cuda():
        torch.compiler.cudagraph_mark_step_begin()
        outputs = [output.clone() for output in compiled(image)]
        for output, expected in zip(outputs, model(image)):
            check(output, expected, 1e-4)
    torch._dynamo.reset()


@torch.no_grad()
def test_nothing_kept_lies_in_the_memory_of_a_graph(build, check):
    model = build().cuda().eval()
    warm_up(lambda: model(torch.randn(2, 3, 64, 64, device='cuda')))
    bases._build_basis.cache_clear()
    static = make_images(2, 3, 80, 112).cuda()  # of sizes never seen
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = model(static)
    assert bases._build_basis.cache_info().currsize == 0
    graph.replay()
    for output, expected in zip(outputs, model(static)):
        check(output, expected, 1e-5)
    pools = [
        range(segment['address'], segment['address'] + segment['total_size'])
        for segment in torch.cuda.memory_snapshot()
        if tuple(segment['segment_pool_id']) != (0, 0)
    ]
    assert any(outputs[0].data_ptr() in pool for pool in pools)
    for side in (20, 28):
        matrices = bases.get_bases(static.new_empty(1, side, side, 1))
        for basis in matrices:
            assert not any(basis.data_ptr() in pool for pool in pools)


@torch.no_grad()
def test_threads_with_streams_of_their_own(model, check):
    images = [torch.randn(1, 3, 32 + 16 * i, 64) for i in range(4)] * 4
    expected = [model.eval()(image) for image in images]
    model.cuda()
    torch.cuda.synchronize()

    @torch.no_grad()
    def run(image):
        with torch.cuda.stream(torch.cuda.Stream()):
            return [output.cpu() for output in model(image.cuda())]

    with ThreadPoolExecutor(4) as pool:
        for outputs, exact in zip(pool.map(run, images), expected):
            for output, same in zip(outputs, exact):
                check(output, same, 1e-5)


def test_training_on_a_side_stream(model, check):
    image = make_images(2, 3, 64, 96)
    get_loss(model(image)).backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.cuda()
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        get_loss(model(image.cuda())).backward()
    torch.cuda.synchronize()
    for parameter, gradient in zip(model.parameters(), expected):
        check(parameter.grad, gradient, 1e-3)


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=str)
def test_host_never_waits_for_the_device(build, arch, state, dtype, with_cp):
    """No hidden copy or ``.item()`` in forward and backward."""
    model = build(arch, with_cp=with_cp, drop_path_rate=0.5).cuda()
    image = make_images(2, 3, 72, 96).cuda()

    def run():
        with torch.autocast('cuda', dtype, dtype != torch.float32):
            loss = get_loss(model.train()(image))
        loss.backward()
        with torch.no_grad():
            model.eval()(image)

    run()
    torch.cuda.set_sync_debug_mode('error')
    try:
        run()
    finally:
        torch.cuda.set_sync_debug_mode('default')
