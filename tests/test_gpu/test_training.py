"""Training in mixed precision, compiled, and repeated bit by bit."""

import copy

import pytest
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from mmvheat.engine import BFloat16OptimWrapper

pytestmark = pytest.mark.gpu
IMAGES = torch.randn(4, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def fit(model, images, wrap=OptimWrapper, steps=20):
    """Learn what another network computes; gives the losses."""
    with torch.no_grad():
        teacher = copy.deepcopy(model).eval()
        targets = [1 + output.roll(1, 0) for output in teacher(images)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-6)
    wrapper = wrap(optimizer=optimizer)
    losses = []
    for _ in range(steps):
        with wrapper.optim_context(model):
            outputs = model(images)
        loss = sum(map(torch.nn.functional.mse_loss, outputs, targets))
        wrapper.update_params(loss)
        losses.append(loss.item())
    return losses


def wrap_fp16(optimizer):
    # By default the scale starts so high that the first steps overflow.
    return AmpOptimWrapper(
        optimizer=optimizer, dtype='float16', loss_scale=dict(init_scale=1e3)
    )


@pytest.mark.parametrize('wrap', [BFloat16OptimWrapper, wrap_fp16])
def test_amp_learns_as_double_precision(build, arch, device, check, wrap):
    if device == 'cpu' and wrap is wrap_fp16:
        pytest.skip('AmpOptimWrapper runs on a GPU only')
    model = build(arch).train()
    exact = fit(copy.deepcopy(model).double(), IMAGES.double())
    model.to(device)
    losses = fit(model, IMAGES.to(device), wrap)
    assert losses[-1] < 0.9 * losses[0]
    check(losses, exact, 0.05)
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.isfinite().all()


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('wrap', [OptimWrapper, BFloat16OptimWrapper])
def test_training_repeats_bit_by_bit(
    build, arch, device, state, deterministic, wrap, with_cp
):
    runs = []
    for _ in range(2):
        model = build(arch, drop_path_rate=0.5, with_cp=with_cp).to(device)
        losses = fit(model.train(), IMAGES.to(device), wrap, steps=5)
        runs.append((losses, model.state_dict().values()))
    assert runs[0][0] == runs[1][0]
    assert all(a.equal(b) for a, b in zip(runs[0][1], runs[1][1]))


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('training', [False, True])
def test_compiled_equals_eager(
    build, device, check, fresh_compiler, training, dtype
):
    model = build('post_norm').to(device).train(training)
    # Kernels for a CPU take minutes to compile, and tests/test_models does.
    backend = 'inductor' if device == 'cuda' else 'aot_eager'
    compiled = torch.compile(
        model, fullgraph=True, dynamic=False, backend=backend
    )
    runs = []
    for network in (model, compiled):
        model.zero_grad()
        half = dtype != torch.float32
        with (
            torch.set_grad_enabled(training),
            torch.autocast(device, dtype, enabled=half),
        ):
            outputs = network(IMAGES.to(device))
        if training:
            sum(o.pow(3).mean() for o in outputs).backward()
        gradients = [p.grad for p in model.parameters() if training]
        runs.append([*outputs, *gradients])
    # Compiled, half precision rounds elsewhere.
    bound = 0.1 if half else 1e-4
    for got, expected in zip(runs[1], runs[0]):
        check(got, expected, bound)


@pytest.mark.timeout(600)
@pytest.mark.parametrize('name', ['vheat-t', 'swin-t', 'timm-convnext-t'])
def test_steps_of_the_benchmark_compile(measure, cuda, name):
    """The benchmark, which runs alone, finds the programs in a cache."""
    options = '--sizes', '4x800x1344', '--dtypes', 'bf16', '--repeats', 1
    measure(f'compile-{name}', '--models', f'{name}+compile',
              '--channels-last', *options, tables=False)  # fmt: skip


@pytest.mark.parametrize('amp', ['bf16', 'fp16'])
def test_detector_learns_in_mixed_precision(train, read_scalars, device, amp):
    """RoIAlign and NMS of mmcv, masks, evaluation."""
    if device == 'cpu' and amp == 'fp16':
        pytest.skip('fp16 with a loss scale needs a GPU')
    work_dir = train(
        'mask-rcnn_vheat-n_fpn_2e_digit-scenes.py',
        'model.backbone.init_cfg=None',
        'train_cfg.max_epochs=3',
        'train_cfg.val_interval=3',
        options=['--amp', amp],
        ranks=1,
    )
    losses = read_scalars(work_dir, 'loss')
    assert losses[-1] < 0.9 * losses[0]
    weights = torch.load(work_dir / 'epoch_3.pth', weights_only=False)
    assert all(v.isfinite().all() for v in weights['state_dict'].values())
