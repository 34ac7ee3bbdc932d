"""Say on one screen what is about to be trained."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

_SHARD = '_fsdp_wrapped_module.'  # in the names of what FSDP wrapped


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
    model = _unwrap(model)
    weights = {k.removeprefix('module.'): v for k, v in weights.items()}
    parameters = dict(model.named_parameters())
    sharded = any(_SHARD in name for name in parameters)
    parameters = {k.replace(_SHARD, ''): v for k, v in parameters.items()}
    loaded = {
        name
        for name, value in parameters.items()
        # An FVE of another grid is resized; a shard has a shape of its own.
        if name in weights
        and (
            weights[name].shape == value.shape
            or 'freq_embed.' in name
            or sharded
        )
    }
    buffers = {n.replace(_SHARD, '') for n, _ in model.named_buffers()}
    return (
        f'{len(loaded)} of {len(parameters)} parameters, '
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
    cfg, loop = runner.cfg, runner.train_loop
    model = cfg.get('model') or {}  # none of a runner made in Python
    kind = 'backbone' if 'backbone' in model else 'network'
    backbone = model.get(kind, {})
    loader = loop.dataloader
    if loop.max_epochs > 1 or (cfg.get('train_cfg') or {}).get('by_epoch'):
        length = f'{loop.max_epochs} epochs of {len(loader)} iterations'
    else:
        length = f'{loop.max_iters} iterations'
    arch = f'{type(_unwrap(runner.model)).__name__}, {kind} '
    arch += f'{backbone.get("type")} {backbone.get("arch", "")}'
    total, trained, size = _count_parameters(runner.model)
    world = get_world_size()
    device = f'CPU, {world} process{"es" if world > 1 else ""}'
    if torch.cuda.is_available():
        device = f'{world} x {torch.cuda.get_device_name()}'
    batch = getattr(loader.batch_sampler, 'batch_size', 1)
    steps = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
    batches = f'{world * batch * steps} = {world} x {batch}'
    return {
        'config': str(cfg.filename),
        'model': arch.rstrip(),
        'parameters': f'{total / 1e6:.2f} M, {trained / 1e6:.2f} M trained, '
        f'{size / 2**20:.1f} MiB',
        'data': f'{len(loader.dataset)} images, {length}',
        'devices': device,
        'batch': batches + (f' x {steps} accumulated' if steps > 1 else ''),
        'lr': _learning_rate(runner, world * batch),
        'precision': type(runner.optim_wrapper).__name__,
        'weights': _weights(runner, counts),
        'work dir': runner.work_dir,
    }


def _unwrap(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _count_parameters(model: nn.Module) -> list[int]:
    """All parameters, those trained, and the bytes of all."""
    parameters = list(model.parameters())
    counts = torch.tensor(
        [
            sum(p.numel() for p in parameters),
            sum(p.numel() for p in parameters if p.requires_grad),
            sum(p.numel() * p.element_size() for p in parameters),
        ]
    )
    if any(_SHARD in name for name, _ in model.named_parameters()):
        all_reduce(counts)  # each process holds its shard
    return counts.tolist()


def _learning_rate(runner: Runner, batch: int) -> str:
    if isinstance(runner.optim_wrapper, OptimWrapperDict):
        return f'of {", ".join(runner.optim_wrapper.keys())}'
    optimizer = runner.optim_wrapper.optimizer
    given = optimizer.defaults['lr']
    text = f'{given:.3g} ({type(optimizer).__name__})'
    scale = runner.cfg.get('auto_scale_lr') or {}
    base = scale.get('base_batch_size')
    if base is None:
        return text + ', no auto_scale_lr in the config'
    scaled = given * batch / base
    if scale.get('enable'):
        return f'{scaled:.3g} = {text} x {batch} / {base}'
    if batch == base:
        return text + f', for the base batch {base}'
    return text + (
        f'; --auto-scale-lr would set {scaled:.3g} (batch {batch} instead of '
        f'{base})'
    )


def _weights(runner: Runner, counts: str) -> str:
    if runner.iter:
        start = f'resumed from {runner._load_from} at iteration {runner.iter}'
        return f'{start} ({counts})'
    if runner._load_from:
        return f'loaded from {runner._load_from} ({counts})'
    model = runner.cfg.get('model') or {}
    init_cfg = model.get('backbone', {}).get('init_cfg') or {}
    source = isinstance(init_cfg, dict) and init_cfg.get('checkpoint')
    if not source:
        return 'as in init_cfg' if init_cfg else 'from scratch'
    report = getattr(_unwrap(runner.model).backbone, 'load_report', None)
    return f'backbone from {source}' + (f' ({report})' if report else '')
