"""The text of a project's config, an ordinary one that reads top to bottom."""

from __future__ import annotations

from mmvheat.errors import UserError

from .fitting import Fit
from .models import Base, fit_heads
from .records import DataSet
from .rendering import WIDTH, Code, assign, comment

MOST_LINES = 60
_IMPORT = """\
# What `mmvheat::` means is known once mmvheat was imported, which the tools of
# mmdet, mmsegmentation and mmpretrain do not do before they read a config.
_base_ = []
import mmvheat  # noqa: E402, F401
"""
_MOST_CLASS_LINES = 8  # more classes stand in a file of their own
_METRICS = dict(
    detection='coco/bbox_mAP',
    instances='coco/segm_mAP',
    segmentation='mIoU',
    classification='accuracy/top1',
)
_LEAST_LR = dict(  # below, AdamW hardly moves a new head
    detection=2e-5, instances=2e-5, segmentation=2e-5, classification=5e-5
)


def write_config(
    data: DataSet, base: Base, fit: Fit, title: str
) -> dict[str, str]:
    """Write the config of data that have splits and a palette.

    Returns:
        dict[str, str]: Texts by file name: the config, what it inherits
        first, and ``classes.py`` where there are many classes.

    Raises:
        UserError: It does not fit 60 lines.
    """
    for most in (_MOST_CLASS_LINES, 0):
        texts = _compose(data, base, fit, title, most)
        text = texts[f'{base.short}_{title}.py']
        if text.count('\n') <= MOST_LINES:
            return texts
    raise UserError(
        f'The config would have {text.count(chr(10))} lines, at most '
        f'{MOST_LINES} are written; give the data a shorter name.'
    )


def _compose(
    data: DataSet, base: Base, fit: Fit, title: str, most: int
) -> dict[str, str]:
    """The texts, with classes of more than ``most`` lines in their own."""
    palette = [tuple(colour) for colour in data.palette]
    metainfo = dict(classes=tuple(data.classes), palette=palette)
    if data.task == 'classification':
        del metainfo['palette']
    class_lines = assign('metainfo', metainfo)
    files, bases = {'import_mmvheat.py': _IMPORT}, ['./import_mmvheat.py']
    if len(class_lines) > most:
        head = comment(f'The {len(data.classes)} classes of {title}.')
        files['classes.py'] = '\n'.join([*head, *class_lines]) + '\n'
        bases.append('./classes.py')
        class_lines = ['metainfo = _base_.metainfo  # classes.py']
    parts = [
        [*_head(data, base, title), *assign('_base_', [*bases, base.name])],
        [_title('data'), *_data(data, base, fit, class_lines)],
        [_title('model'), *_model(data, base, fit)],
        [_title('schedule'), *_schedule(data, base, fit)],
    ]
    text = '\n\n'.join('\n'.join(part) for part in parts) + '\n'
    return {f'{base.short}_{title}.py': text, **files}


def _title(name: str) -> str:
    return f'# --- {name} '.ljust(79, '-')


def _head(data: DataSet, base: Base, title: str) -> list[str]:
    train, val = (len(data.of_split(split)) for split in ('train', 'val'))
    what = f'{len(data.classes)} class' + 'es' * (len(data.classes) > 1)
    return [
        *comment(
            f'{base.short} on {title}: {what}, {train} train and {val} val '
            'images.'
        ),
        '# An ordinary config: `mmvheat new --update` keeps your edits.',
    ]


