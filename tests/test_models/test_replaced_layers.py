"""Layers inside a block may be hooked, pruned or replaced."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch.nn.utils import prune

IMAGE = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
CLASSIFIER = Path(__file__).parents[1] / 'test_tools/configs/classifier.py'
BLOCK = 'layers.1.1.'
LAYERS = [
    'patch_embed.norm1.1',
    BLOCK + 'norm1',
    BLOCK + 'op',
    BLOCK + 'op.dwconv',
    BLOCK + 'op.linear',
    BLOCK + 'op.to_k',
    BLOCK + 'op.to_k.0',
    BLOCK + 'op.out_norm',
    BLOCK + 'op.out_linear',
    BLOCK + 'norm2',
    BLOCK + 'mlp',
    BLOCK + 'mlp.fc1',
    BLOCK + 'mlp.fc2',
]


@pytest.fixture
def model(build, arch):
    return build(arch).eval()


@torch.no_grad()
def run(model, autocast=False):
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        return model(IMAGE)


def compute_gradients(model):
    model.zero_grad()
    sum(output.pow(3).mean() for output in model(IMAGE)).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def assert_near(actual, expected, tolerance):
    for a, e in zip(actual, expected):
        assert (a - e).norm() <= tolerance * e.norm()


@pytest.mark.parametrize('name', LAYERS)
@pytest.mark.parametrize('autocast', [False, True])
def test_forward_hooks_see_every_image(model, name, autocast):
    expected = run(model, autocast)
    seen = []
    model.get_submodule(name).register_forward_hook(
        lambda module, args, output: seen.append((output, output.clone()))
    )
    for count in (1, 2):
        outputs = run(model, autocast)
        assert len(seen) == count
    # Nobody writes to what a hook has kept.
    assert all(kept.equal(copied) for kept, copied in seen)
    assert_near(outputs, expected, 2e-2 if autocast else 1e-5)


@pytest.mark.parametrize('name', LAYERS)
def test_backward_hooks_see_the_gradient(model, name):
    model.train()
    expected = compute_gradients(model)
    grads = []
    model.get_submodule(name).register_full_backward_hook(
        lambda module, inputs, outputs: grads.append(outputs[0])
    )
    actual = compute_gradients(model)
    assert len(grads) == 1
    assert grads[0].abs().max() > 0
    for key, grad in expected.items():
        torch.testing.assert_close(actual[key], grad, rtol=1e-4, atol=1e-6)


class Doubled(nn.Module):
    """Like LoRA's layers this one has no weight of its own."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return 2 * self.layer(x)


@pytest.mark.parametrize(
    'name', [n for n in LAYERS if not n.endswith(('op', 'mlp', 'to_k'))]
)
def test_replaced_layers_are_called(model, name):
    expected = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in expected.get_submodule(name).parameters():
            parameter.mul_(2)
    before = run(model)
    model.set_submodule(name, Doubled(model.get_submodule(name)))
    outputs = run(model)
    assert_near(outputs, run(expected), 1e-5)
    assert not torch.allclose(outputs[3], before[3], rtol=1e-4)


@pytest.mark.parametrize('name', ['op.linear', 'op.to_k.0', 'mlp.fc2'])
def test_pruned_weights_follow_their_originals(model, name):
    layer = model.get_submodule(BLOCK + name)
    prune.l1_unstructured(layer, 'weight', amount=0.5)
    run(model)
    with torch.no_grad():
        layer.weight_orig.mul_(2)
    outputs = run(model)
    prune.remove(layer, 'weight')
    assert_near(outputs, run(copy.deepcopy(model)), 1e-5)


class Skipped(nn.Module):
    """What a block that was removed would have been."""

    def forward(self, x, freq_embed):
        return x


def test_blocks_may_be_removed_and_added(model):
    skipping = copy.deepcopy(model)
    skipping.layers[2][0] = Skipped()
    expected = run(skipping)
    removed = copy.deepcopy(model)
    del removed.layers[2][0]
    assert removed.layers[2].depth == model.layers[2].depth - 1
    for output, wanted in zip(run(removed), expected):
        assert output.equal(wanted)
    removed.layers[2].insert(0, model.layers[2][0])
    for output, wanted in zip(run(removed), run(model)):
        assert output.equal(wanted)
    for stage in removed.layers:
        stage.append(Skipped())
    for output, wanted in zip(run(removed), run(model)):
        assert output.equal(wanted)
    for stage, before in zip(removed.layers, model.layers):
        assert isinstance(stage.blocks[before.depth], Skipped)


def test_mmpretrain_lora_starts_from_an_official_file(official_run):
    pytest.importorskip('mmpretrain')
    from mmpretrain.models import LoRAModel

    expected = official_run.expected
    classifier = Config.fromfile(CLASSIFIER).model
    classifier.backbone.arch = expected['arch']
    classifier.backbone.img_size = expected['img_size']
    classifier.head.num_classes = expected['cls_logits'].shape[1]
    model = LoRAModel(
        module=dict(
            classifier,
            init_cfg=dict(
                type='Pretrained', checkpoint=str(official_run.path)
            ),
        ),
        rank=2,
        targets=[dict(type='op.linear'), dict(type='head.fc')],
    ).eval()
    logits = model.module.head(model.extract_feat(expected['cls_input']))
    torch.testing.assert_close(
        logits, expected['cls_logits'], rtol=0, atol=2e-4
    )
    assert model.module.head.fc.lora_up.weight.requires_grad


def test_mmpretrain_lora_trains():
    pytest.importorskip('mmpretrain')
    from mmpretrain.models import LoRAModel

    torch.manual_seed(0)
    model = LoRAModel(
        module=Config.fromfile(CLASSIFIER).model,
        rank=2,
        targets=[dict(type='op.linear'), dict(type='to_k.0')],
    )
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == 4 * 2 * 2  # blocks, layers, matrices
    optimizer = torch.optim.AdamW(trained, lr=0.1)
    before = model.eval()(IMAGE)
    for _ in range(2):  # B starts at zero, so A has a gradient after a step
        optimizer.zero_grad()
        model.train()(IMAGE).pow(2).mean().backward()
        optimizer.step()
    assert all(p.grad.abs().max() > 0 for p in trained)
    assert not torch.allclose(model.eval()(IMAGE), before)
