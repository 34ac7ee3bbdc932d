"""A backbone takes any checkpoint, or says why not."""

import logging
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import PretrainedInit
from mmengine.registry import MODELS

from mmvheat.checkpoint import (
    CheckpointError,
    convert_to_downstream,
    load_pretrained,
    read_checkpoint,
    to_mmpretrain,
)


@pytest.fixture
def log():
    """Lines that mmengine's logger gets."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def pretrained(path):
    return dict(type='Pretrained', checkpoint=str(path))


def test_raw_official_file_gives_the_official_outputs(
    official, build_backbone, log
):
    path, expected = official
    size = expected['target_size']
    backbone = build_backbone(
        expected, img_size=size, init_cfg=pretrained(path)
    )
    backbone.init_weights()
    for found, wanted in zip(
        backbone.freq_embed, expected['padded_freq_embed']
    ):
        assert torch.equal(found, wanted)
    backbone.load_state_dict(expected['outnorm'], strict=False)
    backbone.eval()
    for case in expected['downstream']:
        with torch.no_grad():
            outputs = backbone(case['input'])
        for found, wanted in zip(outputs, case['outputs']):
            torch.testing.assert_close(found, wanted, rtol=0, atol=2e-4)
    (line,) = [text for text in log if str(path) in text]
    blocks = 10 * (expected['arch']['layer_scale'] is not None)
    assert f'{111 + blocks} tensors loaded' in line
    assert '4 FVEs resized' in line
    assert '8 missing (outnorm0, outnorm1, outnorm2, outnorm3)' in line
    assert '0 unexpected' in line
    assert '4 of the head dropped (classifier)' in line


@pytest.mark.parametrize(
    'change',
    [
        dict(map_location='cpu'),
        dict(prefix=None),
        dict(prefix='backbone.'),
        dict(type='mmengine.Pretrained'),
        dict(type=PretrainedInit),
    ],
    ids=str,
)
@pytest.mark.parametrize('in_list', [False, True])
def test_every_form_of_init_cfg(
    tmp_path, official_weights, build_backbone, change, in_list
):
    torch.save({'model': official_weights}, tmp_path / 'f')
    init_cfg = dict(pretrained(tmp_path / 'f'), **change)
    backbone = build_backbone(init_cfg=[init_cfg] if in_list else init_cfg)
    backbone.init_weights()
    name = 'layers.0.0.op.linear.weight'
    assert torch.equal(backbone.state_dict()[name], official_weights[name])


@pytest.mark.parametrize('wrapper', ('', 'module.'))
def test_a_prefix_chooses_one_of_many_networks(
    tmp_path, official_weights, build_backbone, wrapper
):
    networks = ('teacher', 'student')
    weights = {
        f'{wrapper}{network}.backbone.{key}': value + i
        for i, network in enumerate(networks)
        for key, value in official_weights.items()
        if not key.startswith('classifier')
    }
    path = tmp_path / 'f'
    torch.save({'state_dict': weights}, path)
    with pytest.raises(
        CheckpointError,
        match=r'under teacher\.backbone\. and student\.backbone\.: .*'
        "prefix='teacher.backbone.'",
    ):
        build_backbone(init_cfg=pretrained(path)).init_weights()
    name = 'patch_embed.conv1.bias'
    for i, network in enumerate(networks):
        for prefix in (f'{network}.backbone.', f'{network}', f'{network}.'):
            init_cfg = dict(pretrained(path), prefix=prefix)
            backbone = build_backbone(img_size=96, init_cfg=init_cfg)
            backbone.init_weights()
            assert len(backbone.load_report.resized) == 4
            found = backbone.state_dict()[name]
            assert torch.equal(found, official_weights[name] + i)


@pytest.mark.parametrize(
    'prefix, words',
    [
        ('backbone', 'is of another arch'),
        ('student', 'no keys under student.'),
    ],
)
def test_prefixes_are_no_way_around_the_checks(
    tmp_path, official_weights, build_backbone, prefix, words
):
    torch.save({'state_dict': to_mmpretrain(official_weights)}, tmp_path / 'f')
    arch = dict(
        embed_dims=8, depths=[1, 1, 3, 1], post_norm=True, layer_scale=1e-5
    )
    init_cfg = dict(pretrained(tmp_path / 'f'), prefix=prefix)
    with pytest.raises(CheckpointError, match=words):
        build_backbone(arch=arch, init_cfg=init_cfg).init_weights()


@pytest.mark.parametrize('mode', ('pad', 'bicubic'))
@pytest.mark.parametrize('img_size', (32, 64, (96, 160), 100))
def test_any_image_size_and_resize_rule(
    tmp_path, official_weights, build_backbone, mode, img_size
):
    torch.save(official_weights, tmp_path / 'f')
    backbone = build_backbone(
        img_size=img_size,
        freq_embed_resize=mode,
        init_cfg=pretrained(tmp_path / 'f'),
    )
    backbone.init_weights()
    size = (img_size, img_size) if isinstance(img_size, int) else img_size
    expected = convert_to_downstream(official_weights, size, mode)
    found = backbone.state_dict()
    assert all(torch.equal(found[k], expected[k]) for k in expected)


@pytest.mark.parametrize('scope', ('mmdet', 'mmseg', 'mmpretrain'))
def test_works_from_every_scope(
    tmp_path, official_weights, build_backbone, scope
):
    models = pytest.importorskip(f'{scope}.registry').MODELS
    torch.save(official_weights, tmp_path / 'f')
    like = build_backbone()
    backbone = models.build(
        dict(
            type='vHeat',
            arch=dict(
                embed_dims=like.embed_dims,
                depths=like.depths,
                post_norm=True,
                layer_scale=1e-5,
            ),
            img_size=128,
            init_cfg=pretrained(tmp_path / 'f'),
        )
    )
    backbone.init_weights()
    name = 'layers.3.0.op.linear.weight'
    assert torch.equal(backbone.state_dict()[name], official_weights[name])


def test_official_keyword_pretrained(tmp_path, official_weights):
    torch.save({'model': official_weights}, tmp_path / 'f')
    backbone = MODELS.build(
        dict(
            type='MMDET_VHEAT',
            dims=8,
            depths=[1, 1, 2, 1],
            post_norm=True,
            layer_scale=1e-5,
            img_size=128,
            pretrained=str(tmp_path / 'f'),
        )
    )
    backbone.init_weights()
    name = 'layers.3.0.op.linear.weight'
    assert torch.equal(backbone.state_dict()[name], official_weights[name])


def test_classifier_of_mmpretrain_loads_like_the_official_one(
    tmp_path, official_weights, build_backbone
):
    torch.save({'state_dict': to_mmpretrain(official_weights)}, tmp_path / 'f')
    backbone = build_backbone()
    report = load_pretrained(backbone, tmp_path / 'f')
    assert len(report.missing) == 8
    assert torch.equal(backbone.outnorm3.weight, torch.ones(64))
    assert sorted(report.dropped) == [
        'backbone.outnorm3.bias',
        'backbone.outnorm3.weight',
        'head.fc.bias',
        'head.fc.weight',
    ]


def test_averaged_weights_on_request(
    tmp_path, official_weights, build_backbone
):
    averaged = {k: v + 1 for k, v in official_weights.items()}
    content = {'model': official_weights, 'model_ema': averaged}
    torch.save(content, tmp_path / 'f')
    backbone = build_backbone()
    for ema, weights in ((False, official_weights), (True, averaged)):
        load_pretrained(backbone, tmp_path / 'f', ema=ema)
        name = 'patch_embed.conv1.bias'
        assert torch.equal(backbone.state_dict()[name], weights[name])


def test_stages_nobody_reads(tmp_path, official_weights, build_backbone):
    torch.save(official_weights, tmp_path / 'f')
    backbone = build_backbone(out_indices=(0, 1))
    report = load_pretrained(backbone, tmp_path / 'f')
    assert report.missing == [
        f'outnorm{i}.{k}' for i in (0, 1) for k in ('weight', 'bias')
    ]
    assert report.unexpected
    assert all(
        key.startswith(
            (
                'layers.1.1',
                'layers.2',
                'layers.3',
                'freq_embed.2',
                'freq_embed.3',
            )
        )
        for key in report.unexpected
    )


@pytest.mark.parametrize('channels', (1, 2, 4, 6))
def test_other_image_channels(
    tmp_path, official_weights, build_backbone, channels, log
):
    torch.save(official_weights, tmp_path / 'f')
    backbone = build_backbone(in_channels=channels)
    load_pretrained(backbone, tmp_path / 'f')
    weight = backbone.patch_embed.conv1.weight
    rgb = official_weights['patch_embed.conv1.weight']
    if channels in (1, 6):  # a grey image gives what it gave
        torch.testing.assert_close(weight.sum(1), rgb.sum(1))
    for i in range(channels if channels > 1 else 0):
        torch.testing.assert_close(weight[:, i], rgb[:, i % 3] * 3 / channels)
    assert f'from 3 to {channels} channels' in log[-1]


def test_stems_of_another_width_are_not_said_to_be_adapted(
    official_weights, build_backbone, log
):
    backbone = build_backbone(
        arch=dict(
            embed_dims=16, depths=[1, 1, 2, 1], post_norm=True, layer_scale=0.1
        )
    )
    with pytest.raises(RuntimeError, match='size mismatch for patch_embed'):
        backbone.load_state_dict(official_weights, strict=False)
    assert not any('adapted' in line for line in log)


@pytest.mark.parametrize(
    'arch, words',
    [
        (dict(embed_dims=16), 'dims 16-32-64-128 .*found .*dims 8-16-32-64'),
        (dict(depths=[1, 1, 3, 1]), 'depths 1-1-3-1, found .* 1-1-2-1'),
        (dict(layer_scale=None), 'without layer scale, the checkpoint with'),
    ],
)
def test_another_arch_is_an_error(
    tmp_path, official_weights, build_backbone, arch, words
):
    torch.save(official_weights, tmp_path / 'f')
    like = dict(
        embed_dims=8, depths=[1, 1, 2, 1], post_norm=True, layer_scale=1e-5
    )
    backbone = build_backbone(arch={**like, **arch})
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    with pytest.raises(ValueError, match=words) as error:
        load_pretrained(backbone, tmp_path / 'f')
    assert '\n' not in str(error.value)
    after = backbone.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in before)


@pytest.mark.parametrize('ratio', (2.67, 3.3, 4.03))
@pytest.mark.parametrize('out_indices', ((0, 1), (0, 1, 2, 3)))
def test_hidden_channels_may_be_rounded(
    tmp_path, build_backbone, ratio, out_indices
):
    arch = dict(
        embed_dims=[56, 7, 24, 8],
        depths=[1, 1, 1, 1],
        post_norm=False,
        layer_scale=None,
    )
    source = build_backbone(arch=arch, mlp_ratio=ratio)
    torch.save(source.state_dict(), tmp_path / 'f')
    target = build_backbone(
        arch=arch, mlp_ratio=ratio, out_indices=out_indices
    )
    assert not load_pretrained(target, tmp_path / 'f').missing
    name = 'layers.1.0.mlp.fc1.weight'
    weight = target.state_dict()[name]
    assert len(weight) == int(7 * ratio)
    assert torch.equal(weight, source.state_dict()[name])
    target = build_backbone(arch=arch, mlp_ratio=2)
    with pytest.raises(CheckpointError, match='mlp_ratio 2 and '):
        load_pretrained(target, tmp_path / 'f')


def test_published_archs_are_named(tmp_path):
    with torch.device('meta'):
        tiny, small = (
            MODELS.build(dict(type='vHeat', arch=arch, img_size=32))
            for arch in ('tiny', 'small')
        )
    zero = torch.zeros(())
    weights = {k: zero.expand(v.shape) for k, v in tiny.state_dict().items()}
    torch.save(weights, tmp_path / 'f')
    with pytest.raises(CheckpointError, match=r'\(small\), found .*\(tiny\)'):
        load_pretrained(small, tmp_path / 'f')


def test_config_in_the_file_tells_norm_order(tmp_path, build_backbone):
    path = Path(__file__).parents[1] / 'data' / 'pre_norm_64.pth'
    assert read_checkpoint(path).post_norm is False
    arch = dict(
        embed_dims=8, depths=[1, 1, 2, 1], post_norm=True, layer_scale=None
    )
    backbone = build_backbone(arch=arch)
    with pytest.raises(CheckpointError, match='post_norm=True.* says False'):
        load_pretrained(backbone, path)


def test_nothing_matches(tmp_path, build_backbone):
    torch.save({'conv1.weight': torch.ones(3)}, tmp_path / 'f')
    with pytest.raises(CheckpointError, match='is not a vHeat checkpoint'):
        load_pretrained(build_backbone(), tmp_path / 'f')


def test_nan_is_named(tmp_path, official_weights, build_backbone, log):
    weights = dict(official_weights)
    weights['layers.1.0.norm1.bias'] = torch.full((16,), float('inf'))
    torch.save(weights, tmp_path / 'f')
    load_pretrained(build_backbone(), tmp_path / 'f')
    assert any('NaN or infinity in layers.1.0.norm1.bias' in x for x in log)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server of ``tmp_path/web``, and an empty download cache."""
    folder = tmp_path / 'web'
    folder.mkdir()
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = partial(Handler, directory=str(folder))
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    thread.join()
    server.server_close()


