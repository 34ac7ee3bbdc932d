"""Folders of the Hugging Face Hub give back the model, and run no code."""

import json
import sys

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import TRANSFORMS, init_default_scope
from safetensors.torch import load_file, save_file
from tiny_models import (
    build_classifier,
    build_detector,
    build_segmentor,
    make_image,
    predict,
)

from mmvheat.checkpoint import CheckpointError
from mmvheat.errors import UserError

ERRORS = (UserError, CheckpointError)
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 96), keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]


@pytest.fixture(scope='module')
def detector():
    model = build_detector('mask-rcnn_r50_fpn')
    model.dataset_meta = dict(classes=('a', 'b', 'c'), palette=[(1, 2, 3)] * 3)
    dataset = dict(type='CocoDataset', pipeline=PIPELINE)
    model.cfg.test_dataloader = ConfigDict(dataset=dataset)
    model.cfg.work_dir = '/home/somebody'
    return model


@pytest.fixture
def folder(detector, tmp_path):
    from mmvheat.export import write_snapshot

    write_snapshot(detector, tmp_path / 'model')
    return tmp_path / 'model'


def edit(folder, change):
    content = json.loads((folder / 'config.json').read_text())
    change(content['config'])
    (folder / 'config.json').write_text(json.dumps(content))


def test_folder_is_plain_and_read_by_others(detector, folder):
    assert sorted(p.name for p in folder.iterdir()) == [
        'README.md',
        'config.json',
        'model.safetensors',
    ]
    content = json.loads((folder / 'config.json').read_text())
    assert content['task'] == 'detection'
    assert content['classes'] == ['a', 'b', 'c']
    assert content['palette'] == [[1, 2, 3]] * 3
    assert 'somebody' not in json.dumps(content)
    weights = load_file(folder / 'model.safetensors')
    assert set(weights) == set(detector.state_dict())
    card = (folder / 'README.md').read_text()
    assert card.startswith('---\nlibrary_name: mmvheat\n')
    hub = pytest.importorskip('huggingface_hub')
    data = hub.ModelCard.load(folder / 'README.md').data
    assert data.pipeline_tag == 'object-detection'


def test_detector_finds_the_same_by_mmdets_own_function(detector, folder):
    from mmdet.apis import inference_detector

    from mmvheat.export import load_snapshot

    loaded, image = load_snapshot(folder), make_image()
    assert loaded.dataset_meta['classes'] == ['a', 'b', 'c']
    found = inference_detector(loaded, image[..., ::-1].copy()).pred_instances
    expected = predict(detector, image).pred_instances
    assert len(expected) > 5
    for key in ('bboxes', 'scores', 'labels', 'masks'):
        assert torch.equal(found[key], expected[key])


def test_segmentor_names_the_same(tmp_path):
    from mmvheat.export import load_snapshot, write_snapshot

    model, image = build_segmentor(), make_image()
    write_snapshot(model, tmp_path)
    found = predict(load_snapshot(tmp_path), image).seg_logits.data
    assert torch.equal(found, predict(model, image).seg_logits.data)


@torch.no_grad()
def test_classifier_is_one_of_timm_too(tmp_path):
    timm = pytest.importorskip('timm')
    import mmvheat.timm  # noqa: F401
    from mmvheat.export import load_snapshot, write_snapshot

    model = build_classifier()
    model.dataset_meta = dict(classes=list('abcde'))
    write_snapshot(model, tmp_path)
    images = torch.randn(2, 3, 96, 64)
    expected = model(images, mode='tensor')
    found = load_snapshot(tmp_path)(images, mode='tensor')
    assert torch.equal(found, expected)
    other = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    torch.testing.assert_close(other(images), expected, rtol=0, atol=1e-5)
    assert other.pretrained_cfg['label_names'] == list('abcde')
    assert other.pretrained_cfg['mean'][0] == pytest.approx(0.485)


PURE_PYTHON = """
from mmcv.transforms import LoadImageFromFile, Resize
from mmengine.config import read_base
from mmpretrain.datasets import CustomDataset, PackInputs
from mmpretrain.models import ClsDataPreprocessor, GlobalAveragePooling
from mmpretrain.models import ImageClassifier, LinearClsHead

from mmvheat.models import vHeat

default_scope = 'mmpretrain'
model = dict(
    type=ImageClassifier,
    backbone=dict(
        type=vHeat,
        arch=dict(
            embed_dims=8,
            depths=(1, 1, 1, 1),
            post_norm=True,
            layer_scale=0.1,
        ),
        img_size=64,
        out_indices=(3,),
    ),
    neck=dict(type=GlobalAveragePooling),
    head=dict(type=LinearClsHead, num_classes=5, in_channels=64),
    data_preprocessor=dict(type=ClsDataPreprocessor, to_rgb=True),
)
pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=Resize, scale=48),
    dict(type=PackInputs),
]
dataset = dict(type=CustomDataset, data_root='none', pipeline=pipeline)
test_dataloader = dict(dataset=dataset)
"""


