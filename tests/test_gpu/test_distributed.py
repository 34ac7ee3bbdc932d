"""Several processes compute what one does: NCCL on GPUs, gloo on a CPU."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(900),
    # They share trainings.
    pytest.mark.xdist_group('distributed'),
]
ROOT = Path(__file__).parents[2]
CLASSIFIER = 'vheat-n_12e_digit-crops-64x64.py'
OPTIONS = (
    'model.backbone.drop_path_rate=0.0',
    'optim_wrapper.clip_grad.max_norm=5.0',
    'optim_wrapper.optimizer.eps=1e-4',  # rounding stays small
    'train_cfg.max_epochs=2',
    'train_dataloader.batch_size=16',
)
MIXED = 'strategy.model_wrapper.mixed_precision.{}={}'


TASKS = ('ddp', 'ddp_recomputed', 'sync_bn', 'gather')


@pytest.fixture(scope='module', params=['one', 'all'])
def errors(request, device, all_ranks, run_ranks):
    """Relative errors of every rank in the tasks of ``ranks.py``."""
    if request.param == 'one' and device == 'cpu':
        pytest.skip('gloo is not under test')
    if request.param == 'all' and all_ranks == 1:
        pytest.skip('there is one card')
    tasks = [t for t in TASKS if device == 'cuda' or t != 'sync_bn']
    output = run_ranks(
        Path(__file__).with_name('ranks.py'),
        *tasks,
        ranks=1 if request.param == 'one' else all_ranks,
    )
    return json.loads(output.splitlines()[-1])


@pytest.mark.parametrize('task', TASKS[:3])
def test_gradients_of_the_whole_batch(errors, record_property, task):
    for rank in errors:
        if task not in rank:
            pytest.skip('torch has no SyncBN for CPUs')
        for name, error in rank[task].items():
            record_property('error', (error, 1e-3))
            assert error <= 1e-3, name


def test_results_are_gathered_in_order(errors):
    """By files and by the collective of the device."""
    assert [rank['gather'] for rank in errors] == [{}] * len(errors)


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    """Weights to start from: a GPU and a CPU draw others from one seed."""
    config = Config.fromfile(ROOT / 'configs/quickstart' / CLASSIFIER)
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    path = tmp_path_factory.mktemp('start') / 'start.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return f'load_from={path}'


@pytest.fixture(scope='module')
def plain(train, few, start):
    """A classifier trained in single precision by all ranks."""
    return train(CLASSIFIER, *OPTIONS, *few, start)


@pytest.fixture(scope='module')
def train_sharded(device, train, few, start):
    """Trains it with parameters sharded over the ranks and kept by the CPU."""

    def train_sharded(*cfg_options, options=()):
        cfg_options = (
            *OPTIONS,
            *few,
            start,
            'runner_type=FlexibleRunner',
            'strategy.type=ShardedStrategy',
            *cfg_options,
        )
        if device == 'cuda':
            cfg_options += ('strategy.model_wrapper.cpu_offload=True',)
        return train(CLASSIFIER, *cfg_options, options=options)

    return train_sharded


@pytest.fixture(scope='module')
def sharded(train_sharded):
    return train_sharded()


def load(work_dir, name='epoch_2.pth'):
    return torch.load(work_dir / name, map_location='cpu', weights_only=False)


def test_all_ranks_evaluate_as_one(
    plain, few, run_ranks, digits, read_scalars, tmp_path
):
    # The config as it was run is beside the checkpoint.
    run_ranks(
        *(ROOT / 'tools/test.py', plain / CLASSIFIER, plain / 'epoch_2.pth'),
        *('--launcher', 'pytorch', '--work-dir', tmp_path),
        '--cfg-options',
        *(option.replace('val_', 'test_') for option in few[1:]),
        ranks=1,
        cwd=digits,
    )
    record = json.loads((tmp_path / 'metrics.json').read_text())
    accuracy = read_scalars(plain, 'accuracy/top1')[-1]
    top1 = record['metrics']['accuracy/top1']
    assert top1 == pytest.approx(accuracy, abs=1e-3)


def test_sharded_training_is_that_of_ddp(plain, sharded, read_scalars, check):
    name = 'loss'
    check(read_scalars(sharded, name), read_scalars(plain, name), 1e-3)
    expected = load(plain)['state_dict']
    for name, value in load(sharded)['state_dict'].items():
        check(value, expected[name], 1e-2, name)


def test_sharded_gradients_are_clipped_together(
    plain, sharded, read_scalars, check
):
    name = 'grad_norm'
    check(read_scalars(sharded, name), read_scalars(plain, name), 1e-3)


def test_sharded_training_resumes(sharded, train_sharded):
    first = sharded / 'epoch_1.pth'
    resumed = train_sharded(options=['--resume', first])
    steps, expected = (
        {float(s['step']) for s in load(run)['optimizer']['state'].values()}
        for run in (resumed, sharded)
    )
    assert steps == expected == {float(load(sharded)['meta']['iter'])}


@pytest.mark.parametrize('shards', ['float32', 'half'])
@pytest.mark.parametrize('amp', ['bf16', 'fp16'])
def test_sharded_training_in_half_precision(
    plain, train_sharded, read_scalars, device, check, amp, shards
):
    """Under autocast, or with parameters gathered as such.

    Gradients of float16 need the loss scale, which comes with autocast.
    """
    if device == 'cpu' and (amp, shards) != ('bf16', 'half'):
        pytest.skip('one of four is enough; fp16 needs a GPU')
    cfg_options, options = [], ['--amp', amp]
    if amp == 'fp16':  # refused with a fused optimizer
        cfg_options.append('optim_wrapper.optimizer.fused=False')
    if shards == 'half':
        options = [] if amp == 'bf16' else options
        dtype = dict(bf16='bfloat16', fp16='float16')[amp]
        for name in ('param_dtype', 'reduce_dtype'):
            cfg_options.append(MIXED.format(name, dtype))
    work_dir = train_sharded(*cfg_options, options=options)
    name = 'loss'
    check(read_scalars(work_dir, name), read_scalars(plain, name), 0.1)
    weights = load(work_dir)['state_dict'].values()
    assert all(value.isfinite().all() for value in weights)
