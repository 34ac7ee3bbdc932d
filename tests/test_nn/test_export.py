"""Exported layers give what eager execution gives, at any size."""

import warnings

import pytest
import torch

from mmvheat.nn import (
    DampedWavePropagator,
    FractionalHeatPropagator,
    HeatConduction2d,
    HeatConduction3d,
    HeatPropagator,
    TailPropagator,
)

C = 6
LAWS = dict(
    heat=HeatPropagator,
    fractional=FractionalHeatPropagator,
    tail=TailPropagator,
    wave=DampedWavePropagator,
)
# With these and those in ONNX, which torch.export records as well, every law
# is recorded with a k of every shape: of frequencies, of images, of neither.
FAST = ('tail', 'vector')
SLOW = [
    *(('fractional', 'freq_embed'), ('tail', 'freq_embed')),
    *(('heat', 'input'), ('tail', 'input'), ('wave', 'input')),
    *(('heat', 'scalar'), ('fractional', 5)),
]
PROGRAMS = [pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW]
PROGRAMS.append(FAST)
ONNX = [
    *(('heat', 'freq_embed'), ('wave', 'freq_embed')),
    *(('fractional', 'input'), ('tail', 'vector'), ('wave', 'scalar')),
    ('tail', 5),
]


@pytest.fixture(autouse=True)
def state():
    """Programs hold the plain operators whatever the state is."""


def make_layer(law, k, cls=HeatConduction2d):
    torch.manual_seed(0)
    layer = cls(C, 6, LAWS[law](C), k).eval().requires_grad_(False)
    for parameter in layer.parameters():
        parameter += 0.3 * torch.randn_like(parameter)
    return layer


def make_features(batch, *sizes):
    generator = torch.Generator().manual_seed(sizes[0])
    return torch.randn(batch, C, *sizes, generator=generator)


def export(layer, sizes):
    dims = {0: torch.export.Dim('batch', min=1, max=64)}
    for i in range(len(sizes)):
        dims[i + 2] = torch.export.Dim(f'n{i}', min=2, max=512)
    program = torch.export.export(
        layer, (make_features(2, *sizes),), dynamic_shapes=(dims,)
    )
    return program.module()


@pytest.mark.parametrize(('law', 'k'), PROGRAMS)
def test_programs_of_images_equal_eager(law, k):
    layer = make_layer(law, k)
    program = export(layer, (8, 11))
    for shape in ((1, 6, 6), (3, 5, 12), (2, 30, 7)):
        x = make_features(*shape)
        torch.testing.assert_close(program(x), layer(x), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('law', 'k'), [('heat', 'freq_embed'), ('wave', 'scalar')]
)
def test_programs_of_volumes_equal_eager(law, k):
    layer = make_layer(law, k, HeatConduction3d)
    program = export(layer, (4, 7, 5))
    for shape in ((1, 6, 6, 6), (2, 3, 9, 4)):
        x = make_features(*shape)
        torch.testing.assert_close(program(x), layer(x), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(('law', 'k'), ONNX)
def test_onnx_programs_equal_eager(law, k, tmp_path):
    for package in ('onnx', 'onnxscript'):
        pytest.importorskip(package)
    onnxruntime = pytest.importorskip('onnxruntime')
    layer = make_layer(law, k)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the exporter about itself
        torch.onnx.export(
            layer,
            (make_features(2, 8, 11),),
            dynamo=True,
            verbose=False,
            input_names=['x'],
            dynamic_shapes=[{0: 'batch', 2: 'height', 3: 'width'}],
        ).save(tmp_path / 'layer.onnx')
    session = onnxruntime.InferenceSession(
        str(tmp_path / 'layer.onnx'), providers=['CPUExecutionProvider']
    )
    for shape in ((1, 6, 6), (3, 5, 12), (2, 30, 7)):
        x = make_features(*shape)
        (y,) = session.run(None, {'x': x.numpy()})
        torch.testing.assert_close(
            torch.from_numpy(y), layer(x), rtol=0, atol=1e-4
        )
