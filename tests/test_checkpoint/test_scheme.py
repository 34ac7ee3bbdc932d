"""OpenMMLab's own ways to load a checkpoint work with every file."""

import copy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from torch import nn

import mmvheat.engine  # noqa: F401
from mmvheat.checkpoint import (
    CheckpointError,
    adapt_optimizer_state,
    convert_to_downstream,
    to_mmpretrain,
)
from mmvheat.checkpoint.command import main

DATA = Path(__file__).parents[1] / 'data'
BACKBONE = dict(
    type='vHeat',
    arch=dict(
        embed_dims=8, depths=[1, 1, 2, 1], post_norm=True, layer_scale=1e-5
    ),
)


def build(scope, cfg):
    pytest.importorskip(scope)
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(cfg)


def classifier(official, img_size=64):
    arch = official['arch']
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(
            type='vHeat', arch=arch, img_size=img_size, out_indices=(3,)
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
    )


def detector(img_size):
    return dict(
        type='mmdet.RetinaNet',
        data_preprocessor=dict(type='DetDataPreprocessor'),
        backbone=dict(BACKBONE, img_size=img_size, out_indices=(1, 2, 3)),
        neck=dict(
            type='FPN', in_channels=[16, 32, 64], out_channels=8, num_outs=3
        ),
        bbox_head=dict(
            type='RetinaHead',
            num_classes=2,
            in_channels=8,
            feat_channels=8,
            stacked_convs=1,
            anchor_generator=dict(
                type='AnchorGenerator',
                scales=[4],
                ratios=[1.0],
                strides=[8, 16, 32],
            ),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            loss_cls=dict(type='FocalLoss', use_sigmoid=True),
            loss_bbox=dict(type='L1Loss'),
        ),
        test_cfg=dict(nms_pre=10, score_thr=0.05, max_per_img=5),
    )


def segmentor(img_size):
    return dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor'),
        backbone=dict(BACKBONE, img_size=img_size),
        decode_head=dict(
            type='FCNHead', in_channels=64, channels=8, num_classes=3
        ),
        test_cfg=dict(mode='whole'),
    )


def test_official_file_loads_whole_into_an_image_classifier(official):
    path, expected = official
    model = build('mmpretrain', classifier(expected)).eval()
    content = load_checkpoint(model, str(path), strict=True)
    assert content['meta'] == {}
    with torch.no_grad():
        features = model.extract_feat(expected['cls_input'])
        logits = model.head(features)
    torch.testing.assert_close(
        logits, expected['cls_logits'], rtol=0, atol=2e-4
    )


def test_converted_classifier_loads_whole(tmp_path, official, monkeypatch):
    path, expected = official
    target = str(tmp_path / 'f.pth')
    argv = ['', '--pt_pth', path, '--tg_pth', target, '--tg_size', 128]
    monkeypatch.setattr(sys, 'argv', [*map(str, argv), '--task', 'cls'])
    assert main() == 0
    model = build('mmpretrain', classifier(expected, 128))
    load_checkpoint(model, target, strict=True)
    # So it does without this package.
    weights = torch.load(target, weights_only=True)['state_dict']
    model.load_state_dict(weights, strict=True)


@pytest.mark.parametrize(
    'layout', ('bare', 'model', 'state_dict', 'compiled', 'empty beside')
)
def test_bare_backbone_takes_files_without_and_with_prefix(
    tmp_path, official_weights, layout
):
    weights = convert_to_downstream(official_weights, (128, 128))
    content = {
        'bare': weights,
        'compiled': {
            'state_dict': {
                f'backbone._orig_mod.{key}': value
                for key, value in weights.items()
            }
        },
        'empty beside': {'state_dict': {}, 'model': weights},
    }.get(layout, {layout: weights})
    torch.save(content, tmp_path / 'f')
    backbone = MODELS.build(dict(BACKBONE, img_size=64))
    load_checkpoint(backbone, str(tmp_path / 'f'))
    found = backbone.state_dict()
    expected = convert_to_downstream(weights, (64, 64))
    assert all(torch.equal(found[k], expected[k]) for k in expected)


def test_other_files_are_left_as_they_are(tmp_path):
    content = {'model': {'conv1.weight': torch.ones(1)}, 'epoch': 3}
    torch.save(content, tmp_path / 'f')
    read = CheckpointLoader.load_checkpoint(str(tmp_path / 'f'))
    assert read == content


def test_refused_file_names_the_reason(tmp_path):
    (tmp_path / 'f').write_bytes(b'')
    model = nn.Linear(1, 1)
    with pytest.raises(CheckpointError, match='is empty'):
        load_checkpoint(model, str(tmp_path / 'f'))


@pytest.mark.parametrize('old, new', [(64, 128), (128, 64), (64, (96, 160))])
@pytest.mark.parametrize('scope', ('mmdet', 'mmseg'))
def test_whole_model_of_another_grid_loads(tmp_path, scope, old, new):
    make = detector if scope == 'mmdet' else segmentor
    source = build(scope, make(old))
    path = str(tmp_path / 'f.pth')
    torch.save({'state_dict': source.state_dict(), 'meta': {}}, path)
    cfg = dict(model=make(new), default_scope=scope)
    if scope == 'mmdet':
        init = pytest.importorskip('mmdet.apis').init_detector
        dataset = dict(type='CocoDataset', lazy_init=True)
        cfg['test_dataloader'] = dict(dataset=dataset)
    else:
        init = pytest.importorskip('mmseg.apis').init_model
    model = init(Config(cfg), path, device='cpu')
    size = (new, new) if isinstance(new, int) else new
    for i, freq_embed in enumerate(model.backbone.freq_embed):
        wanted = source.backbone.freq_embed[i]
        height, width = size[0] // 4 // 2**i, size[1] // 4 // 2**i
        assert freq_embed.shape[:2] == (height, width)
        rows, columns = min(height, len(wanted)), min(width, len(wanted))
        assert torch.equal(
            freq_embed[:rows, :columns], wanted[:rows, :columns]
        )
        assert not freq_embed[rows:].any()
    found, expected = model.state_dict(), source.state_dict()
    others = [k for k in expected if 'freq_embed' not in k]
    assert all(torch.equal(found[k], expected[k]) for k in others)


