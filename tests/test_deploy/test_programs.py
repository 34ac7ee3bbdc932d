"""Programs predict what mmdet, mmseg and mmpretrain predict."""

import numpy as np
import pytest
import torch
from tiny_models import (
    DETECTORS,
    build_classifier,
    build_detector,
    build_segmentor,
    make_image,
    predict,
)


# A size that is no multiple of 32 is padded, behind the normalisation.
@pytest.mark.parametrize('size', [(96, 128), (75, 101)], ids=str)
@pytest.mark.parametrize('name', DETECTORS)
def test_detector_finds_what_mmdet_finds(name, size):
    from mmvheat import deploy
    from mmvheat.export import build_program

    model, image = build_detector(name), make_image(*size)
    expected = predict(model, image).pred_instances
    # mmdet keeps boxes that were clipped to nothing.
    corners = expected.bboxes
    expected = expected[(corners[:, 2:] > corners[:, :2]).all(1)]
    assert len(expected) > 5
    assert len(expected.scores.unique()) == len(expected)  # no tie

    program = build_program(model)
    outputs = program(torch.from_numpy(image)[None])
    found = {n: x[0].numpy() for n, x in zip(program.outputs, outputs)}
    found = deploy._finish_boxes(found, size, image, {}, 0.0)

    assert len(found['scores']) == len(expected)
    np.testing.assert_allclose(found['scores'], expected.scores, atol=1e-5)
    np.testing.assert_array_equal(found['labels'], expected.labels)
    np.testing.assert_allclose(found['boxes'], expected.bboxes, atol=1e-2)
    if 'masks' in found:
        same = found['masks'] == expected.masks.numpy()
        assert same.mean() > 0.999


def test_masks_pasted_inside_are_those_pasted_outside():
    from mmvheat import deploy
    from mmvheat.export import build_program

    model, image = build_detector('mask-rcnn_r50_fpn'), make_image()
    results = []
    for paste_masks in (False, True):
        program = build_program(model, paste_masks=paste_masks)
        outputs = program(torch.from_numpy(image)[None])
        found = {n: x[0].numpy() for n, x in zip(program.outputs, outputs)}
        results.append(
            deploy._finish_boxes(found, image.shape[:2], image, {}, 0.0)
        )
    same = results[0]['masks'] == results[1]['masks']
    assert results[0]['masks'].any()
    assert same.mean() > 0.999


@pytest.fixture(scope='module')
def segmentor():
    return build_segmentor()


@pytest.mark.parametrize('size', [(96, 128), (75, 101)], ids=str)
def test_segmentor_names_what_mmseg_names(segmentor, size):
    from mmvheat.export import build_program
    from mmvheat.export.programs import free_sizes

    image = make_image(*size)
    expected = predict(segmentor, image).seg_logits.data
    program = build_program(segmentor)
    images = torch.from_numpy(image)[None]
    torch.testing.assert_close(
        program(images)[0][0], expected, rtol=0, atol=1e-4
    )
    free_sizes(program)
    torch.testing.assert_close(
        program(images)[0][0], expected, rtol=0, atol=1e-4
    )


def test_fixed_decays_change_nothing_and_depend_on_nothing(segmentor):
    from mmvheat.export import build_program
    from mmvheat.export.programs import fix_decays

    program = build_program(segmentor)
    images = torch.from_numpy(make_image())[None]
    expected = program(images)[0]
    assert fix_decays(program, images.shape[1:3]) == 4
    for freq_embed in program.model.backbone.freq_embed:
        freq_embed.fill_(float('nan'))
    # Logits of 20; a CPU may multiply the one or the other by oneDNN.
    atol = 1e-6 * expected.abs().max().item()
    torch.testing.assert_close(program(images)[0], expected, rtol=0, atol=atol)


def test_heads_without_a_program_are_named(segmentor):
    from mmvheat.errors import UserError
    from mmvheat.export import build_program

    detector = build_detector('faster-rcnn_r50_fpn')
    detector.test_cfg.rcnn.nms.type = 'soft_nms'
    with pytest.raises(UserError, match='soft_nms has no program'):
        build_program(detector)
    del detector.roi_head
    with pytest.raises(UserError, match='FasterRCNN has no program'):
        build_program(detector)
    with pytest.raises(UserError, match='vHeat, for which there is no'):
        build_program(segmentor.backbone)


def test_a_network_of_gray_images_is_named():
    from mmvheat.errors import UserError
    from mmvheat.export import build_program

    model = build_classifier()
    model.backbone.patch_embed.conv1 = torch.nn.Conv2d(1, 4, 3)
    with pytest.raises(UserError, match='takes images of 1 channels'):
        build_program(model)


class Unrecordable(torch.nn.Module):
    def forward(self, x):
        return x[: int(x.sum())]


def test_what_cannot_be_recorded_is_named_with_its_module(segmentor):
    from mmvheat.errors import UserError
    from mmvheat.export import build_program
    from mmvheat.export.record import record

    program = build_program(segmentor)
    program.model.backbone.layers[0][0].norm1 = Unrecordable()
    sentence = r'backbone.layers.0.0.norm1 \(Unrecordable\) cannot be exported'
    with pytest.raises(UserError, match=sentence):
        record(program, (64, 64), False, False)


class Small(torch.nn.Module):
    """A program whose body holds one module."""

    outputs, task = ('maps',), 'segmentation'

    def __init__(self, module):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.ReLU(), module)

    def forward(self, images):
        return (self.body(images.float()),)


class Untranslatable(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)


def test_what_has_no_form_in_onnx_is_named_with_its_module(tmp_path):
    pytest.importorskip('onnxscript')
    from mmvheat.errors import UserError
    from mmvheat.export import export

    path = tmp_path / 'model.onnx'
    sentence = (
        r'aten._linalg_svd in the module body.1 \(Untranslatable\) canno'
    )
    with pytest.raises(UserError, match=sentence) as caught:
        export(Small(Untranslatable()), path, size=(32, 32))
    assert 'replace that module' in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_faults_of_onnxruntime_are_told_in_a_sentence(tmp_path):
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    from mmvheat.errors import UserError
    from mmvheat.export.write import load

    helper, path = onnx.helper, tmp_path / 'model.onnx'
    path.write_bytes(b'nothing')
    with pytest.raises(UserError, match='onnxruntime .* cannot run .* any si'):
        load(path, 'onnx')
    images = helper.make_tensor_value_info('images', 2, [1, 'h', 'w', 3])
    shape = helper.make_tensor('shape', 7, [1], [7])
    nodes = [
        helper.make_node('Constant', [], ['shape'], value=shape),
        helper.make_node('Reshape', ['images', 'shape'], ['x']),
    ]
    output = helper.make_tensor_value_info('x', 2, [7])
    graph = helper.make_graph(nodes, 'faulty', [images], [output])
    opsets = [helper.make_opsetid('', 20)]
    onnx.save(
        helper.make_model(graph, opset_imports=opsets, ir_version=10), path
    )
    run = load(path, 'onnx')
    with pytest.raises(UserError, match=r'\(1, 8, 8, 3\): .*Update') as caught:
        run(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    assert '\n' not in str(caught.value)
