"""Decays kept at evaluation are never stale, never stored, never many."""

import copy
import gc
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage
from torch._subclasses import FakeTensorMode

from mmvheat.fast import kept
from mmvheat.nn import propagator

IMAGE = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(build, arch):
    return build(arch).eval()


@pytest.fixture
def computed(monkeypatch):
    """Collects the size of every decay that is computed."""
    sizes = []
    heat_response = propagator.heat_response

    def count(s, k):
        if k.dim() == 3:  # not when a block checks its law
            sizes.append(tuple(k.shape[:2]))
        return heat_response(s, k)

    monkeypatch.setattr(propagator, 'heat_response', count)
    return sizes


def count_kept(model):
    """Count the values kept for each operator."""
    return {
        len(kept._entries.get(block.op, ()))
        for stage in model.layers
        for block in stage.blocks
    }


@torch.no_grad()
def run(model, image=IMAGE):
    return model(image)


def run_without_cache(model, image=IMAGE):
    """Run a copy, for which nothing is kept."""
    model = copy.deepcopy(model)
    assert count_kept(model) == {0}
    return run(model, image)


def assert_fresh(model, image=IMAGE):
    for output, expected in zip(
        run(model, image), run_without_cache(model, image)
    ):
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)


def test_second_image_computes_no_decay(model, computed):
    first = run(model)
    assert len(computed) == 5  # blocks
    second = run(model)
    assert len(computed) == 5
    assert all(a.equal(b) for a, b in zip(first, second))
    assert_fresh(model)


def test_training_keeps_nothing(model, computed):
    model.train()
    for _ in range(2):
        run(model)
    assert len(computed) == 10


def test_frozen_stages_keep_decays_in_training(build, computed):
    model = build(frozen_stages=2).train()
    for _ in range(2):
        model(IMAGE)
    assert len(computed) == 3 + 2 * 2  # blocks that are frozen, and others


def test_gradients_reach_the_diffusivity_at_evaluation(model):
    run(model)
    sum(output.pow(3).mean() for output in model(IMAGE)).backward()
    for i in range(4):
        assert model.freq_embed[i].grad.any()
        assert model.layers[i][0].op.to_k[0].weight.grad.any()


def test_state_dict_stays_the_same(model):
    before = model.state_dict()
    run(model)
    after = model.state_dict()
    assert list(before) == list(after)
    assert not list(model.buffers())


def test_two_sizes_are_kept(model, computed):
    def image(side):
        return torch.zeros(1, 3, side, 64)

    for side in (32, 64, 96, 64, 96, 96):
        run(model, image(side))
    assert len(computed) == 3 * 5
    run(model, image(32))  # gone since long
    assert len(computed) == 4 * 5
    run(model, image(96))  # used more recently than 64
    assert len(computed) == 4 * 5
    assert count_kept(model) == {2}


@pytest.mark.parametrize(
    'optimizer',
    [
        lambda p: torch.optim.SGD(p, lr=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.1, foreach=True),
        lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
    ],
    ids=['sgd', 'adamw', 'foreach', 'fused'],
)
def test_optimiser_steps_are_seen(model, optimizer):
    before = run(model)
    optimizer = optimizer(model.parameters())
    sum(output.pow(3).mean() for output in model(IMAGE)).backward()
    optimizer.step()
    assert not run(model)[0].equal(before[0])
    assert_fresh(model)


def write_through_data(model):
    for parameter in model.parameters():
        parameter.data.mul_(1.1)


def write_through_numpy(model):
    for parameter in model.parameters():
        parameter.detach().numpy()[:] *= 1.1


@torch.no_grad()
def write_in_place(model):
    for parameter in model.parameters():
        parameter.mul_(1.1)


def replace_data(model):
    for parameter in model.parameters():
        parameter.data = parameter.data * 1.1


def follow_a_student(model):
    student = copy.deepcopy(model).train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.01, fused=True)
    sum(output.pow(3).mean() for output in student(IMAGE)).backward()
    optimizer.step()
    for mean, new in zip(model.parameters(), student.parameters()):
        mean.data.lerp_(new.data, 0.5)


@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize(
    'write',
    [
        write_through_data,
        write_through_numpy,
        write_in_place,
        replace_data,
        follow_a_student,
    ],
    ids=lambda write: write.__name__,
)
def test_no_write_goes_unseen(model, write, autocast):
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        model.requires_grad_(False)
        before = run(model)
        model.requires_grad_(True)
        write(model)
        assert not run(model)[0].equal(before[0])
        assert_fresh(model)


@pytest.mark.filterwarnings('ignore:HeatConduction.forward')
@pytest.mark.parametrize('place', ['class', 'instance'])
def test_other_laws_are_seen(model, place, monkeypatch):
    law = model.layers[0].blocks[0].op.propagator
    if place == 'class':
        law = type(law)

    def respond(*args):
        s, k, _ = args[-3:]
        return torch.exp(-3 * k * s)

    before = run(model)
    monkeypatch.setattr(law, 'response', respond)
    assert not run(model)[0].equal(before[0])
    assert_fresh(model)


def test_other_layers_of_the_same_weights_are_seen(model):
    before = run(model)
    for stage in model.layers:
        for block in stage.blocks:
            block.op.to_k = torch.nn.Sequential(
                block.op.to_k[0], torch.nn.Softplus()
            )
    assert not run(model)[0].equal(before[0])
    assert_fresh(model)