def test_a_classifier_with_another_neck_is_none_of_timm(tmp_path):
    from mmvheat.export import write_snapshot

    model = build_classifier()
    for neck, is_one in (('GlobalAveragePooling', 1), ('GeneralizedMean', 0)):
        model.cfg.model.neck.type = neck
        write_snapshot(model, tmp_path, force=True)
        content = json.loads((tmp_path / 'config.json').read_text())
        assert ('architecture' in content) == is_one
    model.cfg.model.neck = [dict(type='GlobalAveragePooling')]
    write_snapshot(model, tmp_path, force=True)
    content = json.loads((tmp_path / 'config.json').read_text())
    assert 'architecture' not in content


@torch.no_grad()
def test_a_config_in_pure_python_is_one_of_known_names(tmp_path):
    from mmvheat.export import build_model, load_snapshot, write_snapshot
    from mmvheat.export.models import describe
    from mmvheat.export.programs import build_program

    config, images = tmp_path / 'config.py', torch.randn(1, 3, 64, 64)
    config.write_text(PURE_PYTHON)
    model, cfg = build_model(str(config), 'none')
    resize = describe(build_program(model), cfg)['resize']
    assert (resize['by'], resize['size']) == ('exact', [48, 48])
    write_snapshot(model, tmp_path / 'model')
    loaded = load_snapshot(tmp_path / 'model')
    expected = model(images, mode='tensor')
    assert torch.equal(loaded(images, mode='tensor'), expected)
    init_default_scope('mmpretrain')
    steps = [TRANSFORMS.build(step) for step in loaded.cfg.test_pipeline]
    assert [type(step) for step in steps] == [
        TRANSFORMS.get(f'mmpretrain.{name}')
        for name in ('LoadImageFromFile', 'Resize', 'PackInputs')
    ]
    cfg.model.type = 'evil.ImageClassifier'  # no known one
    write_snapshot(model, tmp_path / 'model', force=True)
    with pytest.raises(UserError, match='could run code'):
        load_snapshot(tmp_path / 'model')


@torch.no_grad()
def test_backbone_gives_the_same_maps(tmp_path):
    from tiny_models import SMALLEST

    from mmvheat.export import build_backbone, load_snapshot, write_snapshot

    config = tmp_path / 'config.py'
    backbone = {k: v for k, v in SMALLEST.items() if k != '_delete_'}
    config.write_text(
        f'model = dict(backbone={backbone!r})\ndefault_scope = "mmengine"'
    )
    model = build_backbone(str(config))
    write_snapshot(model, tmp_path / 'model')
    images = torch.randn(1, 3, 70, 64)
    loaded = load_snapshot(tmp_path / 'model')
    for found, expected in zip(loaded(images), model(images)):
        assert torch.equal(found, expected)


