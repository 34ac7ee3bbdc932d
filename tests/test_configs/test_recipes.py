"""The published recipes resolve exactly, and headers say what files hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from tiny_config import (
    ALL_CONFIGS,
    CONFIGS,
    NAMES,
    ROOT,
    load_config,
    make_tiny,
)

LETTERS = {'t': 'tiny', 's': 'small', 'b': 'base'}
WITH_HEADER = [
    pytest.param(path, id=name)
    for path, name in zip(CONFIGS, NAMES)
    if not name.startswith('quickstart/')
]


def load(name: str) -> ConfigDict:
    return load_config(ROOT / 'configs' / name)


def check_backbone(backbone: ConfigDict, letter: str, **expected) -> None:
    for key, value in dict(expected, arch=LETTERS[letter]).items():
        assert backbone[key] == value


def check_pretrained(backbone: ConfigDict, letter: str) -> None:
    assert backbone.init_cfg.type == 'Pretrained'
    assert backbone.init_cfg.checkpoint == (
        'https://github.com/MzeroMiko/vHeat/releases/download/vheatcls/'
        f'vHeat_{LETTERS[letter]}.pth'
    )


def check_optimizer(wrapper: ConfigDict, lr: float, weight_decay: float):
    optimizer = wrapper.optimizer
    assert optimizer.type == 'AdamW'
    assert optimizer.lr == lr
    assert optimizer.weight_decay == weight_decay
    assert tuple(optimizer.betas) == (0.9, 0.999)


@pytest.mark.parametrize(
    ('letter', 'schedule', 'drop_path'),
    [
        *(('t', '1x', 0.1), ('s', '1x', 0.3), ('b', '1x', 0.5)),
        *(('t', 'ms-crop-3x', 0.2), ('s', 'ms-crop-3x', 0.4)),
        ('b', 'ms-crop-3x', 0.5),
    ],
)
def test_mask_rcnn(letter: str, schedule: str, drop_path: float) -> None:
    cfg = load(f'mask_rcnn/mask-rcnn_vheat-{letter}_fpn_{schedule}_coco.py')

    check_backbone(
        cfg.model.backbone, letter, drop_path_rate=drop_path, img_size=512
    )
    check_pretrained(cfg.model.backbone, letter)
    check_optimizer(cfg.optim_wrapper, lr=1e-4, weight_decay=0.05)
    assert cfg.optim_wrapper.type == 'OptimWrapper'
    assert cfg.optim_wrapper.get('clip_grad') is None
    epochs, steps = (12, [8, 11]) if schedule == '1x' else (36, [27, 33])
    assert cfg.train_cfg.max_epochs == epochs
    warm_up, decay = cfg.param_scheduler
    assert (warm_up.start_factor, warm_up.end) == (1e-3, 1000)
    assert not warm_up.by_epoch
    assert decay.milestones == steps
    assert (decay.gamma, decay.end) == (0.1, epochs)
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.model.data_preprocessor.pad_size_divisor == 32
    types = [t.type for t in cfg.train_dataloader.dataset.pipeline]
    if schedule == '1x':
        resize = cfg.train_dataloader.dataset.pipeline[2]
        assert (resize.type, resize.keep_ratio) == ('Resize', True)
        assert tuple(resize.scale) == (1333, 800)
    else:
        assert types == [
            *('LoadImageFromFile', 'LoadAnnotations', 'RandomFlip'),
            *('RandomChoice', 'PackDetInputs'),
        ]


def test_3x_augments_as_upstream() -> None:
    ours = load('mask_rcnn/mask-rcnn_vheat-t_fpn_ms-crop-3x_coco.py')
    upstream = load('mask_rcnn/mask-rcnn_swin-t_fpn_ms-crop-3x_coco.py')

    def read_pipeline(cfg: ConfigDict) -> list:
        pipeline = cfg.train_dataloader.dataset.pipeline.copy()
        pipeline[0] = dict(pipeline[0], backend_args=None)
        return strip_scope(pipeline)

    assert read_pipeline(ours) == read_pipeline(upstream)


def strip_scope(node: object) -> object:
    if isinstance(node, dict):
        return {k: strip_scope(v) for k, v in node.items() if k != '_scope_'}
    if isinstance(node, (list, tuple)):
        return [strip_scope(value) for value in node]
    return node


@pytest.mark.parametrize(
    ('letter', 'drop_path'), [('t', 0.3), ('s', 0.4), ('b', 0.5)]
)
def test_upernet(letter: str, drop_path: float) -> None:
    cfg = load(f'upernet/upernet_vheat-{letter}_8xb2-160k_ade20k-512x512.py')

    check_backbone(
        cfg.model.backbone, letter, drop_path_rate=drop_path, img_size=512
    )
    check_pretrained(cfg.model.backbone, letter)
    check_optimizer(cfg.optim_wrapper, lr=6e-5, weight_decay=0.01)
    assert cfg.optim_wrapper.type == 'OptimWrapper'
    assert cfg.optim_wrapper.clip_grad is None
    assert cfg.train_cfg.max_iters == 160000
    warm_up, decay = cfg.param_scheduler
    assert (warm_up.start_factor, warm_up.end) == (1e-6, 1500)
    assert (decay.type, decay.power, decay.eta_min) == ('PolyLR', 1.0, 0.0)
    assert (decay.begin, decay.end) == (1500, 160000)
    assert not warm_up.by_epoch and not decay.by_epoch
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.val_dataloader.batch_size == 1
    assert cfg.model.auxiliary_head.type == 'FCNHead'
    assert cfg.model.auxiliary_head.loss_decode.loss_weight == 0.4
    for head in (cfg.model.decode_head, cfg.model.auxiliary_head):
        assert head.norm_cfg.type == 'SyncBN'
        assert head.num_classes == 150
    assert cfg.model.test_cfg == dict(
        mode='slide', crop_size=(512, 512), stride=(341, 341)
    )
    pipeline = cfg.train_dataloader.dataset.pipeline
    resize, crop = pipeline[2:4]
    assert tuple(resize.scale) == (2048, 512)
    assert tuple(resize.ratio_range) == (0.5, 2.0)
    assert tuple(crop.crop_size) == (512, 512)
    assert [t.type for t in pipeline[4:]] == [
        *('RandomFlip', 'PhotoMetricDistortion', 'PackSegInputs'),
    ]
    tta = cfg.tta_pipeline[-1].transforms
    assert [t.scale_factor for t in tta[0]] == [0.5, 0.75, 1, 1.25, 1.5, 1.75]
    assert [t.prob for t in tta[1]] == [0.0, 1.0]
    assert cfg.tta_model.type == 'SegTTAModel'


@pytest.mark.parametrize(
    'base',
    [
        'mask_rcnn/mask-rcnn_vheat-t_fpn_{}1x_coco.py',
        'upernet/upernet_vheat-t_8xb2-{}160k_ade20k-512x512.py',
    ],
)
def test_variants_differ_in_the_optimizer_alone(base: str) -> None:
    def read(variant: str) -> tuple[ConfigDict, dict]:
        rest = load(base.format(variant)).to_dict()
        for key in ('custom_imports', 'custom_hooks'):
            rest.pop(key, None)
        return ConfigDict(rest.pop('optim_wrapper')), rest

    plain, rest = read('')
    bf16, bf16_rest = read('bf16-')
    llrd, llrd_rest = read('llrd-')

    assert bf16_rest == llrd_rest == rest
    assert dict(bf16, type=plain.type) == plain
    assert bf16.type == 'BFloat16OptimWrapper'
    assert llrd.constructor == 'LayerDecayOptimWrapperConstructor'
    assert llrd.paramwise_cfg.pop('layer_decay_rate') == 0.9
    assert llrd.paramwise_cfg == plain.paramwise_cfg
    assert llrd.optimizer == plain.optimizer


@pytest.mark.parametrize(
    ('letter', 'drop_path'), [('t', 0.1), ('s', 0.3), ('b', 0.5)]
)
def test_imagenet(letter: str, drop_path: float) -> None:
    cfg = load(f'classification/vheat-{letter}_16xb128_in1k.py')

    check_backbone(
        cfg.model.backbone, letter, drop_path_rate=drop_path, img_size=224
    )
    check_optimizer(cfg.optim_wrapper, lr=2e-3, weight_decay=0.08)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.dtype == 'float16'
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=5.0)
    assert cfg.train_cfg.max_epochs == 300
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.begin, warm_up.end, warm_up.by_epoch) == (0, 20, True)
    assert (cosine.type, cosine.begin) == ('CosineAnnealingLR', 20)
    assert cosine.end == 300
    assert cfg.auto_scale_lr.base_batch_size == 2048
    (ema,) = cfg.custom_hooks
    assert ema.type == 'EMAHook'
    assert 1 - ema.momentum == pytest.approx(0.9999)
    assert cfg.model.head.loss.label_smooth_val == 0.1
    mixup, cutmix = cfg.model.train_cfg.augments
    assert (mixup.type, mixup.alpha) == ('Mixup', 0.8)
    assert (cutmix.type, cutmix.alpha) == ('CutMix', 1.0)
    pipeline = {t.type: t for t in cfg.train_dataloader.dataset.pipeline}
    assert pipeline['RandAugment'].magnitude_level == 9
    assert pipeline['RandomErasing'].erase_prob == 0.25


def find_weight_decays(name: str, digit_scenes: Path) -> dict[str, float]:
    """Map the backbone's parameters to the weight decay they get."""
    cfg = make_tiny(load(name), digit_scenes)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    decays = {
        id(parameter): group['weight_decay']
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    return {n: decays[id(p)] for n, p in model.backbone.named_parameters()}


@pytest.mark.parametrize(
    ('name', 'weight_decay'),
    [
        ('mask_rcnn/mask-rcnn_vheat-s_fpn_1x_coco.py', 0.05),
        ('upernet/upernet_vheat-s_8xb2-160k_ade20k-512x512.py', 0.01),
    ],
)
def test_downstream_only_names_with_norm_do_not_decay(
    name: str, weight_decay: float, digit_scenes: Path
) -> None:
    decays = find_weight_decays(name, digit_scenes)

    for parameter in ('outnorm0.weight', 'layers.0.0.norm1.bias'):
        assert decays[parameter] == 0
    assert decays['layers.0.0.op.out_norm.weight'] == 0
    for parameter in (
        *('layers.0.1.1.weight', 'freq_embed.0', 'layers.0.0.gamma1'),
        'layers.0.0.op.linear.bias',
    ):
        assert decays[parameter] == weight_decay


def test_imagenet_vectors_do_not_decay(digit_scenes: Path) -> None:
    name = 'classification/vheat-s_16xb128_in1k.py'
    decays = find_weight_decays(name, digit_scenes)

    for parameter in (
        *('outnorm3.weight', 'layers.0.1.1.weight', 'layers.0.0.gamma1'),
        'layers.0.0.op.linear.bias',
    ):
        assert decays[parameter] == 0
    assert decays['freq_embed.0'] == 0.08
    assert decays['layers.0.0.op.linear.weight'] == 0.08


def read_header(path: Path) -> str:
    """Read the comment a config begins with as one line."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith('#'):
            break
        lines.append(line.lstrip('# '))
    return ' '.join(lines)


@pytest.mark.parametrize('path', WITH_HEADER)
def test_header_tells_the_recipe(path: Path) -> None:
    cfg = load_config(path)
    match = re.search(
        r'Recipe: lr (\S+), weight decay (\S+), (\d+) x (\d+) images, '
        r'(\d+) (epochs|iterations), drop path (\S+)',
        read_header(path),
    )
    assert match, 'the header has no line "Recipe: ..."'
    lr, weight_decay, gpus, images, length, unit, drop_path = match.groups()

    assert float(lr) == cfg.optim_wrapper.optimizer.lr
    assert float(weight_decay) == cfg.optim_wrapper.optimizer.weight_decay
    assert int(images) == cfg.train_dataloader.batch_size
    assert int(gpus) * int(images) == cfg.auto_scale_lr.base_batch_size
    key = dict(epochs='max_epochs', iterations='max_iters')[unit]
    assert int(length) == cfg.train_cfg[key]
    if 'drop_path_rate' in cfg.model.backbone:
        assert float(drop_path) == cfg.model.backbone.drop_path_rate


@pytest.mark.parametrize('path', ALL_CONFIGS, ids=lambda path: path.stem)
def test_header_tells_the_result_and_the_commands(path: Path) -> None:
    header = read_header(path)
    name = path.relative_to(ROOT).as_posix()
    models = yaml.safe_load(path.with_name('metafile.yml').read_text())
    (model,) = (m for m in models['Models'] if m['Config'] == name)
    short = {'Top 1 Accuracy': 'top-1'}
    results = [
        f'{short.get(key, key)} {value}'
        for result in model.get('Results', [])
        for key, value in result['Metrics'].items()
    ]

    if path.parent.name == 'quickstart':
        assert f'Measured: {", ".join(results)}' in header
        assert re.search(rf'python tools/train.py (\\ )?{name}', header)
        return
    assert f'Published: {", ".join(results) or "no result"}' in header
    for tool in ('train', 'test'):
        assert f'tools/dist_{tool}.sh \\ {name}' in header
