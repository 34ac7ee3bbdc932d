"""Exported programs give what eager execution gives, at any size."""

import copy
import re
from pathlib import Path

import pytest
import torch

from mmvheat import cli
from mmvheat.errors import UserError

SMALLEST = dict(
    embed_dims=8, depths=(1, 1, 1, 1), post_norm=True, layer_scale=0.1
)
# Frequency grid of the embeddings, resized ones, odd and oblong ones.
SIZES = [(64, 64), (72, 104), (33, 47), (65, 129), (200, 40)]


@pytest.fixture(autouse=True)
def state():
    """Programs hold the plain forwards whatever the state is."""


@pytest.fixture(scope='module')
def model():
    from mmvheat.models import vHeat

    # With one downsampling; the slow tests of tests/test_deploy export models
    # of four stages.
    torch.manual_seed(0)
    model = vHeat(arch=SMALLEST, img_size=64, out_indices=(0, 1))
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval().requires_grad_(False)


def make_image(height, width, batch=1):
    generator = torch.Generator().manual_seed(height)
    return torch.randn(batch, 3, height, width, generator=generator)


@pytest.fixture(scope='module')
def program(model):
    # torch assumes of a symbolic size that it is not 1, and 8 pixels are one
    # in the last stage.
    dims = {
        0: torch.export.Dim('batch', min=1, max=64),
        2: torch.export.Dim('height', min=9, max=2048),
        3: torch.export.Dim('width', min=9, max=2048),
    }
    program = torch.export.export(
        model, (make_image(72, 104, batch=2),), dynamic_shapes=(dims,)
    )
    return program.module()


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('batch', [1, 3])
def test_exported_program_equals_eager(model, program, size, batch):
    image = make_image(*size, batch=batch)
    for output, expected in zip(program(image), model(image)):
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)


def export_backbone(model, target):
    from mmvheat.export import export
    from mmvheat.export.programs import Backbone

    return export(
        Backbone(model), target, size=(64, 64), dynamic=True, batch=True
    )


@pytest.fixture(scope='module')
def onnx_file(model, tmp_path_factory):
    for package in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(package)
    target = tmp_path_factory.mktemp('onnx') / 'backbone.onnx'
    assert export_backbone(model, target) <= 1e-4
    assert [p.name for p in target.parent.iterdir()] == ['backbone.onnx']
    return target


@pytest.fixture(scope='module')
def session(onnx_file):
    import onnxruntime

    return onnxruntime.InferenceSession(
        str(onnx_file), providers=['CPUExecutionProvider']
    )


# 8 pixels are one in the last stage, where interpolation has its traps.
@pytest.mark.parametrize('size', SIZES + [(8, 8), (8, 100)], ids=str)
@pytest.mark.parametrize('batch', [1, 3])
def test_onnx_program_equals_eager(model, session, size, batch):
    image = make_image(*size, batch=batch)
    outputs = session.run(None, {'images': image.numpy()})
    for output, expected in zip(outputs, model(image)):
        torch.testing.assert_close(
            torch.from_numpy(output), expected, rtol=0, atol=1e-4
        )


def test_onnx_program_names_its_values(onnx_file):
    import onnx

    graph = onnx.load(onnx_file).graph
    (image,) = graph.input
    assert image.name == 'images'
    dims = [
        d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim
    ]
    assert dims == ['batch', 3, 'height', 'width']
    assert [o.name for o in graph.output] == ['stage0', 'stage1']


class TestCommand:
    @pytest.fixture
    def run(self, monkeypatch, capsys):
        """Runs the command and returns its exit code and what it said."""

        def run(*args):
            monkeypatch.setattr(
                'sys.argv', ['export.py', *map(str, args), '--backbone']
            )
            code = 0
            try:
                cli.run('export')
            except SystemExit as error:
                code = error.code
            captured = capsys.readouterr()
            return code, captured.out + captured.err

        return run

    @pytest.fixture
    def config(self, tmp_path):
        pytest.importorskip('mmdet')
        path = tmp_path / 'config.py'
        arch = dict(SMALLEST)
        path.write_text(
            "default_scope = 'mmdet'\n"
            "model = dict(backbone=dict(type='vHeat', img_size=64, "
            f'out_indices=(0,), arch={arch!r}))\n'
        )
        return path

    @pytest.mark.slow
    def test_writes_config_and_checkpoint(
        self, run, config, model, tmp_path, monkeypatch
    ):
        import onnxruntime

        checkpoint = tmp_path / 'detector.pth'
        weights = {f'backbone.{k}': v for k, v in model.state_dict().items()}
        torch.save(dict(state_dict=weights), checkpoint)
        target = tmp_path / 'out.onnx'

        code, said = run(config, checkpoint, target, '--dynamic')

        assert code == 0
        assert re.search(r'out.onnx: .*, within \S+ of the backbone', said)
        session = onnxruntime.InferenceSession(
            str(target), providers=['CPUExecutionProvider']
        )
        image = make_image(75, 90)
        (output,) = session.run(['stage0'], {'images': image.numpy()})
        torch.testing.assert_close(
            torch.from_numpy(output), model(image)[0], rtol=0, atol=1e-4
        )

    def test_a_program_that_differs_is_not_written(
        self, model, onnx_file, tmp_path, monkeypatch
    ):
        from mmvheat.export import write

        class Program:
            """What the exporter gives for the unchanged model."""

            @staticmethod
            def save(path):
                Path(path).write_bytes(onnx_file.read_bytes())

        monkeypatch.setattr(write, 'record', lambda *_, **__: None)
        monkeypatch.setattr(write, 'translate', lambda *_, **__: Program)
        changed = copy.deepcopy(model)
        changed.outnorm1.bias += 0.01
        with pytest.raises(UserError, match='differs by .* nothing'):
            export_backbone(changed, tmp_path / 'model.onnx')
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ('model', 'options', 'sentence'),
        [
            ('huge', (), 'huge is neither a .py config nor one of the'),
            ('none.py', (), 'config none.py does not exist'),
            ('tiny', ('--img-size', '8'), 'at least 32 pixels, but got 8'),
            ('tiny', ('--size', '8', '64'), 'at least 32 pixels, but got 8'),
            ('tiny', ('--format=aoti', '--fp16'), 'are for --format onnx'),
            ('tiny', ('--int8',), 'leave out --backbone'),
        ],
    )
    def test_faults_are_told_in_a_sentence(
        self, run, tmp_path, model, options, sentence
    ):
        code, said = run(model, 'none', tmp_path / 'out.onnx', *options)
        assert code == 1
        assert said.startswith('error: ')
        assert sentence in said
        assert not list(tmp_path.iterdir())

    def test_missing_checkpoints_are_named(self, run, tmp_path):
        code, said = run('tiny', 'none.pth', tmp_path / 'out.onnx')
        assert code == 1
        assert 'none.pth' in said

    def test_other_backbones_are_refused(self, run, config, tmp_path):
        config.write_text(
            "default_scope = 'mmdet'\n"
            "model = dict(backbone=dict(type='mmdet.ResNet', depth=18))\n"
        )
        code, said = run(config, 'none', tmp_path / 'out.onnx')
        assert code == 1
        assert 'is a ResNet, but a vHeat is expected' in said

    def test_existing_targets_are_kept(self, run, tmp_path):
        target = tmp_path / 'out.onnx'
        target.write_text('mine')
        code, said = run('tiny', 'none', target)
        assert code == 1
        assert 'pass --force' in said
        assert target.read_text() == 'mine'
