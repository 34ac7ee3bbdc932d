"""Make a config run on the devices at hand: CPU or GPU, one or many."""

from __future__ import annotations

import datetime
import os
import subprocess

import torch
import torch.distributed as dist
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

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
    """Fit ``cfg`` to the devices before its runner is built.

    A distributed run on CPU differs from what the runner expects in three
    ways: the process group must be gloo and exist before the runner, DDP
    takes no device ids, and SyncBN has no CPU kernel.

    Args:
        cfg (Config): The config to change.
        launcher (str): ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
    """
    cfg.launcher = launcher
    if launcher == 'none':
        return
    gather_over_the_network(cfg)
    if launcher == 'slurm' and 'MASTER_PORT' not in os.environ:
        # Jobs that share a machine must not share a port.
        job = int(os.environ.get('SLURM_JOB_ID', 0))
        os.environ['MASTER_PORT'] = str(20_000 + job % 10_000)
    if torch.cuda.is_available():
        return
    _rename_ranks(launcher)
    timeout = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', 1800)
    dist.init_process_group(
        'gloo', timeout=datetime.timedelta(seconds=timeout)
    )
    wrapper = cfg.get('model_wrapper_cfg') or ConfigDict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    wrapper.device_ids = None
    cfg.model_wrapper_cfg = wrapper
    cfg.pop('sync_bn', None)
    replaced = replace_sync_bn(cfg.model)
    if replaced and dist.get_rank() == 0:
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


def gather_over_the_network(cfg: Config) -> None:
    """Let the ranks exchange test results without a common folder.

    By default they go through files below the working directory, which must
    then be writable and the same for every machine.

    Args:
        cfg (Config): The config to change.
    """
    for split in ('val', 'test'):
        evaluators = cfg.get(f'{split}_evaluator') or []
        if isinstance(evaluators, dict):
            evaluators = [evaluators]
        for evaluator in evaluators:
            # 'gpu' names the collective, which gloo does on CPU.
            evaluator.setdefault('collect_device', 'gpu')


def replace_sync_bn(node: dict | list) -> int:
    """Turn every ``type='SyncBN'`` below ``node`` into ``'BN'`` in place.

    Args:
        node (dict | list): A model config.

    Returns:
        int: The number of settings replaced.
    """
    replaced = 0
    if isinstance(node, dict):
        if node.get('type') in _SYNC_BN:
            node['type'] = 'BN'
            replaced += 1
        children = node.values()
    else:
        children = node
    for child in children:
        if isinstance(child, (dict, list, tuple)):
            replaced += replace_sync_bn(child)
    return replaced
