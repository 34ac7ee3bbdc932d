"""Make a config run on the devices at hand: CPU or GPU, one or many."""

from __future__ import annotations

import datetime
import os
import subprocess
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.config import Config, ConfigDict
from mmengine.dist import broadcast_object_list, init_dist, is_main_process
from mmengine.logging import print_log

from mmvheat.checkpoint import CheckpointError, find_complete_checkpoint
from mmvheat.checkpoint.reader import mark_checked

_RANK_VARIABLES = dict(
    slurm=dict(
        RANK='SLURM_PROCID',
        WORLD_SIZE='SLURM_NTASKS',
        LOCAL_RANK='SLURM_LOCALID',
    ),
    mpi=dict(
        RANK='OMPI_COMM_WORLD_RANK',
        WORLD_SIZE='OMPI_COMM_WORLD_SIZE',
        LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK',
    ),
)
_SYNC_BN = ('SyncBN', 'MMSyncBN', 'SyncBatchNorm')


def prepare_environment(cfg: Config, launcher: str) -> None:
    """Connect the processes and fit ``cfg`` to their devices.

    On CPU the process group must be gloo, DDP takes no device ids, and
    SyncBN has no kernel.
    """
    cfg.launcher = launcher
    if cfg.get('randomness', {}).get('deterministic'):
        # Without it torch refuses products on CUDA.
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    if launcher == 'none':
        return
    if launcher == 'slurm' and 'MASTER_PORT' not in os.environ:
        # Jobs that share a machine must not share a port.
        job = int(os.environ.get('SLURM_JOB_ID', 0))
        os.environ['MASTER_PORT'] = str(20_000 + job % 10_000)
    strategy = cfg.get('strategy', {}).get('type')
    if strategy in ('DeepSpeedStrategy', 'ColossalAIStrategy'):
        return  # they connect the processes in their own way
    options = dict(cfg.get('env_cfg', {}).get('dist_cfg', {}))
    if torch.cuda.is_available():
        init_dist(launcher, **{'backend': 'nccl', **options})
        return
    _rename_ranks(launcher)
    timeout = datetime.timedelta(seconds=options.get('timeout', 1800))
    dist.init_process_group('gloo', timeout=timeout)
    wrapper = cfg.get('model_wrapper_cfg') or ConfigDict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    wrapper.device_ids = None
    cfg.model_wrapper_cfg = wrapper
    cfg.pop('sync_bn', None)
    replaced = replace_sync_bn(cfg.model)
    if replaced and is_main_process():
        print_log(
            f'SyncBN needs CUDA: {replaced} norm settings of the model are '
            'BN in this CPU run.',
            logger='current',
        )


def _rename_ranks(launcher: str) -> None:
    """Say in the words of torch which rank this is."""
    for name, theirs in _RANK_VARIABLES.get(launcher, {}).items():
        os.environ[name] = os.environ[theirs]
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        hosts = subprocess.check_output(
            ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
            text=True,
        )
        os.environ['MASTER_ADDR'] = hosts.split()[0]
    os.environ.setdefault('MASTER_PORT', '29500')


def replace_sync_bn(node: dict | list) -> int:
    """Turn every ``type='SyncBN'`` in a model config into ``'BN'``.

    Returns:
        int: The number of settings replaced.
    """
    is_sync = isinstance(node, dict) and node.get('type') in _SYNC_BN
    if is_sync:
        node['type'] = 'BN'
    children = node.values() if isinstance(node, dict) else node
    return is_sync + sum(
        replace_sync_bn(child)
        for child in children
        if isinstance(child, (dict, list, tuple))
    )


def choose_start(cfg: Config, resume: str | None) -> None:
    """Decide on the main process which checkpoint all start from.

    ``resume`` is one, ``'auto'`` for the newest complete one of the work dir,
    or None to follow ``cfg.resume``.

    Raises:
        CheckpointError: All checkpoints of the work dir are damaged.
    """
    if resume is None and (not cfg.get('resume') or cfg.get('load_from')):
        return
    cfg.resume = True
    if resume not in (None, 'auto'):
        cfg.load_from = resume
        return
    answer = [None]
    if is_main_process():
        try:
            answer = [find_complete_checkpoint(cfg.work_dir)]
        except CheckpointError as error:
            answer = [error]
    broadcast_object_list(answer)
    (cfg.load_from,) = answer
    if isinstance(answer[0], CheckpointError):
        raise answer[0]
    if cfg.load_from is not None:
        mark_checked(Path(cfg.load_from))
        return
    cfg.resume = False
    print_log(
        f'--resume found no checkpoint in {cfg.work_dir}; the run starts '
        'from the beginning.',
        logger='current',
    )
