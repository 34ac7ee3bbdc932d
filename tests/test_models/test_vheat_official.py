"""The backbone against recorded runs of the official model."""

import pytest
import torch
from mmengine.registry import MODELS

import mmvheat  # noqa: F401


@pytest.fixture
def model(official_run):
    """A downstream backbone with the weights of the official run."""
    model = build(official_run, official_run.expected['target_size'])
    weights = {**official_run.weights, **official_run.expected['outnorm']}
    model.load_state_dict(weights, strict=True)
    return model


def build(official_run, img_size, **kwargs):
    return MODELS.build(
        dict(
            type='vHeat',
            arch=official_run.expected['arch'],
            img_size=img_size,
            drop_path_rate=0.0,
            **kwargs,
        )
    )


def test_loading_pads_the_frequency_embeddings(model, official_run):
    expected = official_run.expected['padded_freq_embed']
    for freq_embed, padded in zip(model.freq_embed, expected):
        assert freq_embed.equal(padded)


@pytest.mark.parametrize('grad', [False, True], ids=['cached', 'with grad'])
def test_outputs_equal_the_official_model(model, official_run, grad):
    model.eval()
    runs = official_run.expected['downstream']
    assert len({run['input'].shape for run in runs}) == 3
    for run in runs + runs[:1]:
        with torch.set_grad_enabled(grad):
            outputs = model(run['input'])
        assert len(outputs) == len(run['outputs']) == 4
        for output, expected in zip(outputs, run['outputs']):
            torch.testing.assert_close(output, expected, rtol=0, atol=2e-4)


def test_classification_features_equal_the_official_model(official_run):
    expected = official_run.expected
    model = build(official_run, expected['img_size'], out_indices=(3,))
    model.load_state_dict(official_run.weights, strict=False)
    model.eval()
    model.outnorm3 = torch.nn.Identity()  # norms are downstream
    (output,) = model(expected['cls_input'])
    torch.testing.assert_close(
        output, expected['cls_features'], rtol=0, atol=2e-4
    )


@pytest.mark.parametrize('with_cp', [False, True])
def test_gradients_equal_the_official_model(model, official_run, with_cp):
    expected = official_run.expected['grad']
    for stage in model.layers:
        stage.with_cp = with_cp
    model.train()
    image = official_run.expected['downstream'][-1]['input']
    image = image.clone().requires_grad_()

    loss = sum(output.square().mean() for output in model(image))
    loss.backward()

    torch.testing.assert_close(loss, expected['loss'])
    assert relative_error(image.grad, expected['input']) <= 1e-3
    parameters = dict(model.named_parameters())
    assert len(expected['params']) >= 9
    for name, gradient in expected['params'].items():
        error = relative_error(parameters[name].grad, gradient)
        assert error <= 1e-3, name


@pytest.mark.parametrize(
    ('dtype', 'bound'), [(torch.bfloat16, 3e-2), (torch.float16, 4e-3)]
)
def test_half_precision_stays_near_the_official_model(
    model, official_run, dtype, bound
):
    model.eval()
    run = official_run.expected['downstream'][0]
    with torch.no_grad(), torch.autocast('cpu', dtype=dtype):
        outputs = model(run['input'])
    for output, expected in zip(outputs, run['outputs']):
        error = (output - expected).norm() / expected.norm()
        assert error <= bound


def relative_error(value, expected):
    return (value - expected).abs().max() / expected.abs().max()
