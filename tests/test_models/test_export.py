"""Exported programs give what eager execution gives, at any size."""

import copy
import io
import re
import runpy
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

ROOT = Path(__file__).parents[2]
SMALLEST = dict(
    embed_dims=8, depths=(1, 1, 1, 1), post_norm=True, layer_scale=0.1
)
STAGES = (0, 1, 3)
# Frequency grid of the embeddings, resized ones, odd and oblong ones.
SIZES = [(64, 64), (72, 104), (33, 47), (65, 129), (200, 40)]


@pytest.fixture(autouse=True)
def state():
    """Programs hold the plain forwards whatever the state is."""


@pytest.fixture(scope='module')
def model():
    from mmvheat.models import vHeat

    torch.manual_seed(0)
    model = vHeat(arch=SMALLEST, img_size=64, out_indices=STAGES)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval().requires_grad_(False)


def make_image(height, width, batch=1):
    generator = torch.Generator().manual_seed(height)
    return torch.randn(batch, 3, height, width, generator=generator)


@pytest.mark.slow
def test_sizes_may_have_bounds(model):
    # torch assumes of a symbolic size that it is not 1, and 32 pixels are one
    # in the last stage.
    dims = {
        0: torch.export.Dim('batch', min=1, max=64),
        2: torch.export.Dim('height', min=33, max=2048),
        3: torch.export.Dim('width', min=33, max=2048),
    }
    program = torch.export.export(
        model, (make_image(72, 104, batch=2),), dynamic_shapes=(dims,)
    )
    for size in SIZES:
        for batch in (1, 3):
            image = make_image(*size, batch=batch)
            assert_equal(program.module()(image), model(image), 1e-5)


def assert_equal(outputs, expected, tolerance):
    assert len(outputs) == len(expected) == len(STAGES)
    for output, eager in zip(outputs, expected):
        torch.testing.assert_close(
            torch.as_tensor(output), eager, rtol=0, atol=tolerance
        )


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(ROOT / 'tools/deployment/export_onnx.py'))


@pytest.fixture(scope='module')
def exported(model, tool, tmp_path_factory):
    """What the command does: its file, its words, torch's program."""
    for package in ('mmdet', 'onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp('onnx')
    (folder / 'config.py').write_text(
        "default_scope = 'mmdet'\n"
        "model = dict(backbone=dict(type='vHeat', img_size=64, "
        f'out_indices={STAGES}, arch={SMALLEST!r}))\n'
    )
    weights = {f'backbone.{k}': v for k, v in model.state_dict().items()}
    torch.save(dict(state_dict=weights), folder / 'detector.pth')
    target = folder / 'out' / 'backbone.onnx'
    target.parent.mkdir()
    programs, said = [], io.StringIO()
    export = torch.export.export

    def keep(*args, **kwargs):
        programs.append(export(*args, **kwargs))
        return programs[-1]

    argv = ['export_onnx.py', folder / 'config.py', target]
    argv += ['--checkpoint', folder / 'detector.pth']
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setattr('sys.argv', list(map(str, argv)))
        patch.setattr(torch.export, 'export', keep)
        tool['main']()
    assert [p.name for p in target.parent.iterdir()] == [target.name]
    return SimpleNamespace(
        file=target, said=said.getvalue(), program=programs[0].module()
    )


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('batch', [1, 3])
def test_exported_program_equals_eager(model, exported, size, batch):
    image = make_image(*size, batch=batch)
    assert_equal(exported.program(image), model(image), 1e-5)


@pytest.fixture(scope='module')
def session(exported):
    import onnxruntime

    return onnxruntime.InferenceSession(
        str(exported.file), providers=['CPUExecutionProvider']
    )


# 32 pixels are one in the last stage, where interpolation has its traps.
@pytest.mark.parametrize('size', SIZES + [(32, 32), (32, 100)], ids=str)
@pytest.mark.parametrize('batch', [1, 3])
def test_onnx_program_equals_eager(model, session, size, batch):
    image = make_image(*size, batch=batch)
    outputs = session.run(None, {'images': image.numpy()})
    assert_equal(outputs, model(image), 1e-4)


def test_onnx_program_names_its_values(exported):
    import onnx

    graph = onnx.load(exported.file).graph
    (image,) = graph.input
    assert image.name == 'images'
    dims = [
        d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim
    ]
    assert dims == ['batch', 3, 'height', 'width']
    assert [o.name for o in graph.output] == [f'stage{i}' for i in STAGES]


class TestCommand:
    @pytest.fixture
    def run(self, tool, monkeypatch, capsys):
        """Runs the command and returns its exit code and what it said."""

        def run(*args):
            monkeypatch.setattr(
                'sys.argv', ['export_onnx.py', *map(str, args)]
            )
            code = 0
            try:
                tool['run_main'](tool['main'])
            except SystemExit as error:
                code = error.code
            captured = capsys.readouterr()
            return code, captured.out + captured.err

        return run

    def test_tells_what_it_has_written(self, exported):
        assert re.fullmatch(
            rf'{exported.file}: .*config.py with .*detector.pth, equal to the '
            r'backbone to \d\S* in onnxruntime',
            exported.said.splitlines()[-1],
        )

    def test_a_program_that_differs_is_not_written(
        self, tool, model, exported, tmp_path, monkeypatch
    ):
        class Program:
            """What the exporter gives for the unchanged model."""

            @staticmethod
            def save(path):
                Path(path).write_bytes(exported.file.read_bytes())

        monkeypatch.setattr(torch.onnx, 'export', lambda *_, **__: Program)
        changed = copy.deepcopy(model)
        changed.outnorm3.bias += 0.01
        with pytest.raises(tool['UserError'], match='differs by .* nothing'):
            tool['export'](changed, tmp_path / 'model.onnx')
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ('model', 'options', 'sentence'),
        [
            ('huge', (), 'huge is neither a .py config nor one of the'),
            ('none.py', (), 'config none.py does not exist'),
            ('tiny', ('--checkpoint', 'none.pth'), 'none.pth'),
            ('tiny', ('--img-size', '8'), 'at least 32 pixels, but got 8'),
        ],
    )
    def test_faults_are_told_in_a_sentence(
        self, run, tmp_path, model, options, sentence
    ):
        code, said = run(model, tmp_path / 'out.onnx', *options)
        assert code == 1
        assert said.startswith('error: ')
        assert sentence in said
        assert not list(tmp_path.iterdir())

    def test_other_backbones_are_refused(self, run, tmp_path):
        config = tmp_path / 'config.py'
        config.write_text(
            "default_scope = 'mmdet'\n"
            "model = dict(backbone=dict(type='mmdet.ResNet', depth=18))\n"
        )
        code, said = run(config, tmp_path / 'out.onnx')
        assert code == 1
        assert 'is a ResNet, but a vHeat is expected' in said

    def test_existing_targets_are_kept(self, run, tmp_path):
        target = tmp_path / 'out.onnx'
        target.write_text('mine')
        code, said = run('tiny', target)
        assert code == 1
        assert 'pass --force' in said
        assert target.read_text() == 'mine'