class Trainee(BaseModel):
    """A backbone that is trained to give small outputs."""

    def __init__(self, img_size):
        super().__init__()
        self.backbone = MODELS.build(dict(BACKBONE, img_size=img_size))

    def forward(self, inputs, data_samples=None, mode='loss'):
        maps = self.backbone(torch.stack(list(inputs)))
        return dict(loss=sum(x.square().mean() for x in maps))


def run(work_dir, img_size=64, epochs=1, hooks=(), **kwargs):
    torch.manual_seed(0)
    data = [dict(inputs=torch.randn(3, 64, 64), data_samples=0)] * 4
    runner = Runner(
        model=Trainee(img_size),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=2,
            dataset=data,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        param_scheduler=dict(type='MultiStepLR', milestones=[2]),
        custom_hooks=list(hooks),
        log_level='ERROR',
        experiment_name=f'{work_dir.name}-{img_size}-{epochs}',
        **kwargs,
    )
    runner.train()
    return runner


def test_run_resumes_with_its_log_buffers_and_averaged_weights(tmp_path):
    hooks = [dict(type='EMAHook')]
    first = run(tmp_path, hooks=hooks)
    resumed = run(tmp_path, epochs=2, hooks=hooks, resume=True)
    assert (resumed.epoch, resumed.iter) == (2, 4)
    scalars = resumed.message_hub.log_scalars['train/loss']
    assert len(scalars.data[0]) == 4
    before = first.message_hub.log_scalars['train/loss'].data[0]
    assert list(scalars.data[0][:2]) == list(before)


def test_run_resumes_on_another_grid(tmp_path):
    hooks = [dict(type='EMAHook'), dict(type='ExactResumeHook')]
    first = run(tmp_path, img_size=64, hooks=hooks)
    wider = tmp_path / 'wider'
    shutil.copytree(tmp_path, wider)
    (wider / 'last_checkpoint').write_text(str(wider / 'epoch_1.pth'))
    resumed = run(wider, img_size=128, epochs=2, hooks=hooks, resume=True)
    assert resumed.epoch == 2
    averaged = next(h for h in resumed.hooks if isinstance(h, EMAHook))
    for model in (resumed.model, averaged.ema_model.module):
        assert model.backbone.freq_embed[0].shape == (32, 32, 8)
    # The moments of the old frequencies were taken along.
    optimizer = resumed.optim_wrapper.optimizer
    moments = optimizer.state[resumed.model.backbone.freq_embed[3]]
    assert moments['exp_avg_sq'].shape == (4, 4, 64)
    assert int(moments['step']) == 4
    assert first.model.backbone.freq_embed[3].shape == (2, 2, 64)


def test_optimizer_state_is_padded_with_zeros():
    old, new = (nn.Parameter(torch.ones(n, n, 3)) for n in (2, 4))
    bias = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([bias, old])
    (old.sum() + bias.sum()).backward()
    optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    adapt_optimizer_state(state, [bias, new])
    resumed = torch.optim.AdamW([bias, new])
    resumed.load_state_dict(state)
    for name in ('exp_avg', 'exp_avg_sq'):
        found, wanted = resumed.state[new][name], optimizer.state[old][name]
        assert torch.equal(found[:2, :2], wanted)
        assert not found[2:].any()
        assert not found[:, 2:].any()
    new.sum().backward()
    resumed.step()
    assert new.isfinite().all()


@pytest.mark.parametrize('mode', ('pad', 'bicubic'))
def test_second_moments_stay_positive(mode):
    value = torch.zeros(4, 4, 1)
    value[1, 1] = 1
    state = {
        'state': {0: {'exp_avg_sq': value, 'exp_avg': -value}},
        'param_groups': [{'params': [0]}],
    }
    adapt_optimizer_state(state, [torch.zeros(8, 8, 1)], mode)
    assert state['state'][0]['exp_avg_sq'].shape == (8, 8, 1)
    assert (state['state'][0]['exp_avg_sq'] >= 0).all()
    assert (state['state'][0]['exp_avg'] < 0).any()


@pytest.mark.parametrize(
    'shapes, words',
    [
        ([(3,), (2, 2, 3)], 'optimizer state for 1 parameters'),
        ([(4,)], r'exp_avg of the optimizer has the shape \(3,\)'),
    ],
)
def test_optimizer_state_of_another_model(shapes, words):
    state = {
        'state': {0: {'exp_avg': torch.zeros(3)}},
        'param_groups': [{'params': [0]}],
    }
    with pytest.raises(CheckpointError, match=f'cannot resume: .*{words}'):
        adapt_optimizer_state(state, [torch.zeros(s) for s in shapes])


def test_official_names_of_heads_are_known(official_weights):
    model = build('mmpretrain', classifier(dict(arch=BACKBONE['arch'])))
    assert to_mmpretrain(official_weights).keys() == model.state_dict().keys()
