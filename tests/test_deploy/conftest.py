"""Makes the tiny models of this folder importable; predictions of one."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from tiny_models import make_image  # noqa: E402

from mmvheat import deploy  # noqa: E402

NAMES = {'b/one.png': (40, 60), 'two.png': (50, 30)}
# Corners of boxes; the last reaches over the border of both images.
BOXES = [[4.0, 6.5, 20.0, 30.0], [1.25, 2.0, 9.0, 11.0], [25, 20, 80, 90]]


@pytest.fixture(scope='session')
def predicted(tmp_path_factory):
    """What the command writes with ``--coco``, and what the runtime finds.

    The model finds the same in every image: three boxes of two classes, one
    of which has an oblique mask.
    """
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    root = tmp_path_factory.mktemp('predicted')
    ramp = np.add.outer(np.arange(28), np.arange(28)) / 54
    found = dict(
        boxes=np.array([BOXES], np.float32),
        scores=np.array([[0.9, 0.8, 0.4]], np.float32),
        labels=np.array([[1, 0, 1]]),
        masks=np.stack([ramp, ramp * 0 + 1, ramp.T])[None].astype('float32'),
    )
    helper = onnx.helper
    nodes = [
        helper.make_node(
            'Constant', [], [name], value=onnx.numpy_helper.from_array(value)
        )
        for name, value in found.items()
    ]
    sides = [1, 'height', 'width', 3]
    image = helper.make_tensor_value_info('images', 2, sides)
    outputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape
        )
        for name, v in found.items()
    ]
    model = helper.make_model(
        helper.make_graph(nodes, 'constant', [image], outputs),
        opset_imports=[helper.make_opsetid('', 20)],
        ir_version=10,
    )
    meta = dict(task='detection', classes=['cat', 'dog'])
    helper.set_model_props(model, dict(mmvheat=json.dumps(meta)))
    onnx.save(model, root / 'model.onnx')
    truth = dict(images=[], annotations=[])
    truth['categories'] = [dict(id=7, name='dog'), dict(id=3, name='cat')]
    for number, (name, size) in enumerate(NAMES.items(), 11):
        path = root / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(make_image(*size)).save(path)
        truth['images'].append(
            dict(id=number, file_name=name, height=size[0], width=size[1])
        )
        truth['annotations'].append(
            dict(id=number, image_id=number, category_id=3, area=12, iscrowd=0)
            | dict(bbox=[1, 2, 3, 4], segmentation=[[1, 2, 4, 2, 4, 6, 1, 6]])
        )
    coco = root / 'instances.json'
    coco.write_text(json.dumps(truth))
    deploy.main(
        [str(root / 'model.onnx'), str(root / 'images')]
        + ['--out', str(root), '--coco', str(coco)]
    )
    session = deploy.Session(root / 'model.onnx')
    return root, {name: session(root / 'images' / name) for name in NAMES}