def _data(
    data: DataSet, base: Base, fit: Fit, class_lines: list[str]
) -> list[str]:
    pipelines = _fit_pipelines(base, fit)
    names = dict(data_root=Code('data_root'), metainfo=Code('metainfo'))
    suffix = '.txt'
    if data.task in ('detection', 'instances'):
        suffix = '.json'
        common = dict(**names, data_prefix=dict(img=''))
    elif data.task == 'segmentation':
        # The lists have whole names of images, so that none ends anew.
        maps = dict(img_path='', seg_map_path=Code("labels + 'maps'"))
        common = dict(type='BaseSegDataset', **names, data_prefix=maps)
        common['img_suffix'] = ''
    else:
        common = dict(_delete_=True, type='CustomDataset', **names)

    def dataset(split: str, pipeline: str) -> dict:
        inner = {'**': Code('common')}
        inner['ann_file'] = Code(f"labels + '{split}{suffix}'")
        if '_delete_' in common or len(pipelines) > 1:
            inner['pipeline'] = Code(pipeline)
        return inner

    def loader(name: str) -> dict:
        inner = dict(dataset=Code(name))
        if data.task == 'classification':
            inner = dict(batch_size=fit.batch, **inner)
        return inner

    test = 'test' if data.of_split('test') else 'val'
    lines = [
        '# Images are read where they are; labels were converted into labels/',
        *assign('data_root', data.root.rstrip('/') + '/'),
        "labels = '{{ fileDirname }}/labels/'",
        *class_lines,
        *pipelines,
        *assign('common', common),
        *assign('train', dataset('train', _TRAIN)),
        *assign('val', dataset('val', _TEST)),
        *comment(f'Batch {fit.batch}:', fit.reasons['batch']),
        *assign(
            'train_dataloader',
            dict(batch_size=fit.batch, dataset=Code('train')),
        ),
        *assign('val_dataloader', loader('val')),
    ]
    if test == 'test':
        lines += assign('test', dataset('test', _TEST))
        lines += assign('test_dataloader', loader('test'))
    elif '_delete_' in common:  # which works once
        lines += assign('test_dataloader', loader('dict(val)'))
    else:
        lines.append('test_dataloader = val_dataloader')
    return [*lines, *_evaluators(data, test)]


_TRAIN, _TEST = 'train_pipeline', 'test_pipeline'


def _evaluators(data: DataSet, test: str) -> list[str]:
    if data.task == 'segmentation':
        return []
    if data.task == 'classification':
        if len(data.classes) >= 10:
            return []  # top 1 and top 5, inherited
        lines = assign('val_evaluator', dict(topk=(1,)))
    else:
        lines = assign(
            'val_evaluator', dict(ann_file=Code("labels + 'val.json'"))
        )
        if test == 'test':
            return lines + assign(
                'test_evaluator', dict(ann_file=Code("labels + 'test.json'"))
            )
    return [*lines, 'test_evaluator = val_evaluator']


def _fit_pipelines(base: Base, fit: Fit) -> list[str]:
    """Lines that change sizes in the pipelines of the recipe."""
    changes: dict[tuple[str, object], list[str]] = {}
    crop, recipe = fit.scale[1], recipe_scale(base)

    def change(place: str, key: str, value: object) -> None:
        changes.setdefault((key, value), []).append(f'{place}.{key}')

    for name in (_TRAIN, _TEST):
        for index, step in enumerate(base.cfg[name]):
            place, kind = f'{name}[{index}]', step['type']
            if step.get('reduce_zero_label'):
                change(place, 'reduce_zero_label', False)
            if fit.scale == recipe:
                continue
            if kind in ('Resize', 'RandomResize') and 'scale' in step:
                change(place, 'scale', fit.scale)
            elif kind == 'RandomCrop' and base.task == 'segmentation':
                change(place, 'crop_size', (crop, crop))
            elif kind == 'RandomResizedCrop':
                change(place, 'scale', crop)
            elif kind == 'ResizeEdge':
                change(place, 'scale', round(crop * 8 / 7))
            elif kind == 'CenterCrop':
                change(place, 'crop_size', crop)
    lines = comment(fit.reasons['scale'])
    if not changes and base.task in ('detection', 'instances'):
        return lines
    lines.append(f'{_TRAIN}, {_TEST} = _base_.{_TRAIN}, _base_.{_TEST}')
    for (_, value), places in changes.items():
        line = ' = '.join([*places, repr(value)])
        if len(line) <= WIDTH:
            lines.append(line)
        else:
            lines += [f'{place} = {value!r}' for place in places]
    return lines


def recipe_scale(base: Base) -> tuple[int, int]:
    """Long and short side of the recipe; for classification the crop twice."""
    if base.task == 'classification':
        sizes = [s for s in base.cfg.test_pipeline if 'crop_size' in s]
        return (sizes[0].crop_size,) * 2
    steps = [s for s in base.cfg.test_pipeline if s['type'] == 'Resize']
    scale = tuple(steps[0].scale)
    return max(scale), min(scale)


