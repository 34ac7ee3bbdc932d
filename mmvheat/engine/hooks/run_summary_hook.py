"""Say on one screen what is about to be trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import FlexibleRunner, Runner
from torch import Tensor, nn

from ..config import innermost_dataset

_SHARD = '_fsdp_wrapped_module.'  # in the names of what FSDP wrapped
# Numbers an optimizer remembers for each parameter.
_MOMENTS = dict(AdamW=2, Adam=2, NAdam=2, RAdam=2, SGD=1)


@HOOKS.register_module()
class RunSummaryHook(Hook):
    """Log one compact summary before the first iteration."""

    priority = 'VERY_LOW'  # before a validation that is repeated

    def __init__(self) -> None:
        self.counts = ''

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Count the tensors that are about to be loaded."""
        weights = checkpoint.get('state_dict', checkpoint)
        self.counts = count_tensors(runner.model, weights)

    def before_train(self, runner: Runner) -> None:
        """Log the summary."""
        rows = summarize(runner, self.counts)
        width = max(len(key) for key in rows)
        lines = [f'  {key:<{width}}  {value}' for key, value in rows.items()]
        runner.logger.info('Run summary\n' + '\n'.join(lines))


def count_tensors(model: nn.Module, weights: Mapping[str, Tensor]) -> str:
    """Say how many tensors of a checkpoint a model takes.

    Args:
        model (nn.Module): The model, wrapped or not.
        weights (Mapping[str, Tensor]): The state dict of a checkpoint.

    Returns:
        str: How many parameters are loaded, missing, left over in the file.
    """
    if is_model_wrapper(model):
        model = model.module
    weights = {k.removeprefix('module.'): v for k, v in weights.items()}
    names, shapes = [], []
    for name, value in model.named_parameters():
        names.append(name.replace(_SHARD, ''))
        shapes.append(value.shape)
    sharded = any(_SHARD in name for name, _ in model.named_parameters())
    loaded = {
        name
        for name, shape in zip(names, shapes)
        # An FVE of another grid is resized; a shard has a shape of its own.
        if name in weights
        and (weights[name].shape == shape or 'freq_embed.' in name or sharded)
    }
    buffers = {n.replace(_SHARD, '') for n, _ in model.named_buffers()}
    return (
        f'{len(loaded)} of {len(names)} parameters, '
        f'{len(weights.keys() - loaded - buffers)} tensors of the file unused'
    )


def summarize(runner: Runner, counts: str) -> dict[str, str]:
    """Describe a run that is ready to train.

    Args:
        runner (Runner): A runner whose weights are loaded.
        counts (str): The tensors loaded from ``load_from``.

    Returns:
        dict[str, str]: What is shown, one entry a line.
    """
    cfg = runner.cfg
    model = runner.model
    if is_model_wrapper(model):
        model = model.module
    total, trained = _count_parameters(runner)
    backbone = cfg.model.get('backbone', {})
    loader = runner.train_dataloader
    loop = runner.train_loop
    if runner.cfg.train_cfg.get('by_epoch') or loop.max_epochs > 1:
        length = f'{loop.max_epochs} epochs of {len(loader)} iterations'
    else:
        length = f'{loop.max_iters} iterations'
    arch = f'{type(model).__name__}, backbone {backbone.get("type")}'
    if 'arch' in backbone:
        arch += f' {backbone.arch}'
    return {
        'config': str(cfg.filename),
        'model': arch,
        'parameters': f'{total:.2f} M, {trained:.2f} M trained',
        'image size': _image_size(cfg),
        'data': f'{len(loader.dataset)} images, {length}',
        'devices': _devices(),
        'batch': _batch(runner),
        'lr': _learning_rate(runner),
        'precision': type(runner.optim_wrapper).__name__,
        'memory': _memory(runner),
        'weights': _weights(runner, counts),
        'work dir': runner.work_dir,
    }


def _count_parameters(runner: Runner) -> tuple[float, float]:
    """All parameters and those trained, in millions."""
    parameters = list(runner.model.parameters())
    counts = torch.tensor(
        [
            sum(p.numel() for p in parameters),
            sum(p.numel() for p in parameters if p.requires_grad),
        ]
    )
    if isinstance(runner, FlexibleRunner):
        # Each process holds its shard.
        all_reduce(counts)
    total, trained = (counts / 1e6).tolist()
    return total, trained


