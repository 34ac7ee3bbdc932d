"""Files run in onnxruntime, and without our code, as the models do."""

import copy
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_models import (
    SMALLEST,
    build_classifier,
    build_detector,
    build_segmentor,
    make_image,
    predict,
)

pytestmark = pytest.mark.slow
for package in ('onnx', 'onnxscript', 'onnxruntime'):
    pytest.importorskip(package)

ALONE = """
import sys, torch
image = torch.load(sys.argv[2])
found = torch._inductor.aoti_load_package(sys.argv[1])(image)
assert not [m for m in sys.modules if m in ('mmvheat', 'mmengine')]
torch.save(list(found), sys.argv[3])
"""


@pytest.mark.parametrize(
    ('name', 'levels', 'dynamic'),
    [('mask-rcnn_r50_fpn', 3, True), ('retinanet_r50_fpn', 5, False)],
)
def test_file_finds_what_mmdet_finds(name, levels, dynamic, tmp_path):
    from mmvheat.deploy import Session
    from mmvheat.export import build_program, export

    # Two maps, of which the neck makes the others of the pyramid.
    model = build_detector(name, stages=2, levels=levels)
    path = tmp_path / 'model.onnx'
    meta = dict(task='detection', classes=['a', 'b', 'c'])
    image = make_image()
    export(
        build_program(model),
        path,
        size=image.shape[:2],
        dynamic=dynamic,
        meta=meta,
        sample=image[None],
    )
    session = Session(path)
    assert session.meta['classes'] == ['a', 'b', 'c']
    for size in [(96, 128), (75, 161)] if dynamic else [(96, 128)]:
        image = make_image(*size)
        expected = predict(model, image).pred_instances
        corners = expected.bboxes
        expected = expected[(corners[:, 2:] > corners[:, :2]).all(1)]
        found = session(image)
        np.testing.assert_allclose(found['scores'], expected.scores, atol=1e-4)
        np.testing.assert_allclose(found['boxes'], expected.bboxes, atol=5e-2)
        np.testing.assert_array_equal(found['labels'], expected.labels)


@pytest.mark.parametrize('format', ['onnx', 'torch-export'])
def test_any_number_of_images(format, tmp_path):
    from mmvheat.export import build_program, export
    from mmvheat.export.write import load

    model, path = build_classifier(), tmp_path / 'model'
    program = build_program(model)
    export(program, path, format=format, size=(64, 64), batch=True)
    run = load(path, format)
    for count in (1, 5):
        images = [make_image(64, 64) // (i + 1) for i in range(count)]
        images = torch.from_numpy(np.stack(images))
        (scores,) = run(images)
        x = model.data_preprocessor(
            dict(inputs=images.permute(0, 3, 1, 2).flip(1))
        )['inputs']
        expected = model(x, mode='tensor').softmax(1)
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)


def test_backbone_compiled_ahead_runs_without_our_code(tmp_path):
    from mmvheat.export.programs import Backbone
    from mmvheat.models import vHeat

    model = vHeat(arch=SMALLEST['arch'], img_size=64)
    for stage in model.layers[1:3]:  # blocks of the first and last stage
        del stage[0]
    program = Backbone(model)
    check_package(program, torch.randn(1, 3, 64, 64), (64, 64), tmp_path)


def test_segmentor_compiled_ahead_runs_without_our_code(tmp_path):
    from mmvheat.export import build_program

    # Four stages are compiled above, and recorded below.
    program = build_program(build_segmentor(stages=2))
    image = torch.from_numpy(make_image(32, 48))[None]
    check_package(program, image, (32, 48), tmp_path)


def check_package(program, image, size, folder):
    """Compare a package in a process without our code with the program."""
    from mmvheat.export import export

    path = folder / 'model.pt2'
    export(copy.deepcopy(program), path, format='aoti', size=size)
    torch.save(image, folder / 'image.pt')
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    subprocess.run(
        [sys.executable, '-c', ALONE, path]
        + [folder / 'image.pt', folder / 'found.pt'],
        check=True,
        cwd=folder,
        env=env,
    )
    found = torch.load(folder / 'found.pt')
    for output, expected in zip(found, program(image), strict=True):
        torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-3)


def test_torch_compile_leaves_nothing_of_a_segmentor_to_our_code():
    """``fullgraph`` refuses whatever would go back to Python.

    What the compiler makes of it is tested above.
    """
    from mmvheat.export import build_program

    program = build_program(build_segmentor())
    image = torch.from_numpy(make_image(64, 96))[None]
    compiled = torch.compile(program, fullgraph=True, backend='aot_eager')
    with torch.no_grad():
        (found,), (expected,) = compiled(image), program(image)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