def test_url_is_downloaded_once(
    server, official_weights, build_backbone, capsys
):
    folder, url = server
    torch.save({'model': official_weights}, folder / 'vHeat.pth')
    for _ in range(2):
        backbone = build_backbone(init_cfg=pretrained(f'{url}/vHeat.pth'))
        backbone.init_weights()
        name = 'patch_embed.conv1.bias'
        found = backbone.state_dict()[name]
        assert torch.equal(found, official_weights[name])
        (folder / 'vHeat.pth').unlink(missing_ok=True)


def test_equal_names_at_two_addresses(
    server, official_weights, build_backbone
):
    folder, url = server
    name = 'patch_embed.conv1.bias'
    for part, query in (('a', ''), ('b', ''), ('a', '?token=1'), ('b', '?2')):
        (folder / part).mkdir(exist_ok=True)
        weights = dict(official_weights)
        weights[name] = weights[name] + (part == 'b')
        torch.save(weights, folder / part / 'vHeat.pth')
        backbone = build_backbone()
        load_pretrained(backbone, f'{url}/{part}/vHeat.pth{query}')
        assert torch.equal(backbone.state_dict()[name], weights[name])
    cache = Path(torch.hub.get_dir(), 'checkpoints')
    assert len(list(cache.glob('*.pth'))) == 2


def test_failed_download_says_so_and_leaves_nothing(
    server, build_backbone, tmp_path
):
    _, url = server
    with pytest.raises(CheckpointError, match=f'{url}/none.pth.*404'):
        load_pretrained(build_backbone(), f'{url}/none.pth')
    assert not list((tmp_path / 'cache').rglob('*.pth*'))


def test_web_page_is_not_cached_as_a_checkpoint(
    server, official_weights, build_backbone
):
    folder, url = server
    (folder / 'f.pth').write_text('<!DOCTYPE html><html>')
    with pytest.raises(CheckpointError, match=f'web page.*{url}/f.pth'):
        load_pretrained(build_backbone(), f'{url}/f.pth')
    torch.save(official_weights, folder / 'f.pth')
    assert load_pretrained(build_backbone(), f'{url}/f.pth').loaded
