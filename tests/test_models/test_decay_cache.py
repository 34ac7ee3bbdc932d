"""Decays kept at evaluation are never stale, never stored, never many."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage
from torch._subclasses import FakeTensorMode

from mmvheat.models import HeatConduction

IMAGE = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(build, arch):
    return build(arch).eval()


@pytest.fixture
def computed(monkeypatch):
    """Collects the size of every decay that is computed."""
    sizes = []
    compute_decay = HeatConduction.compute_decay

    def count(self, freq_embed):
        sizes.append(tuple(freq_embed.shape[:2]))
        return compute_decay(self, freq_embed)

    monkeypatch.setattr(HeatConduction, 'compute_decay', count)
    return sizes


@torch.no_grad()
def run(model, image=IMAGE):
    return model(image)


def run_without_cache(model, image=IMAGE):
    """Run a copy, whose caches are empty."""
    model = copy.deepcopy(model)
    assert not any(len(stage._decay_cache) for stage in model.layers)
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
    assert len(computed) == 3 + 2 + 2


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
    assert {len(stage._decay_cache) for stage in model.layers} == {2}


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


def test_teachers_that_follow_a_student_are_seen(build):
    student = build().train()
    teacher = copy.deepcopy(student).eval().requires_grad_(False)
    before = run(teacher)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    sum(output.pow(3).mean() for output in student(IMAGE)).backward()
    optimizer.step()
    for mean, new in zip(teacher.parameters(), student.parameters()):
        mean.data.lerp_(new.data, 0.5)  # leaves no trace
    assert not run(teacher)[0].equal(before[0])
    assert_fresh(teacher)


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
    # mmengine's hook writes to ``.data``, then the loop calls ``eval()``.
    hook = EMAHook()
    hook.src_model = model
    hook.ema_model = ExponentialMovingAverage(model)
    for parameter in hook.ema_model.module.parameters():
        parameter.data += 0.1
    before = run(model)
    for swap in (hook.before_val_epoch, hook.after_val_epoch):
        swap(None)
        model.eval()
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
    assert all(len(stage._decay_cache) <= 2 for stage in model.layers)


@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
def test_traced_programs_depend_on_the_weights(model):
    run(model)
    traced = torch.jit.trace(model, IMAGE, check_trace=False)
    assert {len(stage._decay_cache) for stage in model.layers} == {1}
    with torch.no_grad():
        model.layers[0][0].op.to_k[0].weight.mul_(2)
        again = torch.jit.trace(model, IMAGE, check_trace=False)
        assert traced(IMAGE)[0].equal(again(IMAGE)[0])
        torch.testing.assert_close(
            traced(IMAGE)[0], run_without_cache(model)[0], rtol=0, atol=1e-6
        )
    assert_fresh(model)


def test_fake_tensors_are_not_kept(model):
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        run(model, mode.from_tensor(IMAGE))
    assert_fresh(model)