def _image_size(cfg: Config) -> str:
    """The sizes named by the training pipeline."""
    dataset = innermost_dataset(cfg.train_dataloader.dataset)
    sizes = []
    for transform in _flatten(dataset.get('pipeline', [])):
        for key in ('scale', 'scales', 'crop_size'):
            size = transform.get(key)
            if isinstance(size, list) and len(size) > 2:
                size = f'{size[0]} to {size[-1]}'
            if size:
                sizes.append(f'{transform["type"]} {size}')
    return ', '.join(dict.fromkeys(sizes)) or 'as in the files'


def _flatten(pipeline: dict | list) -> Iterator[dict]:
    """The transforms of a pipeline, those within others too."""
    if isinstance(pipeline, dict):
        yield pipeline
        pipeline = pipeline.get('transforms', [])
    for transform in pipeline:
        yield from _flatten(transform)


def _devices() -> str:
    world = get_world_size()
    if torch.cuda.is_available():
        return f'{world} x {torch.cuda.get_device_name()}'
    return f'CPU, {world} process{"es" if world > 1 else ""}'


def _batch_sizes(runner: Runner) -> tuple[int, int, int]:
    """Processes, images per process, accumulated iterations."""
    batch = runner.cfg.train_dataloader.batch_size
    steps = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
    return get_world_size(), batch, steps


def _batch(runner: Runner) -> str:
    world, batch, steps = _batch_sizes(runner)
    text = f'{world * batch * steps} = {world} x {batch}'
    return text + (f' x {steps} accumulated' if steps > 1 else '')


def _learning_rate(runner: Runner) -> str:
    optimizer = runner.optim_wrapper.optimizer
    given = optimizer.defaults['lr']
    text = f'{given:.3g} ({type(optimizer).__name__})'
    scale = runner.cfg.get('auto_scale_lr') or {}
    base = scale.get('base_batch_size')
    if base is None:
        return text + ', no auto_scale_lr in the config'
    world, batch, _ = _batch_sizes(runner)
    scaled = given * world * batch / base
    if scale.get('enable'):
        return f'{scaled:.3g} = {text} x {world * batch} / {base}'
    if world * batch == base:
        return text + f', for the base batch {base}'
    return text + (
        f'; --auto-scale-lr would set {scaled:.3g} (batch {world * batch} '
        f'instead of {base})'
    )


def _memory(runner: Runner) -> str:
    """What is needed on each device whatever the images."""
    parameters = list(runner.model.parameters())
    total = sum(p.numel() * p.element_size() for p in parameters)
    trained = sum(
        p.numel() * p.element_size() for p in parameters if p.requires_grad
    )
    optimizer = type(runner.optim_wrapper.optimizer).__name__
    text = 'weights, gradients'
    if optimizer in _MOMENTS:
        text += f', {optimizer}'
    size = total + (1 + _MOMENTS.get(optimizer, 0)) * trained
    text = f'{_gigabytes(size)} for {text}; activations come on top'
    if torch.cuda.is_available():
        available = torch.cuda.get_device_properties(0).total_memory
        text += f' ({_gigabytes(available)} a device)'
    return text


def _gigabytes(size: int) -> str:
    if size < 2**30:
        return f'{size / 2**20:.1f} MiB'
    return f'{size / 2**30:.1f} GiB'


def _weights(runner: Runner, counts: str) -> str:
    if runner.iter:
        start = f'resumed from {runner._load_from} at iteration {runner.iter}'
        return f'{start} ({counts})'
    if runner._load_from:
        return f'loaded from {runner._load_from} ({counts})'
    init_cfg = runner.cfg.model.get('backbone', {}).get('init_cfg') or {}
    if not isinstance(init_cfg, dict):
        return 'as in init_cfg'
    source = init_cfg.get('checkpoint')
    if not source:
        return 'from scratch'
    model = runner.model
    if is_model_wrapper(model):
        model = model.module
    report = getattr(model.backbone, 'load_report', None)
    return f'backbone from {source}' + (f' ({report})' if report else '')
