"""Kept values on a GPU: streams and graphs; the same there as on a CPU."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA'),
]
IMAGE = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(build, arch):
    return build(arch).eval()


@torch.no_grad()
def test_graphs_outlive_what_runs_between(model):
    expected = model(IMAGE)
    model.cuda()
    image = IMAGE.cuda()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        model(image)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = model(image)
    for side in (32, 128, 160):  # what else uses the allocator
        model(torch.randn(1, 3, side, side, device='cuda'))
    graph.replay()
    torch.cuda.synchronize()
    for output, same in zip(outputs, expected):
        torch.testing.assert_close(output.cpu(), same, rtol=0, atol=1e-4)


@torch.no_grad()
def test_threads_with_their_own_streams(model):
    images = [torch.randn(1, 3, 32 + 16 * i, 64) for i in range(4)] * 4
    expected = [model(image) for image in images]
    model.cuda()

    @torch.no_grad()
    def run(image):
        with torch.cuda.stream(torch.cuda.Stream()):
            return [o.cpu() for o in model(image.cuda())]

    with ThreadPoolExecutor(4) as pool:
        for outputs, same in zip(pool.map(run, images), expected):
            for a, b in zip(outputs, same):
                torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_has_the_precision_of_a_cpu(model, dtype):
    outputs = []
    for device in ('cpu', 'cuda'):
        network = copy.deepcopy(model).to(device)
        with torch.autocast(device, dtype), torch.no_grad():
            outputs.append(network(IMAGE.to(device)))
    for a, b in zip(*outputs):
        assert a.dtype == b.dtype == torch.float32
        assert (a - b.cpu()).norm() <= 3e-2 * a.norm()


def test_deterministic_training(model):
    runs = []
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(2):
            network = copy.deepcopy(model).cuda().train()
            sum(o.pow(3).mean() for o in network(IMAGE.cuda())).backward()
            runs.append([p.grad for p in network.parameters()])
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(a.equal(b) for a, b in zip(*runs))
