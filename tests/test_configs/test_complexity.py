"""Parameters and FLOPs are those of the official model, and of the READMEs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import get_flops
import pytest
import torch
from get_flops import describe, find_readmes, make_folder_table
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.registry import MODELS
from tiny_config import ROOT, load_config, make_tiny
from torch import nn

from mmvheat.analysis.complexity import (
    Complexity,
    count_flops,
    define_flops,
    measure,
)
from mmvheat.commands.config import build_model
from mmvheat.models import vHeat

DET = 'mask_rcnn/mask-rcnn_vheat-{}_fpn_1x_coco.py'
SEG = 'upernet/upernet_vheat-{}_8xb2-160k_ade20k-512x512.py'
# Measured on the official model by mmengine's get_model_complexity_info.
OFFICIAL = [
    (DET.format('t'), '52.74 M', '286.4 G'),
    (DET.format('s'), '74.11 M', '376.5 G'),
    (DET.format('b'), '114.69 M', '526.2 G'),
    (SEG.format('t'), '64.89 M', '968.7 G'),
    (SEG.format('s'), '86.26 M', '1062.2 G'),
    (SEG.format('b'), '128.82 M', '1219.4 G'),
]


_measured: dict[str, Complexity] = {}


def measure_once(cfg: Config) -> Complexity:
    """Measure but once what differs in nothing that is counted."""
    counted = copy.deepcopy(cfg.model)
    for name in ('drop_path_rate', 'init_cfg'):
        counted.backbone.pop(name, None)
    key = repr((cfg.default_scope, cfg.get('data_preprocessor'), counted))
    if key not in _measured:
        _measured[key] = measure(cfg)
    return _measured[key]


# The tiny ones each time, the larger ones in the slow suite.
@pytest.mark.parametrize(
    ('name', 'params', 'flops'),
    [
        row if '-t_' in row[0] else pytest.param(*row, marks=pytest.mark.slow)
        for row in OFFICIAL
    ],
)
def test_equals_the_official_model_to_the_printed_digit(
    name: str, params: str, flops: str
) -> None:
    complexity = measure_once(load_config(ROOT / 'configs' / name))
    columns = describe(complexity)

    assert columns[1:3] == [params, flops]
    path = ROOT / 'configs' / name
    row = f'({path.name}) | {" | ".join(columns)} |'
    assert row in path.with_name('README.md').read_text()
    # The products with the decay are defined, but count nothing when run;
    # those that resize the frequency embeddings run in addition.
    backbone = MODELS.build(load_config(path).model.backbone)
    rows, columns = complexity.shape
    resized = 0
    for i, freq_embed in enumerate(backbone.freq_embed):
        height, width, channels = freq_embed.shape
        new_height, new_width = (
            math.ceil(side / 2 ** (i + 2)) for side in (rows, columns)
        )
        resized += height * width * new_width * channels
        resized += height * new_height * new_width * channels
    difference = complexity.executed - complexity.defined
    assert difference == pytest.approx(resized, abs=4e7)


def test_published_swin_baseline_comes_out() -> None:
    name = DET.format('t').replace('vheat', 'swin')

    complexity = measure(load_config(ROOT / 'configs' / name))

    assert round(complexity.params / 1e6) == 48
    assert round(complexity.defined / 1e9) == 267


@pytest.mark.parametrize(
    'name',
    [
        'classification/swin-t_16xb64_in1k.py',
        'upernet/upernet_swin-t_8xb2-160k_ade20k-512x512.py',
        'sem_fpn/fpn_vheat-t_8xb4-40k_ade20k-512x512.py',
    ],
)
def test_counts_by_the_convention_of_mmengine(
    name: str, digit_scenes: Path
) -> None:
    cfg = make_tiny(load_config(ROOT / 'configs' / name), digit_scenes)
    model = build_model(cfg).eval()
    model.auxiliary_head = None
    if 'vheat' in name:
        # mmengine miscounts a matrix times a batch of matrices.
        model.backbone = FourMaps()
    theirs = get_model_complexity_info(
        model, (3, 64, 96), show_table=False, show_arch=False
    )

    image = torch.zeros(1, 3, 64, 96, device='meta')
    ours = count_flops(partial(model.to('meta'), image))

    assert ours['Global'] == theirs['flops']


class FourMaps(nn.Module):
    """A pyramid of the shapes of a tiny vHeat."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(3, 8 * 2**i, 1, 4 * 2**i) for i in range(4)
        )

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return maps of strides 4 to 32."""
        return tuple(conv(image) for conv in self.convs)


def test_definition_counts_every_layer() -> None:
    # By hand: 33x64 pixels are 17x32 positions in mid-stem and 9x16, 5x8, 3x4
    # and 2x2 in the stages.
    sizes, dims, depths = [(9, 16), (5, 8), (3, 4), (2, 2)], [4, 8, 16, 32], 3

    def block(rows: int, columns: int, channels: int) -> float:
        positions = rows * columns
        forth_and_back = 2 * (rows**2 * columns + rows * columns**2) * channels
        return (
            forth_and_back
            + positions * channels / 2  # decay
            + positions * channels**2  # to_k
            + positions * channels * 9  # depthwise convolution
            + positions * channels**2 * 3  # linear to 2C, linear to C
            + positions * channels**2 * 8  # MLP
            + positions * channels * 5 * 3  # norms
        )

    expected = 17 * 32 * (2 * 3 * 9 + 5 * 2) + 9 * 16 * (4 * 2 * 9 + 5 * 4)
    for (rows, columns), channels in zip(sizes, dims):
        expected += depths * block(rows, columns, channels)
        expected += 5 * rows * columns * channels  # outnorm
    for (rows, columns), channels in zip(sizes[1:], dims[1:]):
        weights = 9 * channels * channels // 2
        expected += rows * columns * (weights + 5 * channels)  # downsampling
    arch = dict(embed_dims=dims, depths=[depths] * 4, post_norm=False)
    backbone = vHeat(arch=dict(arch, layer_scale=0.1), img_size=64)

    assert define_flops(backbone, 33, 64) == expected


def test_timms_vheat_is_counted_as_it_runs() -> None:
    pytest.importorskip('timm')
    import mmvheat.timm  # noqa: F401

    cfg = load_config(ROOT / 'tests/test_tools/configs/classifier.py')
    ours = measure(cfg, (64, 96))
    cfg.model.backbone = ConfigDict(
        type='TIMMBackbone',
        model_name='vheat_tiny',
        features_only=True,
        out_indices=(3,),
        **{key: cfg.model.backbone[key] for key in ('arch', 'img_size')},
    )
    found = measure(cfg, (64, 96))

    assert found.defined == found.executed
    # Its map has no output norm.
    assert found.executed == ours.executed - 2 * 3 * 64 * 5
    assert found.params == ours.params - 2 * 64


def load_mmdet(name: str) -> Config:
    return load_config(Path(get_config(f'mmdet::{name}').filename))


def test_detr_is_counted_with_its_queries() -> None:
    cfg = load_mmdet('detr/detr_r50_8xb2-150e_coco.py')
    backbone = get_model_complexity_info(
        build_model(copy.deepcopy(cfg)).eval().backbone,
        (3, 64, 96),
        show_table=False,
        show_arch=False,
    )
    # By hand: the products for 2x3 places and 100 queries of 256 channels.
    places, queries, width = 2 * 3, 100, 256
    mlp = 2 * width * 2048
    encoder = places * (4 * width**2 + mlp) + 2 * places**2 * width
    decoder = queries * (6 * width**2 + mlp) + 2 * places * width**2
    decoder += 2 * queries * (queries + places) * width
    heads = queries * (81 * width + 2 * width**2 + 4 * width)
    expected = 6 * (encoder + decoder + heads) + places * 2048 * width

    found = measure(cfg, (64, 96)).executed - backbone['flops']

    assert found == pytest.approx(expected, rel=0.01)  # but for norms


def test_deformable_detr_is_counted() -> None:
    cfg = load_mmdet('deformable_detr/deformable-detr_r50_16xb2-50e_coco.py')

    assert round(measure(cfg, (64, 96)).params / 1e6) == 40  # as published


def test_one_sentence_for_a_model_that_runs_otherwise(
    capsys: pytest.CaptureFixture, run_get_flops: Callable
) -> None:
    name = 'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py'

    assert run_get_flops(get_config(name).filename) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('error: The FLOPs of the YOLOX of')


@pytest.mark.slow
@pytest.mark.parametrize('readme', find_readmes(), ids=lambda p: p.parent.name)
def test_readme_holds_the_table_of_today(
    readme: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_flops, 'measure', measure_once)
    assert make_folder_table(readme.parent) in readme.read_text()


def test_every_folder_has_a_table() -> None:
    folders = {path.parent.name for path in find_readmes()}
    expected = {p.parent.name for p in ROOT.glob('configs/*/metafile.yml')}

    # Of no restorer FLOPs were published to compare with.
    assert folders == expected - {'quickstart', 'restoration'}


def test_one_sentence_for_a_model_that_cannot_be_built(
    capsys: pytest.CaptureFixture, run_get_flops: Callable
) -> None:
    config = str(ROOT / 'configs' / DET.format('t'))

    assert run_get_flops(config, '--cfg-options', 'model.backbone.arch=x') == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('error: The model of')
    assert "unknown arch 'x'" in error


def test_restorers_are_counted_at_every_pixel() -> None:
    # By hand: 4 blocks of 32 channels in two groups, 1 channel in and out.
    (config,) = (ROOT / 'configs/quickstart').glob('vheatir*.py')
    rows, columns, channels = 24, 40, 32
    block = channels**2 * (1 + 3 + 4)  # to_k, linears, MLP of twice C
    block += channels * (9 + 5 * 3)  # depthwise convolution, norms
    block += channels * (2 * (rows + columns) + 0.5)  # transforms, decay
    ends = 9 * channels * 2 + 5 * channels + 9 * channels**2  # head to tail
    expected = 4 * block + 2 * 9 * channels**2 + ends

    found = measure(load_config(config), (rows, columns))

    assert found.defined == rows * columns * expected
    assert found.params == 72_321  # as comparisons count
    # The FVE of 16x16 is resized in both directions, the decay not counted.
    resized = 16 * 16 * columns * channels + 16 * rows * columns * channels
    decay = 4 * rows * columns * channels / 2
    assert found.executed - found.defined + decay == resized


@pytest.mark.slow
def test_restorer_of_attention_is_counted_as_it_runs() -> None:
    pytest.importorskip('mmpretrain')
    (config,) = (ROOT / 'configs/restoration').glob('swinir*graydn25.py')
    cfg = load_config(config)
    cfg.model.network.update(embed_dims=8, depths=(2,), num_heads=2)
    channels, window, pixels = 8, 64, 24 * 40
    block = channels**2 * (3 + 1 + 4)  # q, k, v, projection, MLP
    block += 5 * 2 * channels + 2 * window * channels  # norms, attention
    ends = 9 * channels * 2 + 5 * channels + 2 * 9 * channels**2

    found = measure(cfg, (24, 40))

    assert found.defined == found.executed
    assert found.executed == pixels * (2 * block + ends)


def test_prints_a_table(
    capsys: pytest.CaptureFixture, run_get_flops: Callable
) -> None:
    config = str(ROOT / 'configs/quickstart')
    (config,) = Path(config).glob('mask-rcnn*.py')

    run_get_flops(str(config), '--shape', '64', '96')

    header, align, row = capsys.readouterr().out.strip().splitlines()[-3:]
    assert header.startswith('| Config | Image | Params | FLOPs |')
    assert row.startswith(f'| {config.stem} | 64x96 |')


@pytest.fixture
def run_get_flops(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Run the command in this process and return its exit code."""
    from mmvheat.errors import run_main

    def run(*arguments: str) -> int:
        monkeypatch.setattr('sys.argv', ['get_flops.py', *arguments])
        try:
            run_main(get_flops.main)
        except SystemExit as end:
            return end.code
        return 0

    return run
