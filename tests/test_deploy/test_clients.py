"""Programs that people already use read what we write as it was meant.

Packages that the environment lacks (docs/deployment.md says which) skip.
"""

import json

import numpy as np
import pytest
from tiny_models import build_detector, build_segmentor, make_image, predict

from mmvheat import deploy


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
    assert len(dataset) == len(expected)
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
    assert len(dataset) == len(expected)
    for sample in dataset:
        name = sample.filepath.removeprefix(f'{root}/images/')
        height, width = expected[name]['masks'].shape[1:]
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
