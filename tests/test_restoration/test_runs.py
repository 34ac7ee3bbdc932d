"""Restoration trains, tests and draws by the tools of every other task."""

from __future__ import annotations

import json
import runpy
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import CheckpointLoader
from mmengine.visualization import Visualizer

from mmvheat.commands.config import load_config
from mmvheat.commands.test import enable_painting
from mmvheat.datasets.checks import check_dataset
from mmvheat.errors import UserError
from mmvheat.models import vHeatIR

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / 'configs/quickstart/vheatir-n_graydn25_photographs.py'
PUBLISHED = sorted(ROOT.glob('configs/restoration/*.py'))


@pytest.fixture
def config(tmp_path: Path, folder: Path) -> Path:
    """The quickstart, narrower and shorter, on small photographs."""
    path = tmp_path / 'small.py'
    path.write_text(
        f'_base_ = {str(QUICKSTART)!r}\n'
        'train_dataloader = dict(batch_size=2)\n'
        + ''.join(
            f'{split}_dataloader = dict(dataset=dict(data_root='
            f'{str(folder)!r}))\n'
            for split in ('val', 'test')
        )
        + f'train_dataloader.update(dataset=dict(data_root={str(folder)!r}))\n'
        'model = dict(network=dict(embed_dims=8, depths=(1, 1)))\n'
        'train_cfg = dict(max_iters=4, val_interval=2)\n'
        'param_scheduler = []\n'
        'default_hooks = dict(\n'
        '    learning_curves=None, logger=dict(interval=1),\n'
        '    checkpoint=dict(interval=2, max_keep_ckpts=-1))\n'
    )
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Runs a tool in this process."""

    def run(tool: str, *args: object) -> None:
        for manager in (MessageHub, MMLogger, Visualizer):
            manager._instance_dict.clear()
        arguments = [str(argument) for argument in args]
        monkeypatch.setattr(sys, 'argv', [tool, *arguments])
        monkeypatch.syspath_prepend(str(ROOT / 'tools'))
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')

    return run


def save_weights(config: Path) -> Path:
    """Save the weights that a config's model starts with."""
    model = MODELS.build(load_config(str(config)).model)
    path = config.with_suffix('.pth')
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


def read_losses(work_dir: Path) -> dict[int, float]:
    """Read the losses of the newest run by their iterations."""
    path = sorted(work_dir.glob('*/vis_data/scalars.json'))[-1]
    records = map(json.loads, path.read_text().splitlines())
    return {r['step']: r['loss'] for r in records if 'loss' in r}


def test_trains_resumes_tests_and_draws(
    config: Path, folder: Path, tmp_path: Path, run: Callable
) -> None:
    whole, resumed = tmp_path / 'whole', tmp_path / 'resumed'
    run('train.py', config, '--work-dir', whole)
    losses = read_losses(whole)
    assert list(losses) == [1, 2, 3, 4]

    resumed.mkdir()
    shutil.copy(whole / 'iter_2.pth', resumed)
    (resumed / 'last_checkpoint').write_text(str(resumed / 'iter_2.pth'))
    run('train.py', config, '--work-dir', resumed, '--resume')
    assert read_losses(resumed) == {3: losses[3], 4: losses[4]}

    checkpoint = whole / 'iter_4.pth'
    run('test.py', config, checkpoint, '--work-dir', whole)
    metrics = json.loads((whole / 'metrics.json').read_text())['metrics']
    assert metrics.keys() == {'test/PSNR', 'test/SSIM'}
    assert 15 < metrics['test/PSNR'] < 30
    run('test.py', config, checkpoint, '--work-dir', whole, '--tta')
    eight = json.loads((whole / 'metrics_tta.json').read_text())['metrics']
    assert eight['test/PSNR'] != metrics['test/PSNR']

    out, options = tmp_path / 'out', ['--config', config]
    options += ['--checkpoint', checkpoint, '--out-dir', out]
    run('infer.py', folder / 'test', *options)
    restored = cv2.imread(str(out / 'restored/0.png'), cv2.IMREAD_UNCHANGED)
    clean = cv2.imread(str(folder / 'test/0.png'), cv2.IMREAD_GRAYSCALE)
    assert restored.shape == clean.shape
    assert 3 < np.abs(restored.astype(float) - clean).mean() < 25
    four = cv2.imread(str(out / 'vis/0.png')).shape

    shutil.rmtree(out)
    run('infer.py', folder / 'test/0.png', *options, '--degraded')
    three = cv2.imread(str(out / 'vis/0.png')).shape
    assert three[1] < 0.8 * four[1]


