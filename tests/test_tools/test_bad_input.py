"""Bad input ends in one sentence, before the first iteration."""

from __future__ import annotations

import json

import pytest

TRAIN = 'train_dataloader.dataset'


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ([f'{TRAIN}.data_root=/nowhere'], ['/nowhere', 'does not exist']),
        ([f'{TRAIN}.ann_file=/no.json'], ['/no.json', 'does not exist']),
        ([f'{TRAIN}.data_prefix.img=photos'], ['photos', 'does not exist']),
        (['val_evaluator.ann_file=/no.json'], ['/no.json', 'val_evaluator']),
        (['load_from=/no.pth'], ['/no.pth', 'does not exist']),
        (
            [
                'model.backbone.init_cfg.type=Pretrained',
                'model.backbone.init_cfg.checkpoint=/no.pth',
            ],
            ['/no.pth', 'does not exist'],
        ),
        (
            ['model.roi_head.bbox_head.num_classes=80'],
            ['num_classes=80', '3 classes (box, disc, stripe)'],
        ),
        ([f'{TRAIN}.split=train'], ['does not build', "'split'"]),
        (['model.backbone.type=vHaet'], ['vHaet is not in']),
        (['model.backbone.drop_pth=0'], ["'drop_pth'"]),
        (['default_scope=torch'], ["default_scope='torch'", 'mmseg']),
        (['optim_wrapper.optimizer.lr=-1'], ['does not build', 'rate: -1']),
        (['optim_wrapper.optimizer.typ=SGD'], ['does not build', "'typ'"]),
        (['model.foo.bar.0=1'], ['foo']),
    ],
)
def test_fault_in_a_detection_config(
    run_tool, configs, options, expected
) -> None:
    job = run_tool(
        'train.py', configs / 'mask_rcnn.py', '--cfg-options', *options
    )
    for words in expected:
        assert words in job.error
    assert 'Epoch(train)' not in job.output


@pytest.mark.parametrize(
    ('name', 'options', 'expected'),
    [
        (
            'classifier',
            ['model.head.num_classes=2'],
            ['num_classes=2', '3 cl'],
        ),
        (
            'classifier',
            ['data_preprocessor.num_classes=1000'],
            ['num_classes=1000', '3 cl', 'data_preprocessor'],
        ),
        (
            'upernet',
            [
                "train_dataloader.dataset.metainfo.classes=('a','b')",
                'model.decode_head.num_classes=2',
                'model.auxiliary_head.num_classes=2',
            ],
            ['label_maps/train', 'holds class', 'num_classes=2'],
        ),
    ],
)
def test_classes_that_disagree_with_the_labels(
    run_tool, configs, name, options, expected
) -> None:
    job = run_tool(
        'train.py', configs / f'{name}.py', '--cfg-options', *options
    )
    for words in expected:
        assert words in job.error


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        ('drop some masks', ['6 of 16 objects', "no 'segmentation'"]),
        ('drop all masks', ['16 of 16 objects', "no 'segmentation'"]),
        ('empty all masks', ['16 of 16 objects', "no 'segmentation'"]),
        ('rename classes', ['has the categories shape-box', 'lacks box']),
        ('truncate', ['annotations.json are truncated', 'again']),
        ('drop images', ['No usable image']),
        ('move images', ['moved/000.jpg', 'does not exist']),
    ],
)
def test_fault_in_the_annotations(
    run_tool, configs, shapes, tmp_path, change, expected
) -> None:
    text = (shapes / 'annotations' / 'train.json').read_text()
    content = json.loads(text)
    if change.endswith('masks'):
        step = 3 if 'some' in change else 1
        for annotation in content['annotations'][::step]:
            if change.startswith('drop'):
                del annotation['segmentation']
            else:
                annotation['segmentation'] = []
    elif change == 'rename classes':
        for category in content['categories']:
            category['name'] = f'shape-{category["name"]}'
    elif change == 'drop images':
        content['images'] = content['annotations'] = []
    elif change == 'move images':
        for image in content['images']:
            image['file_name'] = f'moved/{image["file_name"]}'
    text = json.dumps(content)
    path = tmp_path / 'annotations.json'
    path.write_text(text[:300] if change == 'truncate' else text)
    job = run_tool(
        'train.py',
        configs / 'mask_rcnn.py',
        '--cfg-options',
        f'{TRAIN}.ann_file={path}',
    )
    for words in expected:
        assert words in job.error
    assert 'Epoch(train)' not in job.output


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['train.py', '/no.py'], 'The config /no.py does not exist'),
        (['train.py', '{config}', '--resume', '/no.pth'], '/no.pth'),
        (['train.py', '{config}', '--amp', 'fp16'], 'needs a GPU'),
        (['train.py', '{config}', '--track', 'wandb'], 'pip install wandb'),
        (['test.py', '{config}', '/no.pth'], '/no.pth does not exist'),
        (['test.py', '{config}', '{junk}'], 'junk.pth'),
        (['test.py', '{config}', '{junk}', '--tta'], 'junk.pth'),
        (['test.py', '{config}', '{junk}', '--out', 'a.txt'], 'end in .pkl'),
    ],
)
def test_fault_in_the_arguments(
    run_tool, configs, tmp_path, arguments, expected
) -> None:
    junk = tmp_path / 'junk.pth'
    junk.write_text('no checkpoint')
    values = dict(config=configs / 'classifier.py', junk=junk)
    job = run_tool(*(argument.format(**values) for argument in arguments))
    assert expected in job.error


def test_option_that_is_none(run_tool, configs) -> None:
    job = run_tool(
        'train.py', configs / 'classifier.py', '--cfg-options', 'train_cfg'
    )
    assert job.exit_code == 2
    assert "expects KEY=VALUE, but came 'train_cfg'" in job.output


def test_config_that_cannot_be_read(run_tool, tmp_path) -> None:
    config = tmp_path / 'config.py'
    config.write_text("_base_ = ['mmdet::_base_/nothing.py']\n")
    job = run_tool('train.py', config)
    assert str(config) in job.error
    assert 'nothing.py' in job.error


USERS_CODE = """
from mmengine.registry import DATASETS
from mmdet.datasets import CocoDataset

@DATASETS.register_module()
class MyDataset(CocoDataset):
    def {method}(self, *args, **kwargs):
        return dict(a=1)['my_key']
"""


@pytest.mark.parametrize('method', ['__init__', 'prepare_data'])
def test_bug_of_the_user_keeps_its_traceback(
    run_tool, configs, method
) -> None:
    job = run_tool(
        'train.py',
        configs / 'mask_rcnn.py',
        *('--cfg-options', f'{TRAIN}.type=MyDataset'),
        patch=USERS_CODE.format(method=method),
    )
    assert job.exit_code == 1
    assert 'Traceback' in job.output
    assert "return dict(a=1)['my_key']" in job.output
    assert "KeyError: 'my_key'" in job.output