def _model(data: DataSet, base: Base, fit: Fit) -> list[str]:
    changes = fit_heads(base.cfg.model, len(data.classes))
    lines = []
    if data.task == 'segmentation' and fit.scale != recipe_scale(base):
        crop = (fit.scale[1],) * 2
        if base.cfg.model.get('test_cfg', {}).get('mode') == 'slide':
            stride = (fit.scale[1] * 2 // 3,) * 2
            changes['test_cfg'] = dict(crop_size=crop, stride=stride)
        changes['data_preprocessor'] = dict(size=crop)
    if 'init_cfg' in base.cfg.model.backbone:
        changes['backbone'] = dict(init_cfg=None)
    if base.weights:
        file = base.weights.split('/')[-1]
        lines += comment(
            f'Starts from {file}; layers of another shape, such as the last '
            'of a head, start anew.'
        )
        lines += assign('load_from', base.weights)
    elif base.url:
        lines += [
            '# From scratch: no weights were found. This downloads them, and '
            'is far better:',
            f"# load_from = '{base.url}'",
        ]
    if data.task == 'classification':
        count = dict(num_classes=len(data.classes))
        lines += assign('data_preprocessor', count)
    return [*lines, *assign('model', changes)]


def _schedule(data: DataSet, base: Base, fit: Fit) -> list[str]:
    recipe = base.cfg.auto_scale_lr.base_batch_size
    lines, wrapper = _optimizer(data.task, base, fit.images, recipe)
    lines += assign('optim_wrapper', wrapper)
    lines += assign('auto_scale_lr', dict(base_batch_size=fit.images))
    lines += comment(fit.reasons['epochs'])
    steps, total, unit = fit.steps(data), fit.epochs, 'max_epochs'
    if data.task == 'segmentation':  # the loop counts iterations
        total, unit = total * steps, 'max_iters'
    every = max(1, total // 10)
    warm_up = min(1000, fit.epochs * steps // 10)
    lines += assign('train_cfg', {unit: total, 'val_interval': every})
    lines += assign(
        'param_scheduler', _scheduler(data.task, total, warm_up, steps)
    )
    if base.cfg.get('custom_hooks'):
        lines.append('custom_hooks = []  # averaged weights need a long run')
    best = _METRICS[data.task]
    keep = dict(interval=every, max_keep_ckpts=1, save_best=best)
    lines += assign('default_hooks', dict(checkpoint=keep))
    return [*lines, *assign('randomness', dict(seed=0))]


def _optimizer(
    task: str, base: Base, images: int, recipe: int
) -> tuple[list[str], dict]:
    """Comments on the learning rate, and the optim_wrapper."""
    inherited = base.cfg.optim_wrapper
    lr = inherited.optimizer.lr
    linear, least = lr * images / recipe, _LEAST_LR[task]
    rate = Code(f'{lr:g} * {images} / {recipe}')
    lines = comment(
        f'The lr of the recipe for {recipe} images a step, scaled to {images}'
        + (f', at least {least:g}.' if linear < least else '.')
    )
    if linear < least:
        rate = Code(f'max({rate}, {least:g})')
    if inherited.type != 'AmpOptimWrapper':
        return lines, dict(optimizer=dict(lr=rate))
    lines += comment(
        'In single precision, which a CPU has too; --amp asks for mixed.'
    )
    above = '_base_.optim_wrapper'
    optimizer = {'**': Code(f'{above}.optimizer'), 'lr': rate}
    wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=optimizer)
    for key in ('clip_grad', 'paramwise_cfg'):
        if key in inherited:
            wrapper[key] = Code(f'{above}.{key}')
    return lines, wrapper


def _scheduler(task: str, total: int, warm_up: int, steps: int) -> list[dict]:
    """Warm-up by iterations, then cosine or poly to (nearly) zero."""
    start = dict(
        type='LinearLR', start_factor=0.001, by_epoch=False, end=warm_up
    )
    if task == 'segmentation':
        last = dict(type='PolyLR', power=1.0, by_epoch=False)
        last.update(begin=warm_up, end=total)
    else:
        last = dict(type='CosineAnnealingLR', by_epoch=False)
        last.update(begin=warm_up, T_max=total * steps - warm_up)
    return [start, last] if warm_up else [last]