class TestStranger:
    """A config of someone else, which libraries would execute."""

    @pytest.fixture(autouse=True)
    def marker(self, tmp_path, monkeypatch):
        """A module and a pickle that leave a file when they are read."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        for name in ('evil', 'evil.registry'):
            monkeypatch.delitem(sys.modules, name, raising=False)
        marker = tmp_path / 'executed'
        run = f'open({str(marker)!r}, "w")'
        (tmp_path / 'evil').mkdir()
        for name in ('__init__', 'registry', 'utils'):
            (tmp_path / 'evil' / f'{name}.py').write_text(run)
        payload = f'cbuiltins\nexec\n(V{run}\ntR.'.encode()
        (tmp_path / 'evil.pkl').write_bytes(payload)
        (tmp_path / 'pkl').write_bytes(payload)
        return marker

    @pytest.mark.parametrize(
        ('path', 'value'),
        [
            (
                'model',
                dict(type='subprocess.Popen', args=['touch', 'executed']),
            ),
            ('model.neck.type', 'evil.Neck'),
            ('model.neck._scope_', 'evil'),
            ('default_scope', 'evil'),
            ('model.test_cfg.rcnn.nms.type', 'open("executed", "w")'),
            ('model.roi_head.mask_head.loss_mask.class_weight', 'evil.pkl'),
            ('model.roi_head.mask_head.loss_mask.class_weight', 'pkl'),
            ('model.neck.norm_cfg', dict(type='evil.Norm')),
            ('model.backbone.arch', '../evil'),
            ('test_dataloader.dataset.pipeline', [dict(type='evil.Step')]),
            ('model.backbone.k', ['https://example.com']),
        ],
    )
    def test_is_refused(self, folder, marker, path, value):
        from mmvheat.export import load_snapshot

        def change(config):
            *parents, last = path.split('.')
            for name in parents:
                config = config[name]
            config[last] = value

        edit(folder, change)
        with pytest.raises(UserError, match='could run code') as caught:
            load_snapshot(folder)
        assert '\n' not in str(caught.value)
        assert not marker.exists()

    def test_initial_weights_and_imports_are_left_out(self, folder, marker):
        from mmvheat.export import load_snapshot

        def change(config):
            config['custom_imports'] = dict(imports=['evil'])
            evil = dict(type='Pretrained', checkpoint='evil.pkl')
            config['model']['backbone']['init_cfg'] = evil
            config['custom_hooks'] = [dict(type='evil.Hook')]

        edit(folder, change)
        model = load_snapshot(folder)
        assert 'custom_imports' not in model.cfg
        assert 'custom_hooks' not in model.cfg
        assert not marker.exists()
        load_snapshot(folder, trust_remote_code=True)
        assert marker.exists()

    def test_pickle_in_place_of_weights_is_refused(self, folder, marker):
        from mmvheat.export import load_snapshot

        weights = folder / 'model.safetensors'
        weights.write_bytes((marker.parent / 'evil.pkl').read_bytes())
        with pytest.raises(ERRORS):
            load_snapshot(folder)
        assert not marker.exists()


class TestFaults:
    """Each is told in one sentence."""

    @pytest.fixture
    def refuse(self, folder):
        from mmvheat.export import load_snapshot

        def refuse(words):
            with pytest.raises(ERRORS) as caught:
                load_snapshot(folder)
            assert words in str(caught.value)
            assert '\n' not in str(caught.value)

        return refuse

    @pytest.mark.parametrize('share', [0.0, 0.00005, 0.01, 0.5, 0.999])
    def test_truncated_weights(self, folder, refuse, share):
        path = folder / 'model.safetensors'
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])
        refuse('model.safetensors is')

    def test_truncated_or_foreign_config(self, folder, refuse):
        path = folder / 'config.json'
        text = path.read_text()
        path.write_text(text[:-40])
        refuse('is no complete JSON')
        for deep in ('[' * 100_000, '[' * 300 + ']' * 300):
            path.write_text(deep)
            refuse('is no complete JSON')
        path.write_bytes(b'\xff\x00')
        refuse('is no complete JSON')
        for foreign in ('[]', '{"model_type": "bert"}', '{"config": {}}'):
            path.write_text(foreign)
            refuse('is not one that mmvheat wrote')
        path.unlink()
        refuse('cannot be read (No such file or directory)')

    def test_no_weights(self, folder, refuse):
        (folder / 'model.safetensors').unlink()
        refuse('does not exist')

    def test_weights_of_another_model(self, folder, refuse):
        path = folder / 'model.safetensors'
        weights = load_file(path)
        name = 'roi_head.bbox_head.fc_cls.weight'
        save_file({**weights, name: torch.zeros(7, 16)}, path)
        refuse(f'size mismatch for {name}')
        save_file({**weights, 'more': torch.zeros(1)}, path)
        refuse('has, beside the model, 1 tensors, such as more')
        del weights[name]
        save_file(weights, path)
        refuse(f'lacks 1 tensors, such as {name}')

    def test_config_of_another_version(self, folder, refuse):
        edit(folder, lambda c: c['model'].update(argument=1))
        refuse('describes no model that can be built here (TypeError:')
        edit(folder, lambda c: c['model']['backbone'].update(img_size=10**9))
        refuse('describes no model that can be built here')


def test_what_is_there_stays(detector, folder):
    from mmvheat.export import write_snapshot

    (folder / 'README.md').write_text('my card')
    with pytest.raises(UserError, match='--force'):
        write_snapshot(detector, folder)
    write_snapshot(detector, folder, force=True)
    assert (folder / 'README.md').read_text() == 'my card'
    blocked = folder / 'README.md' / 'model'
    with pytest.raises(UserError, match='cannot be written: Not a directory'):
        write_snapshot(detector, blocked)
    detector.cfg.value = np.zeros(2)
    with pytest.raises(UserError, match='config.value is a ndarray'):
        write_snapshot(detector, folder, force=True)
    detector.cfg.pop('value')
    json.loads((folder / 'config.json').read_text())  # as it was