@pytest.mark.parametrize('assign', [False, True])
def test_loaded_weights_are_seen(model, assign):
    run(model)
    weights = copy.deepcopy(model.state_dict())
    weights['freq_embed.0'] += 1
    weights['layers.3.0.op.to_k.0.bias'] += 1
    model.load_state_dict(weights, assign=assign)
    assert_fresh(model)


def test_replaced_parameters_and_data_are_seen(model):
    run(model)
    to_k = model.layers[1][0].op.to_k[0]
    to_k.weight = torch.nn.Parameter(torch.randn_like(to_k.weight))
    assert_fresh(model)
    to_k.bias.data = to_k.bias.data + 1
    assert_fresh(model)


def test_swapped_averages_are_seen(model):
    # mmengine's hook writes to ``.data``.
    hook = EMAHook()
    hook.src_model = model
    hook.ema_model = ExponentialMovingAverage(model)
    for parameter in hook.ema_model.module.parameters():
        parameter.data += 0.1
    before = run(model)
    for swap in (hook.before_val_epoch, hook.after_val_epoch):
        swap(None)
        assert_fresh(model)
    assert all(a.equal(b) for a, b in zip(run(model), before))


@pytest.mark.parametrize(
    'convert',
    [
        lambda m: m.double(),
        lambda m: m.to(torch.float64),
        lambda m: m.double().float(),
        lambda m: m.half().float(),
        lambda m: m.bfloat16().double(),
        lambda m: m._apply(lambda tensor: tensor.mul_(1.5)),
    ],
    ids=['double', 'to', 'double-float', 'half-float', 'bfloat16', 'in place'],
)
def test_conversions_are_seen(model, convert):
    run(model)
    convert(model)
    assert_fresh(model, IMAGE.to(model.freq_embed[0].dtype))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_models_run_and_stay_near(model, dtype):
    expected = run(model)
    outputs = run(model.to(dtype), IMAGE.to(dtype))
    for output, exact in zip(outputs, expected):
        assert output.dtype == dtype
        error = (output.float() - exact).norm() / exact.norm()
        assert error <= (4e-2 if dtype == torch.bfloat16 else 6e-3)


def test_precisions_do_not_mix(model):
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = run(model)
    assert_fresh(model)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert run(model)[0].equal(half[0])


def test_devices_do_not_mix(model):
    expected = run(model)
    meta = copy.deepcopy(model).to('meta')
    for output, other in zip(expected, run(meta, IMAGE.to('meta'))):
        assert output.shape == other.shape
        assert other.device.type == 'meta'
    model.to_empty(device='meta')
    run(model, IMAGE.to('meta'))
    model.to_empty(device='cpu')
    model.load_state_dict(
        {k: torch.ones_like(v) for k, v in model.state_dict().items()}
    )
    assert_fresh(model)


def test_training_follows_inference_mode(model):
    model.requires_grad_(False)
    with torch.inference_mode():
        model(IMAGE)
    image = IMAGE.clone().requires_grad_()
    model(image)[3].sum().backward()  # saves decays for the backward pass
    assert image.grad.isfinite().all()
    model.requires_grad_(True).train()
    model(IMAGE)[3].sum().backward()
    assert model.freq_embed[0].grad.isfinite().all()


def test_models_born_in_inference_mode_work(build):
    expected = run(build().eval())
    with torch.inference_mode():
        model = build().eval()
        outputs = [model(IMAGE) for _ in range(2)][1]
        model.freq_embed[3].add_(1)
        assert not model(IMAGE)[3].equal(outputs[3])
    assert all(a.equal(b) for a, b in zip(outputs, expected))


def test_threads_may_share_a_model(model):
    images = [torch.randn(1, 3, 32 + 16 * i, 64) for i in range(4)] * 4
    expected = [run(copy.deepcopy(model), image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda image: run(model, image), images))
    for output, same in zip(outputs, expected):
        assert all(a.equal(b) for a, b in zip(output, same))
    assert max(count_kept(model)) <= 2


@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
def test_traced_programs_depend_on_the_weights(model):
    run(model)
    traced = torch.jit.trace(model, IMAGE, check_trace=False)
    assert count_kept(model) == {1}
    with torch.no_grad():
        model.layers[0][0].op.to_k[0].weight.mul_(2)
        again = torch.jit.trace(model, IMAGE, check_trace=False)
        assert traced(IMAGE)[0].equal(again(IMAGE)[0])
        torch.testing.assert_close(
            traced(IMAGE)[0], run_without_cache(model)[0], rtol=0, atol=1e-6
        )
    assert_fresh(model)


def test_hooks_may_change_what_blocks_take(model):
    """A value handed out and written to is computed anew."""
    expected = run(model)
    block = model.layers[0][0]
    handle = block.register_forward_pre_hook(
        lambda module, args: (args[0], args[1].mul_(2))
    )
    run(model)
    handle.remove()
    assert all(a.equal(b) for a, b in zip(run(model), expected))


def test_parameters_that_are_no_numbers_are_never_fresh(model, computed):
    model.freq_embed[0].data[0, 0, 0] = float('nan')
    for _ in range(2):
        run(model)
    assert len(computed) == 5 + 1  # one block has this embedding


def test_nothing_outlives_a_model(build):
    model = build().eval()
    run(model)
    before = len(kept._entries)
    del model
    gc.collect()
    assert len(kept._entries) <= before - 5


def test_fake_tensors_are_not_kept(model):
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        run(model, mode.from_tensor(IMAGE))
    assert_fresh(model)
