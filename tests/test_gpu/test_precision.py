"""Outputs and gradients are those of double precision on a CPU."""

import copy
from typing import NamedTuple

import pytest
import torch

from mmvheat import fast
from mmvheat.ops import conduct_heat

pytestmark = pytest.mark.gpu


class Precision(NamedTuple):
    """What a network computes in, and how near it must come."""

    bound: float
    autocast: torch.dtype = torch.float32
    tf32: bool = False
    loss_scale: float = 1.0


# Every network is some dozen roundings deep, which add up like a random walk:
# a bound is about four times the distance of numbers, 2e-7, 1e-3 (TF32 has
# the digits of float16) and 8e-3. Sums of float32 are longer than that.
PRECISIONS = {
    'float32': Precision(1e-5),
    'tf32': Precision(4e-3, tf32=True),
    'bfloat16': Precision(3e-2, torch.bfloat16),
    'float16': Precision(4e-3, torch.float16, loss_scale=2.0**8),
}


@pytest.fixture(params=PRECISIONS)
def precision(request, device, set_tf32):
    precision = PRECISIONS[request.param]
    if precision.tf32 and device == 'cpu':
        pytest.skip('a CPU has no TF32')
    set_tf32(precision.tf32)
    return precision


def make_images(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def run(model, images, precision=None):
    """Compute outputs and gradients of all parameters."""
    precision = precision or Precision(0)
    model.zero_grad()
    half = precision.autocast.itemsize < 4
    with torch.autocast(images.device.type, precision.autocast, enabled=half):
        outputs = model(images)
    loss = sum(output.double().pow(3).mean() for output in outputs)
    (loss * precision.loss_scale).backward()
    gradients = {
        name: parameter.grad / precision.loss_scale
        for name, parameter in model.named_parameters()
    }
    return outputs, gradients


def check_run(check, got, expected, bound):
    """Compare with what double precision gave."""
    for output, exact in zip(got[0], expected[0]):
        assert output.dtype == torch.float32
        check(output, exact, bound)
    names = [
        # The ReLU of a k near zero may fall to the other side.
        name
        for name in expected[1]
        if 'to_k' not in name and 'freq_embed' not in name
    ]
    for name in names:
        assert got[1][name].dtype == torch.float32
        check(got[1][name], expected[1][name], 8 * bound, name)
    together = [
        torch.cat([gradients[name].flatten() for name in names])
        for _, gradients in (got, expected)
    ]
    check(*together, bound, 'all gradients')


@pytest.mark.parametrize('name', ['pre_norm', 'post_norm', 'tiny'])
def test_network(build, device, check, name, precision, state):
    side = 224 if name == 'tiny' and device == 'cuda' else 64
    model = build(name, img_size=side).train()
    images = make_images(1, 3, side, side + 24)
    expected = run(copy.deepcopy(model).double(), images.double())
    got = run(model.to(device), images.to(device), precision)
    check_run(check, got, expected, precision.bound)


@pytest.mark.filterwarnings('error:Kernels of mmvheat.fast')
def test_kernels_on_trial(build, cuda, check, precision):
    """Those that no card has measured compile, and compute the same."""
    model = build('tiny', img_size=64).train()
    images = make_images(2, 3, 64, 88)
    expected = run(copy.deepcopy(model).double(), images.double())
    with fast.on_trial():
        got = run(model.to(cuda), images.to(cuda), precision)
    check_run(check, got, expected, precision.bound)


def test_recomputed_blocks(build, arch, device, check, precision):
    images = make_images(2, 3, 64, 96).to(device)
    runs = []
    for with_cp in (False, True):
        model = build(arch, with_cp=with_cp, drop_path_rate=0.5).to(device)
        torch.manual_seed(1)
        runs.append(run(model.train(), images, precision))
    for gradient, same in zip(*(gradients.values() for _, gradients in runs)):
        check(gradient, same, 1e-3)


def test_channels_last_images(build, arch, device, check, precision):
    model = build(arch).to(device)
    images = make_images(2, 3, 64, 96).to(device)
    expected = run(model, images, precision)
    model.to(memory_format=torch.channels_last)
    images = images.to(memory_format=torch.channels_last)
    outputs, gradients = run(model, images, precision)
    for output, same in zip(outputs, expected[0]):
        assert output.is_contiguous()
        check(output, same, precision.bound)
    for name, gradient in gradients.items():
        check(gradient, expected[1][name], 8 * precision.bound, name)


def test_double_precision(build, arch, device, check):
    model = build(arch).double()
    images = make_images(2, 3, 64, 96).double()
    expected = run(copy.deepcopy(model), images)
    outputs, gradients = run(model.to(device), images.to(device))
    for output, exact in zip(outputs, expected[0]):
        check(output, exact, 1e-12)
    for name, gradient in gradients.items():
        check(gradient, expected[1][name], 1e-11, name)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_networks_of_half_precision(build, arch, device, check, dtype):
    """Weights as FSDP's mixed precision has them."""
    model, images = build(arch).eval(), make_images(2, 3, 64, 96)
    with torch.no_grad():
        expected = copy.deepcopy(model).double()(images.double())
        outputs = model.to(device, dtype)(images.to(device, dtype))
    for output, exact in zip(outputs, expected):
        assert output.dtype == dtype
        check(output, exact, 6 * torch.finfo(dtype).eps)


def test_strong_low_frequencies_do_not_overflow(build, device):
    """A large image, half white and half black, in float16."""
    side = 1024 if device == 'cuda' else 64
    image = torch.ones(1, 3, side, side, device=device)
    image[..., : side // 2] = -1
    model = build('tiny', img_size=224).to(device)
    outputs, gradients = run(model, 50 * image, PRECISIONS['float16'])
    for tensor in (*outputs, *gradients.values()):
        assert tensor.isfinite().all()


def test_more_images_than_a_grid_of_blocks(device, check):
    """Batched products of 65,535 matrices and more."""
    x = make_images(8200, 8, 6, 2).to(device).requires_grad_()
    k = make_images(8, 6, 2).abs().to(device).requires_grad_()
    y = conduct_heat(x, k)
    some = x.detach()[-2:].double().cpu()
    check(y[-2:], conduct_heat(some, k.detach().double().cpu()), 1e-5)
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    twice = conduct_heat(2 * y, k)
    check(gradient, twice, 1e-5)  # conduction is its own transpose
