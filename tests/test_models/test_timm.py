"""vHeat in timm, and through it in OpenMMLab's wrappers of timm."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.runner import load_checkpoint, save_checkpoint
from torch import nn

import mmvheat.engine  # noqa: F401
from mmvheat.checkpoint import (
    CheckpointError,
    convert_checkpoint,
    read_checkpoint,
)
from mmvheat.models import vHeat

timm = pytest.importorskip('timm')

import mmvheat.timm  # noqa: E402, F401

ARCH = dict(embed_dims=8, depths=(1, 2, 1, 1), post_norm=True, layer_scale=0.1)
IMAGE = torch.randn(2, 3, 70, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def both_states():
    """The blocks are those of vHeat, tested in both."""


def create(name='vheat_tiny', **kwargs):
    torch.manual_seed(0)
    settings = dict(arch=ARCH, img_size=64, num_classes=5)
    return timm.create_model(name, **{**settings, **kwargs})


def save_official(run, path):
    """Write the official checkpoint as it came."""
    path.write_bytes(run.path.read_bytes())
    return str(path)


class TestRegistry:
    def test_three_models_are_there_with_their_official_files(self):
        names = ['vheat_base', 'vheat_small', 'vheat_tiny']
        assert timm.list_models('vheat_*') == names
        assert timm.list_pretrained('vheat_*') == [f'{n}.in1k' for n in names]
        for name in names:
            cfg = timm.get_pretrained_cfg(name)
            file = name.replace('vheat', 'vHeat')
            assert cfg.url == (
                'https://github.com/MzeroMiko/vHeat/releases/download/'
                f'vheatcls/{file}.pth'
            )

    @pytest.mark.parametrize('name', ['tiny', 'small', 'base'])
    def test_sizes_are_those_of_the_backbone(self, name):
        with torch.device('meta'):
            model = timm.create_model(f'vheat_{name}', num_classes=0)
            backbone = vHeat(name, out_indices=(3,))
        shapes = [p.shape for p in model.parameters()]
        assert shapes == [p.shape for p in backbone.parameters()]


class TestOutputs:
    def test_logits_are_the_official_ones(self, official_run, tmp_path):
        expected = official_run.expected
        model = create(
            arch=expected['arch'],
            img_size=expected['img_size'],
            num_classes=expected['cls_logits'].shape[1],
            pretrained=True,
            pretrained_cfg_overlay=dict(
                file=save_official(official_run, tmp_path / 'official.pth'),
                custom_load=True,
            ),
        ).eval()
        logits = model(expected['cls_input'])
        torch.testing.assert_close(
            logits, expected['cls_logits'], rtol=0, atol=2e-4
        )

    def test_maps_are_those_of_the_backbone_before_their_norms(self):
        model = create().eval()
        backbone = vHeat(ARCH, img_size=64).eval()
        backbone.load_state_dict(model.state_dict(), strict=False)
        maps = model.forward_intermediates(IMAGE, intermediates_only=True)
        for features, expected in zip(maps, backbone(IMAGE)):
            assert features.is_contiguous()
            features = features.movedim(1, -1)
            normed = F.layer_norm(features, features.shape[-1:])
            torch.testing.assert_close(normed, expected.movedim(1, -1))
        last, maps = model.forward_intermediates(IMAGE, norm=True)
        torch.testing.assert_close(last, backbone(IMAGE)[3])
        assert maps[3].equal(last)
        assert model.forward_features(IMAGE).equal(last)

    def test_features_only_gives_every_stage(self):
        model = create(features_only=True).eval()
        assert model.feature_info.channels() == [8, 16, 32, 64]
        assert model.feature_info.reduction() == [4, 8, 16, 32]
        expected = (
            create()
            .eval()
            .forward_intermediates(IMAGE, intermediates_only=True)
        )
        for features, same in zip(model(IMAGE), expected, strict=True):
            assert features.equal(same)

    def test_one_stage_alone_holds_no_idle_parameters(self):
        model = create(features_only=True, out_indices=(1,)).train()
        assert model.feature_info.channels() == [16]
        (features,) = model(IMAGE)
        assert features.shape == (2, 16, 9, 8)
        features.pow(3).mean().backward()
        assert all(p.grad is not None for p in model.parameters())

    def test_early_stop_runs_no_later_stage(self):
        model = create().eval()
        calls = []
        model.layers[2].register_forward_hook(lambda *_: calls.append(1))
        (features,) = model.forward_intermediates(
            IMAGE, indices=[1], stop_early=True, intermediates_only=True
        )
        assert features.shape == (2, 16, 9, 8)
        assert not calls
        with pytest.raises(ValueError, match="'NCHW', but got 'NLC'"):
            model.forward_intermediates(IMAGE, output_fmt='NLC')

    def test_graphs_of_torch_fx_give_the_same(self):
        feature_extraction = pytest.importorskip(
            'torchvision.models.feature_extraction'
        )
        model = create().eval()
        graph = feature_extraction.create_feature_extractor(
            model,
            ['head.fc'],
            tracer_kwargs=dict(leaf_modules=timm.models.get_notrace_modules()),
        )
        assert graph(IMAGE)['head.fc'].equal(model(IMAGE))

    def test_the_backbone_is_a_graph_of_its_stages_too(self):
        feature_extraction = pytest.importorskip(
            'torchvision.models.feature_extraction'
        )
        backbone = vHeat(ARCH, img_size=64).eval()
        graph = feature_extraction.create_feature_extractor(
            backbone,
            ['layers.1'],
            tracer_kwargs=dict(leaf_modules=timm.models.get_notrace_modules()),
        )
        features, _ = graph(IMAGE)['layers.1']
        normed = backbone.outnorm1(features).movedim(-1, 1)
        torch.testing.assert_close(normed, backbone(IMAGE)[1])


class TestArguments:
    def test_heads_come_and_go(self):
        model = create().eval()
        assert model(IMAGE).shape == (2, 5)
        assert model.get_classifier() is model.head.fc
        pooled = model.forward_features(IMAGE).mean((2, 3))
        features = model.forward_features(IMAGE)
        assert model.forward_head(features, pre_logits=True).allclose(pooled)
        model.reset_classifier(7)
        assert model(IMAGE).shape == (2, 7)
        model.reset_classifier(0)
        assert isinstance(model.get_classifier(), nn.Identity)
        assert model(IMAGE).allclose(pooled)
        model.reset_classifier(0, '')
        assert model(IMAGE).equal(features)
        assert create(num_classes=0).eval()(IMAGE).allclose(pooled)

    def test_image_size_and_channels(self):
        model = create(img_size=(96, 40), in_chans=5)
        assert model.freq_embed[0].shape == (24, 10, 8)
        assert model(torch.randn(1, 5, 33, 47)).shape == (1, 5)

    def test_stochastic_depth_and_dropout(self):
        model = create(drop_path_rate=0.3, drop_rate=0.4)
        assert model.layers[3][0].drop_path.drop_prob == pytest.approx(0.3)
        assert model.head.drop.p == 0.4

    def test_other_laws(self):
        law = dict(type='DampedWavePropagator')
        model = create(propagator=law, k='scalar')
        assert type(model.layers[0][0].op.propagator).__name__ == law['type']

    def test_a_law_is_not_imported_for_a_stranger(self):
        with pytest.raises(ValueError, match='registered propagator'):
            create(propagator=dict(type='this.is_imported'))

    def test_recomputation_changes_no_gradient(self):
        grads = []
        for enable in (False, True):
            model = create().train()
            model.set_grad_checkpointing(enable)
            calls = []
            model.layers[1][0].register_forward_pre_hook(
                lambda *_, calls=calls: calls.append(1)
            )
            model(IMAGE).square().sum().backward()
            assert len(calls) == 1 + enable
            grads.append([p.grad for p in model.parameters()])
        for a, b in zip(*grads):
            torch.testing.assert_close(a, b)

    def test_groups_rise_as_the_depth_of_the_backbone(self):
        from timm.models import group_parameters

        model = create()
        backbone = vHeat(ARCH, img_size=64, out_indices=(3,))
        groups = group_parameters(model, model.group_matcher(), reverse=True)
        for name, depth in groups.items():
            if name.startswith('head.'):
                assert depth == max(groups.values())
                continue
            name = name.replace('norm.', 'outnorm3.', name.startswith('norm'))
            assert depth == backbone.get_layer_depth(name)[0], name
        coarse = group_parameters(model, model.group_matcher(True))
        assert len(coarse) == 6  # stem, stages, head


class TestLoading:
    @pytest.mark.parametrize(
        'kwargs',
        [
            dict(num_classes=3),
            dict(num_classes=0),
            dict(in_chans=1),
            dict(img_size=96),
            dict(features_only=True),
            dict(features_only=True, out_indices=(0, 2)),
        ],
        ids=str,
    )
    def test_official_files_fit_any_use(self, official_run, tmp_path, kwargs):
        path = save_official(official_run, tmp_path / 'official.pth')
        model = create(
            arch=official_run.expected['arch'],
            pretrained=True,
            pretrained_cfg_overlay=dict(file=path, custom_load=True),
            **kwargs,
        )
        inner = getattr(model, 'model', model)
        weight = official_run.weights['layers.0.0.mlp.fc1.weight']
        assert inner.layers[0][0].mlp.fc1.weight.equal(weight)
        freq_embed = official_run.weights['freq_embed.0']
        height, width = freq_embed.shape[:2]
        assert inner.freq_embed[0][:height, :width].equal(freq_embed)

    def test_own_files_load_by_checkpoint_path(self, tmp_path):
        model = create(drop_path_rate=0.1)
        torch.save(model.state_dict(), tmp_path / 'own.pth')
        other = timm.create_model(
            'vheat_tiny',
            arch=ARCH,
            img_size=64,
            num_classes=5,
            checkpoint_path=str(tmp_path / 'own.pth'),
        )
        assert model.eval()(IMAGE).equal(other.eval()(IMAGE))

    def test_others_are_refused_in_a_sentence(self, tmp_path):
        torch.save({'conv.weight': torch.ones(1)}, tmp_path / 'other.pth')
        with pytest.raises(CheckpointError, match='is not a vHeat checkpoint'):
            create().load_pretrained(str(tmp_path / 'other.pth'))

    def test_other_archs_are_refused(self, official_run):
        with pytest.raises(RuntimeError):
            create(arch='tiny').load_pretrained(str(official_run.path))


class TestWrappers:
    @pytest.mark.parametrize('library', ['mmpretrain', 'mmseg'])
    def test_openmmlab_wraps_it(self, library):
        registry = pytest.importorskip(f'{library}.registry')
        pytest.importorskip(f'{library}.models')
        backbone = registry.MODELS.build(
            dict(
                type=f'{library}.TIMMBackbone',
                model_name='vheat_tiny',
                features_only=True,
                pretrained=False,
                arch=ARCH,
                img_size=64,
            )
        )
        shapes = [tuple(x.shape) for x in backbone(IMAGE)]
        assert shapes == [
            (2, 8, 18, 16),
            (2, 16, 9, 8),
            (2, 32, 5, 4),
            (2, 64, 3, 2),
        ]

    def test_classifiers_of_mmpretrain_read_their_own_files(self, tmp_path):
        registry = pytest.importorskip('mmpretrain.registry')
        pytest.importorskip('mmpretrain.models')
        source, other = (
            registry.MODELS.build(
                dict(
                    type='TimmClassifier',
                    model_name='vheat_tiny',
                    arch=ARCH,
                    img_size=size,
                    num_classes=5,
                )
            ).eval()
            for size in (64, 96)
        )
        nn.init.normal_(source.model.norm.weight)
        path = str(tmp_path / 'f.pth')
        state = dict(meta={}, message_hub={}, optimizer={'step': 7})
        save_checkpoint(dict(state_dict=source.state_dict(), **state), path)
        read = load_checkpoint(other, path, strict=True)
        assert {key: read[key] for key in state} == state
        assert other.model.norm.weight.equal(source.model.norm.weight)
        freq_embed = other.model.freq_embed[0]
        assert freq_embed[:16, :16].equal(source.model.freq_embed[0])
        assert not freq_embed[16:].any()

    @pytest.mark.parametrize('convert', [False, True])
    def test_classifiers_of_timm_become_mmpretrains(self, tmp_path, convert):
        registry = pytest.importorskip('mmpretrain.registry')
        pytest.importorskip('mmpretrain.models')
        source = create().eval()
        for parameter in source.norm.parameters():
            nn.init.normal_(parameter)
        path = tmp_path / 'f.pth'
        torch.save({'state_dict': source.state_dict(), 'epoch': 3}, path)
        if convert:
            checkpoint = read_checkpoint(path)
            weights = convert_checkpoint(checkpoint, (64, 64), task='cls')
            torch.save(weights, path)
            detector = convert_checkpoint(checkpoint, (64, 64))
            backbone = vHeat(ARCH, img_size=64)
            missing, unexpected = backbone.load_state_dict(detector, False)
            assert {name.split('.')[0] for name in missing} == {
                f'outnorm{i}' for i in range(4)
            }
            assert not unexpected
        classifier = registry.MODELS.build(
            dict(
                type='ImageClassifier',
                backbone=dict(
                    type='vHeat', arch=ARCH, img_size=64, out_indices=(3,)
                ),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=5, in_channels=64),
            )
        ).eval()
        load_checkpoint(classifier, str(path), strict=True)
        logits = classifier.head(classifier.extract_feat(IMAGE))
        torch.testing.assert_close(logits, source(IMAGE))

    def test_a_detector_trains_on_it(self):
        pytest.importorskip('mmdet.models')
        pytest.importorskip('mmpretrain.models')
        from mmdet.registry import MODELS

        backbone = dict(
            type='mmpretrain.TIMMBackbone',
            model_name='vheat_tiny',
            features_only=True,
            arch=ARCH,
        )
        neck = dict(
            type='FPN', in_channels=[8, 16, 32, 64], out_channels=8, num_outs=5
        )
        backbone, neck = MODELS.build(backbone), MODELS.build(neck)
        sum(x.square().mean() for x in neck(backbone(IMAGE))).backward()
        idle = [
            name
            for name, parameter in backbone.named_parameters()
            if parameter.grad is None
        ]
        assert not idle