@pytest.fixture
def run_two_ranks(start: Callable) -> Callable:
    """Runs a tool in two processes that meet."""

    def run(tool: str, *args: object) -> None:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = str(probe.getsockname()[1])
        env = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        options = [*args, '--launcher', 'pytorch']
        ranks = [
            start(
                ROOT / 'tools' / tool,
                *options,
                env=dict(env, RANK=rank, LOCAL_RANK=rank),
            )
            for rank in '01'
        ]
        for rank in ranks:
            assert rank.wait().exit_code == 0, rank.output

    return run


@pytest.mark.slow
def test_two_processes_test_as_one(
    config: Path,
    folder: Path,
    tmp_path: Path,
    run: Callable,
    run_two_ranks: Callable,
) -> None:
    weights = save_weights(config)
    # Three images: the second rank gets one of them again.
    shutil.copy(folder / 'train/1.png', folder / 'test/2.png')
    path = tmp_path / 'two_sets.py'
    path.write_text(
        f'_base_ = {str(config)!r}\n'
        f'one = dict(type="RestorationDataset", data_root={str(folder)!r}, '
        'data_prefix=dict(img_path="test"), pipeline=_base_.test_pipeline)\n'
        'test_dataloader = dict(dataset=dict(_delete_=True, '
        'type="ConcatDataset", datasets=[one, dict(one, name="again")]))\n'
    )

    run('test.py', path, weights, '--work-dir', tmp_path / 'one')
    run_two_ranks('test.py', path, weights, '--work-dir', tmp_path / 'two')

    one, two = (
        json.loads((tmp_path / name / 'metrics.json').read_text())['metrics']
        for name in ('one', 'two')
    )
    assert one == pytest.approx(two, rel=1e-9)
    assert one['again/PSNR'] == pytest.approx(one['test/PSNR'])


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(
    config: Path, tmp_path: Path, run: Callable, run_two_ranks: Callable
) -> None:
    # Whole images with the same noise each time: nothing is left to chance
    # but their order, which a run's seed sets.
    steps = [dict(type='LoadPhotograph', color='gray')]
    steps.append(dict(type='AddGaussianNoise', sigma=25, seed=0))
    steps.append(dict(type='PackRestoration'))
    for batch_size in (1, 2):
        (tmp_path / f'{batch_size}.py').write_text(
            f'_base_ = {str(config)!r}\n'
            f'train_dataloader = dict(batch_size={batch_size}, '
            f'dataset=dict(pipeline={steps}))\n'
            # Adam divides by the size of a gradient, rounding errors too.
            'optim_wrapper = dict(optimizer=dict(eps=1e-4))\n'
        )
    run('train.py', tmp_path / '2.py', '--work-dir', tmp_path / 'one')
    two = tmp_path / 'two'
    run_two_ranks('train.py', tmp_path / '1.py', '--work-dir', two)

    one, two = (
        CheckpointLoader.load_checkpoint(str(tmp_path / name / 'iter_4.pth'))
        for name in ('one', 'two')
    )
    torch.testing.assert_close(
        two['state_dict'], one['state_dict'], atol=2e-5, rtol=1e-3
    )


