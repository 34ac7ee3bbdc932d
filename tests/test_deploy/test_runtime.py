"""The runtime resizes, pastes and refuses as the libraries would."""

import ast
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pycocotools import mask as coco_mask

from mmvheat import deploy

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
random = np.random.default_rng(0)


def make_image(height, width):
    noise = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 1)


def test_file_needs_numpy_alone_and_names_what_else():
    allowed = {'numpy', 'onnxruntime', 'PIL', *sys.stdlib_module_names}
    for node in ast.walk(ast.parse(Path(deploy.__file__).read_text())):
        if isinstance(node, ast.Import):
            assert {a.name.split('.')[0] for a in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            assert node.module.split('.')[0] in allowed


class TestResize:
    @pytest.mark.parametrize('size', [(40, 90), (75, 33), (30, 45), (9, 200)])
    @pytest.mark.parametrize('kernel', ['bilinear', 'bicubic'])
    def test_equals_opencv(self, size, kernel):
        image = make_image(60, 90)
        code = dict(bilinear=cv2.INTER_LINEAR, bicubic=cv2.INTER_CUBIC)
        expected = cv2.resize(image, size[::-1], interpolation=code[kernel])
        found = deploy.resize_image(image, size, kernel)
        assert np.abs(found.astype(int) - expected).max() <= 1

    @pytest.mark.parametrize('size', [(40, 90), (25, 33), (120, 7)])
    @pytest.mark.parametrize('kernel', ['bilinear', 'bicubic'])
    def test_smooth_equals_pillow(self, size, kernel):
        image = make_image(60, 90)
        code = getattr(Image.Resampling, kernel.upper())
        expected = np.asarray(Image.fromarray(image).resize(size[::-1], code))
        found = deploy.resize_image(image, size, kernel, smooth=True)
        assert np.abs(found.astype(int) - expected).max() <= 1

    @pytest.mark.parametrize('corners', [False, True])
    def test_label_map_is_that_of_enlarged_logits(self, corners):
        logits = random.normal(size=(5, 20, 31)).astype(np.float32)
        expected = F.interpolate(
            torch.from_numpy(logits)[None],
            (83, 150),
            mode='bilinear',
            align_corners=corners,
        )[0].argmax(0)
        found = deploy._label(logits, (83, 150), dict(align_corners=corners))
        assert (found == expected.numpy()).mean() > 0.9999

    @pytest.mark.parametrize('shape', [(375, 500), (500, 333), (30, 900)])
    def test_keeps_the_ratio_as_mmcv(self, shape):
        import mmcv

        meta = dict(resize=dict(by='within', size=[133, 80]))
        image = make_image(*shape)
        expected = mmcv.imrescale(image, (133, 80))
        found, size = deploy.prepare(image, meta)
        assert size == expected.shape[:2]
        found = found[: size[0], : size[1]].astype(int)
        assert np.abs(found - expected).max() <= 1

    @pytest.mark.parametrize('shape', [(70, 90), (90, 64), (33, 200)])
    def test_crops_as_mmpretrain(self, shape):
        from mmpretrain.datasets.transforms import CenterCrop, ResizeEdge

        resize = dict(scale=48, edge='short', backend='pillow')
        steps = [ResizeEdge(**resize, interpolation='bicubic'), CenterCrop(40)]
        image = make_image(*shape)
        results = dict(img=image)
        for step in steps:
            results = step(results)
        resize = dict(by='short', size=[48, 48], kernel='bicubic', smooth=True)
        meta = dict(resize=resize, crop=[40, 40], size=[40, 40])
        found, _ = deploy.prepare(image, meta)
        assert np.abs(found.astype(int) - results['img']).max() <= 1


def test_masks_are_pasted_as_mmdet_does():
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    masks = random.random((6, 28, 28)).astype(np.float32)
    corners = random.uniform(0, 60, (6, 2))
    boxes = np.hstack([corners, corners + random.uniform(2, 60, (6, 2))])
    boxes = boxes.clip(0, 90).astype(np.float32)
    expected, _ = _do_paste_mask(
        torch.from_numpy(masks)[:, None],
        torch.from_numpy(boxes),
        80,
        90,
        skip_empty=False,
    )
    for mask, box, probability in zip(masks, boxes, expected.numpy()):
        found = np.zeros((80, 90), bool)
        deploy._paste(found, mask, box, 0.5)
        sure = np.abs(probability - 0.5) > 1e-4
        assert (found == (probability >= 0.5))[sure].all()


@pytest.mark.parametrize('density', [0.0, 0.02, 0.5, 1.0])
def test_masks_are_encoded_as_pycocotools_does(density):
    mask = random.random((301, 77)) < density
    expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    found = deploy.encode_mask(mask)
    assert found['counts'] == expected['counts'].decode()
    assert found['size'] == expected['size']


@pytest.mark.parametrize('size', [(512, 700), (100, 100), (64, 65)])
def test_windows_are_those_of_mmseg(size):
    """By mmseg's rule, restated: the last windows end at the border."""
    (h, w), (hc, wc), (hs, ws) = size, (64, 96), (43, 64)
    expected = []
    for i in range(max(h - hc + hs - 1, 0) // hs + 1):
        for j in range(max(w - wc + ws - 1, 0) // ws + 1):
            bottom, right = min(i * hs + hc, h), min(j * ws + wc, w)
            expected.append((max(bottom - hc, 0), bottom))
            expected.append((max(right - wc, 0), right))
    found = []
    for rows, columns in deploy._list_windows(size, (hc, wc), (hs, ws)):
        found += [rows.indices(h)[:2], columns.indices(w)[:2]]
    assert found == expected


@pytest.fixture
def write_model(tmp_path):
    """Writes a model whose logits are the channels of the image."""

    def write(**meta):
        helper, kinds = onnx.helper, onnx.TensorProto
        sides = [1, 'height', 'width', 3]
        if meta.get('size'):
            sides[1:3] = meta['size']
        graph = helper.make_graph(
            [
                helper.make_node('Cast', ['images'], ['x'], to=kinds.FLOAT),
                helper.make_node(
                    'Transpose', ['x'], ['logits'], perm=[0, 3, 1, 2]
                ),
            ],
            'channels',
            [helper.make_tensor_value_info('images', kinds.UINT8, sides)],
            [
                helper.make_tensor_value_info(
                    'logits', kinds.FLOAT, [1, 3, None, None]
                )
            ],
        )
        opsets = [helper.make_opsetid('', 20)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        if meta:
            entry = model.metadata_props.add()
            entry.key, entry.value = 'mmvheat', json.dumps(meta)
        onnx.save(model, tmp_path / 'model.onnx')
        return tmp_path / 'model.onnx'

    return write


class TestSession:
    def test_windows_and_padding_leave_no_trace(self, write_model):
        image = make_image(150, 97)
        for meta in (
            dict(),
            dict(size=[160, 100]),
            dict(size=[40, 40], window=[[40, 40], [30, 30]]),
        ):
            path = write_model(task='segmentation', **meta)
            found = deploy.Session(path)(image)['label_map']
            assert (found == image.argmax(2)).all()

    @pytest.mark.parametrize(
        ('image', 'sentence'),
        [
            (np.zeros((9, 9), np.uint8), 'came (9, 9); repeat a gray'),
            (np.zeros((9, 9, 1), np.uint8), 'came (9, 9, 1); repeat a gray'),
            (np.zeros((9, 9, 4), np.uint8), 'came (9, 9, 4)'),
            (np.zeros((0, 9, 3), np.uint8), 'came (0, 9, 3)'),
            (np.zeros((9, 9, 3)), 'dtype uint8, 0 to 255, was expected'),
            (np.zeros((9, 9, 3), np.uint16), 'but came uint16; convert it'),
            (np.zeros((9, 9, 3), bool), 'but came bool; convert it'),
            ([[[0, 0, 0]]], 'but came a list; convert it'),
            (None, 'but came a NoneType'),
            (np.zeros((10000, 10000, 3), np.uint8), '10000x10000 pixels'),
        ],
        ids=lambda x: '' if isinstance(x, str) else str(np.shape(x)),
    )
    def test_refuses_in_a_sentence(self, write_model, image, sentence):
        session = deploy.Session(write_model(task='segmentation'))
        with pytest.raises(deploy.DeployError) as caught:
            session(image)
        assert sentence in str(caught.value)
        assert '\n' not in str(caught.value)

    @pytest.mark.parametrize(
        'meta',
        [
            dict(),
            dict(size=[64, 64]),
            dict(size=[40, 40], window=[[40, 40], [30, 30]]),
            dict(resize=dict(by='within', size=[96, 64])),
            dict(resize=dict(by='exact', size=[40, 30])),
            dict(resize=dict(by='short', size=[40, 40]), crop=[32, 32]),
            dict(resize=dict(by='long', size=[40, 40])),
        ],
        ids=str,
    )
    def test_tiny_and_oblong_images_are_images(self, write_model, meta):
        session = deploy.Session(write_model(task='segmentation', **meta))
        image = np.array([[[1, 9, 3]]], np.uint8)
        assert session(image)['label_map'].tolist() == [[1]]
        for axis in (0, 1):
            oblong = image.repeat(999, axis)
            label_map = session(oblong)['label_map']
            assert label_map.shape == oblong.shape[:2]
            assert (label_map == 1).all()

    def test_large_images_fit_or_are_refused(self, write_model, monkeypatch):
        image = np.zeros((10000, 10000, 3), np.uint8)
        image[..., 2] = 1
        path = write_model(task='segmentation', size=[64, 64])
        found = deploy.Session(path)(image[:, :500])
        assert (found['label_map'] == 2).all()
        window = dict(size=[64, 64], window=[[64, 64], [64, 64]])
        session = deploy.Session(write_model(task='segmentation', **window))
        monkeypatch.setattr(deploy, '_MAX_BYTES', 10**9)  # 1.2 GB are asked
        with pytest.raises(deploy.DeployError, match='3 classes of 10000x1'):
            session(image)
        resize = dict(by='short', size=[256, 256])
        path = write_model(task='segmentation', resize=resize, crop=[32, 32])
        with pytest.raises(deploy.DeployError, match='too oblong'):
            deploy.Session(path)(image[:1])

    def test_faulty_files_are_told_in_a_sentence(self, write_model, tmp_path):
        path = write_model()
        with pytest.raises(deploy.DeployError, match='not a whole one'):
            deploy.Session(path)
        data = path.read_bytes()
        for length in (0, 1, 20, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:length])
            with pytest.raises(deploy.DeployError, match='no complete ONNX'):
                deploy.Session(path)
        with pytest.raises(deploy.DeployError, match='does not exist'):
            deploy.Session(tmp_path / 'none.onnx')
        (tmp_path / 'a.png').write_text('no image')
        with pytest.raises(deploy.DeployError, match='cannot be read'):
            deploy.read_image(tmp_path / 'a.png')
        noise = random.integers(0, 256, (200, 200, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / 'a.png')
        data = bytearray((tmp_path / 'a.png').read_bytes())
        data[data.rindex(b'IDAT')] = 0  # the second half of the pixels
        (tmp_path / 'a.png').write_bytes(data)
        with pytest.raises(deploy.DeployError, match='broken PNG file'):
            deploy.read_image(tmp_path / 'a.png')

    def test_command_paints(self, write_model, tmp_path, capsys):
        path = write_model(task='segmentation', classes=['r', 'g', 'b'])
        image = np.zeros((40, 60, 3), np.uint8)
        image[:, 30:, 2] = 200
        Image.fromarray(image).save(tmp_path / 'a.png')
        out = tmp_path / 'out'
        deploy.main([str(path), str(tmp_path / 'a.png'), '--out', str(out)])
        label_map = np.asarray(Image.open(out / 'label_maps/a.png'))
        assert (label_map == image.argmax(2)).all()
        assert Image.open(out / 'vis/a.png').size == (60, 40)

    def test_command_leaves_faulty_images_out(
        self, write_model, tmp_path, monkeypatch, capsys
    ):
        path, folder = write_model(task='classification'), tmp_path / 'images'
        monkeypatch.setattr(
            deploy.Session, 'run', lambda *_: [np.array([0.2, 0.8])]
        )
        folder.mkdir()
        for name in ('a.png', 'c.png', 'd.png'):
            Image.fromarray(make_image(40, 60)).save(folder / name)
        (folder / 'b.png').write_text('no image')
        arguments = [str(path), str(folder), '--out', str(tmp_path / 'out')]
        with pytest.raises(deploy.DeployError, match='1 of 4 .*b.png cannot'):
            deploy.main(arguments)
        assert '3 images predicted' in capsys.readouterr().out
        written = tmp_path / 'out/predictions.json'
        assert list(json.loads(written.read_text())) == [
            'a.png',
            'c.png',
            'd.png',
        ]

        def stop(*_):
            raise KeyboardInterrupt

        (folder / 'b.png').unlink()
        written.unlink()
        monkeypatch.setattr(deploy, 'paint', stop)
        with pytest.raises(KeyboardInterrupt):
            deploy.main(arguments)
        assert list(json.loads(written.read_text())) == ['a.png']
        with pytest.raises(deploy.DeployError, match='boxes of a detector'):
            deploy.main([*arguments, '--coco', 'a.json'])

    def test_images_of_one_stem_and_earlier_pictures(
        self, write_model, tmp_path
    ):
        path, folder = write_model(task='segmentation'), tmp_path / 'images'
        names = ('a.bmp', 'a.png', 'b.png', 'vis/a.png')
        for value, name in enumerate(names):
            (folder / name).parent.mkdir(exist_ok=True)
            image = np.zeros((4, 5, 3), np.uint8)
            image[..., value % 3] = 9
            Image.fromarray(image).save(folder / name)
        for _ in range(2):  # the second run finds the pictures of the first
            out = folder / 'out'
            deploy.main([str(path), str(folder), '--out', str(out)])
            found = {
                str(p.relative_to(out / 'label_maps')): Image.open(p)
                for p in (out / 'label_maps').rglob('*.png')
            }
            values = {n: np.unique(p).tolist() for n, p in found.items()}
            assert values == {
                'a.bmp.png': [0], 'a.png.png': [1], 'b.png': [2],
                'vis/a.png': [0],
            }  # fmt: skip
        assert len(deploy.list_images(out / 'vis', out)) == 4
