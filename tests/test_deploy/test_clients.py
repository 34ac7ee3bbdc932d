"""Programs that people already use read what we write as it was meant.

Packages that the environment lacks (docs/deployment.md says which) skip.
"""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_models import build_detector, build_segmentor, make_image, predict

from mmvheat import deploy

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

NAMES = {'b/one.png': (40, 60), 'two.png': (50, 30)}
# Corners of boxes; the last reaches over the border of both images.
BOXES = [[4.0, 6.5, 20.0, 30.0], [1.25, 2.0, 9.0, 11.0], [25, 20, 80, 90]]


@pytest.fixture(scope='module')
def predicted(tmp_path_factory):
    """What the command writes with ``--coco``, and what the runtime finds.

    The model finds the same in every image: three boxes of two classes, one
    of which has an oblique mask.
    """
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


def write_annotations(root):
    """Predictions as annotations, as docs/deployment.md does it."""
    from pycocotools.coco import COCO

    results = COCO(root / 'instances.json').loadRes(str(root / 'results.json'))
    path = root / 'annotations/instances_default.json'
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results.dataset))
    return path


def check(found, expected):
    """Compare labels, boxes x, y, w, h and masks (N, H, W) in any order."""
    x1, y1, x2, y2 = expected['boxes'].T
    boxes = np.stack([x1, y1, x2 - x1, y2 - y1], 1)
    names = np.array(['cat', 'dog'])[expected['labels']]
    for (name, box, mask), *wanted in zip(
        sorted(found, key=lambda item: tuple(item[1])),
        *(x[np.lexsort(boxes.T[::-1])] for x in (names, boxes)),
        expected['masks'][np.lexsort(boxes.T[::-1])],
        strict=True,
    ):
        assert name == wanted[0]
        np.testing.assert_allclose(box, wanted[1], atol=1e-4)
        np.testing.assert_array_equal(mask, wanted[2])
        assert mask.any()


def test_pycocotools(predicted):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    root, expected = predicted
    results = COCO(write_annotations(root))
    names = {c['id']: c['name'] for c in results.dataset['categories']}
    for image in results.dataset['images']:
        entries = results.imgToAnns[image['id']]
        check(
            [
                (names[e['category_id']], e['bbox'], results.annToMask(e))
                for e in entries
            ],
            expected[image['file_name']],
        )
    # As their own truth they are found, each of them.
    found = results.loadRes(str(root / 'results.json'))
    for kind in ('bbox', 'segm'):
        evaluation = COCOeval(results, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(1)


def test_cvat(predicted):
    """CVAT reads COCO by datumaro."""
    datumaro = pytest.importorskip('datumaro')
    root, expected = predicted
    dataset = datumaro.Dataset.import_from(
        str(write_annotations(root)), 'coco_instances'
    )
    labels = dataset.categories()[datumaro.AnnotationType.label]
    assert len(dataset) == len(NAMES)
    for item in dataset:
        found = [
            (labels[a.label].name, a.get_bbox(), a.image)
            for a in item.annotations
            if a.type == datumaro.AnnotationType.mask
        ]
        entries = {k.removesuffix('.png'): v for k, v in expected.items()}
        masks = entries[item.id]['masks']
        assert len(found) == len(masks)
        for name, _, mask in found:
            (number,) = [i for i, m in enumerate(masks) if (m == mask).all()]
            label = ['cat', 'dog'][entries[item.id]['labels'][number]]
            assert name == label


@pytest.mark.slow
def test_fiftyone(predicted):
    fiftyone = pytest.importorskip('fiftyone')
    from fiftyone.utils.coco import add_coco_labels

    root, expected = predicted
    dataset = fiftyone.Dataset.from_dir(
        dataset_type=fiftyone.types.COCODetectionDataset,
        data_path=str(root / 'images'),
        labels_path=str(root / 'instances.json'),
        include_id=True,
    )
    add_coco_labels(
        dataset,
        'predictions',
        str(root / 'results.json'),
        dataset.info['categories'],
        label_type='segmentations',
        coco_id_field='coco_id',
    )
    assert len(dataset) == len(NAMES)
    for sample in dataset:
        name = sample.filepath.removeprefix(f'{root}/images/')
        height, width = NAMES[name]
        found = []
        for detection in sample.predictions.detections:
            box = detection.bounding_box * np.array([width, height] * 2)
            mask = np.zeros((height, width), bool)
            x, y = np.round(box[:2]).astype(int)
            part = detection.mask
            mask[y : y + part.shape[0], x : x + part.shape[1]] = part
            found.append((detection.label, box, mask))
        check(found, expected[name])
        scores = [d.confidence for d in sample.predictions.detections]
        np.testing.assert_allclose(scores, expected[name]['scores'])


def test_sahi(tmp_path, monkeypatch):
    """Two slices find what the model finds in either half."""
    pytest.importorskip('sahi')
    import torch
    from sahi import AutoDetectionModel
    from sahi.predict import get_sliced_prediction

    model = build_detector('faster-rcnn_r50_fpn')
    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(128, 96), keep_ratio=True),
        dict(type='PackDetInputs'),
    ]
    dataset = dict(dataset=dict(type='CocoDataset', pipeline=steps))
    cfg = model.cfg
    cfg.custom_imports = dict(imports=['mmvheat'])
    cfg.train_dataloader = cfg.test_dataloader = dataset
    cfg.visualizer = dict(type='DetLocalVisualizer')
    cfg.dump(tmp_path / 'config.py')
    meta = dict(dataset_meta=dict(classes=('a', 'b', 'c')))
    torch.save(
        dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'model.pth'
    )
    image = make_image(96, 256)
    sliced = AutoDetectionModel.from_pretrained(
        model_type='mmdet',
        model_path=str(tmp_path / 'model.pth'),
        config_path=str(tmp_path / 'config.py'),
        confidence_threshold=0.0,
        device='cpu',
    )
    result = get_sliced_prediction(
        image,
        sliced,
        slice_height=96,
        slice_width=128,
        overlap_height_ratio=0,
        overlap_width_ratio=0,
        perform_standard_pred=False,
        postprocess_type='NMS',
        postprocess_match_metric='IOU',
        postprocess_match_threshold=1.0,
    )
    found = [
        (e['score'], e['category_id'], *e['bbox'])
        for e in result.to_coco_predictions(image_id=1)
    ]
    expected = []
    for left in (0, 128):
        half = predict(model, image[:, left : left + 128]).pred_instances
        corners = half.bboxes  # some were clipped to nothing
        half = half[(corners[:, 2:] > corners[:, :2]).all(1)]
        x1, y1, x2, y2 = half.bboxes.T
        boxes = torch.stack([x1 + left, y1, x2 - x1, y2 - y1], 1)
        expected += zip(half.scores.tolist(), half.labels.tolist(), *boxes.T)
    assert len(expected) > 5
    np.testing.assert_allclose(sorted(found), sorted(expected), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize('task', ['segmentation', 'detection'])
def test_openvino(task, tmp_path):
    openvino = pytest.importorskip('openvino')
    pytest.importorskip('onnxscript')
    from mmvheat.export import build_program, export

    model = build_segmentor()
    if task == 'detection':
        model = build_detector('mask-rcnn_r50_fpn')
    path, image = tmp_path / 'model.onnx', make_image()
    meta = dict(task=task)
    export(build_program(model), path, size=image.shape[:2], meta=meta)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), 'CPU')
    found = compiled(image[None])
    session = deploy.Session(path)
    for name, expected in zip(session.outputs, session.run(image)):
        np.testing.assert_allclose(
            found[name][0], expected, rtol=1e-3, atol=1e-2
        )