def test_a_missing_folder_is_told(
    config: Path, run: Callable, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        run(
            *('train.py', config, '--work-dir', config.parent / 'x'),
            *('--cfg-options', 'train_dataloader.dataset.data_root=nowhere'),
        )
    assert (
        'error: The data_root of train_dataloader nowhere does not exist'
        in capsys.readouterr().err
    )


def test_infer_asks_for_degraded_images_where_a_test_has_pairs(
    config: Path, folder: Path, run: Callable, capsys: pytest.CaptureFixture
) -> None:
    steps = [dict(type='LoadPhotograph'), dict(type='PackRestoration')]
    path = config.with_name('pairs.py')
    path.write_text(
        f'_base_ = {str(config)!r}\n'
        'model = dict(network=dict(upscale=2, in_channels=3))\n'
        f'test_dataloader = dict(dataset=dict(pipeline={steps}))\n'
    )
    weights = save_weights(path)
    options = ['--config', path, '--checkpoint', weights]
    options += ['--out-dir', folder / 'out']

    with pytest.raises(SystemExit):
        run('infer.py', folder / 'test/0.png', *options)
    assert 'give degraded images and say so' in capsys.readouterr().err

    run('infer.py', folder / 'test/0.png', *options, '--degraded')
    restored = cv2.imread(str(folder / 'out/restored/0.png'))
    clean = cv2.imread(str(folder / 'test/0.png'))
    np.testing.assert_array_equal(
        restored, clean.repeat(2, 0).repeat(2, 1)
    )  # what an untrained network does


def test_infer_restores_large_images_in_tiles(
    config: Path,
    folder: Path,
    run: Callable,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = save_weights(config)
    large = np.zeros((1000, 1100), np.uint8)
    cv2.imwrite(str(folder / 'test/1.png'), large)
    sizes = []

    def restore(network: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(x.shape[2:]))
        return x

    monkeypatch.setattr(vHeatIR, 'forward', restore)
    options = ['--config', config, '--checkpoint', weights]
    options += ['--out-dir', folder / 'out', '--degraded']

    run('infer.py', folder / 'test', *options)

    # 1000 and 1100 pixels by steps of 448
    assert sizes == [(67, 90), *9 * [(512, 512)]]
    assert '1.png: 1100x1000, in tiles of 512' in capsys.readouterr().out
    restored = cv2.imread(str(folder / 'out/restored/1.png'))
    assert restored.shape == (1000, 1100, 3)


def test_painting_is_left_to_infer(config: Path) -> None:
    with pytest.raises(UserError, match='tools/infer.py'):
        enable_painting(load_config(str(config)), 'pictures')


def build_dataset(config: Path, **options) -> tuple[object, Config]:
    cfg = load_config(str(config))
    settings = cfg.train_dataloader.dataset
    settings.update(options)
    return DATASETS.build(settings), cfg


def make_pairs(folder: Path) -> dict:
    """Make degraded partners of the test photographs."""
    (folder / 'degraded').mkdir()
    for path in (folder / 'test').iterdir():
        image = cv2.GaussianBlur(cv2.imread(str(path)), (5, 5), 1)
        cv2.imwrite(str(folder / 'degraded' / f'{path.stem}.jpg'), image)
    return dict(img_path='test', lq_path='degraded')


def test_pairs_are_read_together(config: Path, folder: Path) -> None:
    steps = [dict(type='LoadPhotograph'), dict(type='PackRestoration')]
    prefix = make_pairs(folder)

    dataset, _ = build_dataset(config, data_prefix=prefix, pipeline=steps)

    assert len(dataset) == 2
    for i in range(2):
        degraded = cv2.imread(str(folder / f'degraded/{i}.jpg'))
        np.testing.assert_array_equal(
            dataset[i]['inputs'].permute(1, 2, 0).numpy(), degraded[..., ::-1]
        )


def test_linked_folders_are_one_data_set(
    config: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / 'many').mkdir()
    for split in ('train', 'val'):
        (tmp_path / 'many' / split).symlink_to(folder / split)

    dataset, _ = build_dataset(
        config, data_root=str(tmp_path), data_prefix=dict(img_path='many')
    )

    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    found = [Path(info['img_path']) for info in infos]
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        f'many/{split}/{i}.png' for split in ('train', 'val') for i in (0, 1)
    ]


def test_bad_pairs_are_told(config: Path, folder: Path) -> None:
    prefix = make_pairs(folder)
    path = folder / 'degraded/1.jpg'
    image = cv2.imread(str(path))

    cv2.imwrite(str(path), image[:-1])
    with pytest.raises(UserError, match='1.jpg is 90x66, but its clean'):
        check_dataset(*build_dataset(config, data_prefix=prefix))

    path.unlink()
    with pytest.raises(UserError, match='1.png has no degraded partner'):
        check_dataset(*build_dataset(config, data_prefix=prefix))


def test_bad_photographs_are_told(config: Path, folder: Path) -> None:
    check_dataset(*build_dataset(config))
    dataset, cfg = build_dataset(config)
    cfg.model.network.in_channels = 3
    with pytest.raises(UserError, match="in_channels=3, .* color='gray', 1"):
        check_dataset(dataset, cfg)

    small = np.zeros((40, 90, 3), np.uint8)
    cv2.imwrite(str(folder / 'train/1.png'), small)
    with pytest.raises(UserError, match='too small for patches of 48'):
        check_dataset(*build_dataset(config))

    (folder / 'train/1.png').write_bytes(b'no image')
    with pytest.raises(UserError, match='1.png cannot be read'):
        check_dataset(*build_dataset(config))


@pytest.mark.parametrize('path', PUBLISHED, ids=lambda path: path.stem)
def test_published_protocol(path: Path) -> None:
    cfg = Config.fromfile(path)
    task = path.stem.rpartition('-')[2]
    level = int(task[-2:])

    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr) == ('Adam', 2e-4)
    assert cfg.train_cfg.max_iters == 1_600_000
    assert cfg.param_scheduler.milestones == [
        thousands * 1000 for thousands in (800, 1200, 1400, 1500)
    ]
    assert cfg.param_scheduler.gamma == 0.5
    network = cfg.model.network
    assert network.embed_dims == 180
    assert list(network.depths) == 6 * [6]
    assert network.mlp_ratio == 2
    assert cfg.auto_scale_lr.base_batch_size == 8
    assert cfg.train_dataloader.batch_size == 1
    pipeline = cfg.train_dataloader.dataset.pipeline
    tests = cfg.test_dataloader.dataset.datasets
    for steps in (pipeline, *(test.pipeline for test in tests)):
        levels = [s.get('sigma', s.get('quality')) for s in steps]
        assert [value for value in levels if value] == [level]
    patches = [s.size for s in pipeline if s.type == 'RandomPatch']
    assert patches[-1] == (126 if 'jpeg' in task else 128)
    names = [test.data_prefix.img_path for test in tests]
    assert cfg.val_dataloader.dataset.data_prefix.img_path == names[0]
    assert (
        names
        == {
            'gray': ['Set12', 'BSD68', 'Urban100'],
            'colo': ['CBSD68', 'Kodak24', 'McMaster', 'Urban100'],
            'jpeg': ['Classic5', 'LIVE1'],
        }[task[:4]]
    )
    assert network.in_channels == (3 if 'color' in task else 1)
    if path.stem.startswith('swinir'):
        window = 7 if 'jpeg' in task else 8
        assert (network.mixer, network.window_size) == ('swin', window)
    else:
        assert network.get('mixer', 'heat') == 'heat'


@pytest.mark.parametrize('task', ['graydn15', 'colordn15', 'jpeg10'])
def test_published_configs_learn_from_and_restore_a_photograph(
    task: str, folder: Path
) -> None:
    # Of which the others differ in the level of noise or quality alone.
    np.random.seed(0)
    torch.manual_seed(0)
    (path,) = (p for p in PUBLISHED if p.stem.endswith(f'-{task}'))
    cfg = load_config(str(path))
    cfg.model.network.update(
        embed_dims=8, depths=(1, 1), grid=16, drop_path_rate=0.0
    )
    settings = cfg.train_dataloader.dataset
    settings.update(data_root=str(folder), data_prefix=dict(img_path='train'))
    for step in settings.pipeline:
        if step.type == 'RandomPatch':
            step.size -= 94
    model = MODELS.build(cfg.model)
    # So small a step down the gradient of a batch cannot overshoot.
    cfg.optim_wrapper.optimizer.lr = 1e-5
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)

    batch = pseudo_collate([DATASETS.build(settings)[0]])
    (clean,) = (sample.gt for sample in batch['data_samples'])
    side = 32 if 'jpeg' in task else 34
    assert clean.shape[1:] == batch['inputs'][0].shape[1:] == (side, side)
    first, second = (
        model.train_step(batch, wrapper)['loss'].item() for _ in range(2)
    )
    assert second < first < 0.2

    settings = cfg.val_dataloader.dataset
    settings.update(data_root=str(folder), data_prefix=dict(img_path='val'))
    (sample,) = model.val_step(pseudo_collate([DATASETS.build(settings)[0]]))
    assert sample.pred.shape == sample.gt.shape
    assert sample.pred.isfinite().all()
