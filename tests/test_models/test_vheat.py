"""What a backbone promises besides its numbers."""

import copy
import io
import itertools
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmvheat.models import HeatBlock, vHeat

SUBSETS = [
    indices
    for count in range(1, 5)
    for indices in itertools.combinations(range(4), count)
]


class TestArchitecture:
    @pytest.fixture(autouse=True)
    def both_states(self):
        """Nothing is computed."""

    def test_grid_is_the_floor_of_the_stride(self, build):
        model = build(img_size=(100, 225))
        grids = [tuple(f.shape[:2]) for f in model.freq_embed]
        assert grids == [(25, 56), (12, 28), (6, 14), (3, 7)]

    def test_strict_loading_refuses_what_does_not_fit(self, build):
        model = build()
        weights = model.state_dict()
        del weights['layers.1.0.op.to_k.0.bias']
        with pytest.raises(RuntimeError, match='layers.1.0.op.to_k.0.bias'):
            model.load_state_dict(weights)
        weights = {**model.state_dict(), 'layers.9': torch.ones(1)}
        with pytest.raises(RuntimeError, match='layers.9'):
            model.load_state_dict(weights)

    def test_initialisation_is_the_official_one(self):
        torch.manual_seed(0)
        arch = dict(
            embed_dims=32, depths=(1, 1, 2, 1), post_norm=True, layer_scale=0.1
        )
        model = vHeat(arch=arch, img_size=256)
        linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
        assert len(linear) == 5 * 3
        for weight in [m.weight for m in linear] + list(model.freq_embed):
            assert weight.std().item() == pytest.approx(0.02, rel=0.15)
            assert abs(weight.mean().item()) < 0.002
        for module in model.modules():
            if isinstance(module, nn.Linear):
                assert not module.bias.any()
            elif isinstance(module, nn.LayerNorm):
                assert (module.weight == 1).all()
                assert not module.bias.any()
            elif isinstance(module, nn.Conv2d):
                # torch's default: uniform up to 1 / sqrt(fan in).
                bound = 1 / math.sqrt(module.weight[0].numel())
                largest = module.weight.abs().max().item()
                assert 0.9 * bound < largest <= bound
        for block in model.layers[2].blocks:
            assert (block.gamma1 == 0.1).all()
            assert (block.gamma2 == 0.1).all()

    def test_norms_have_the_official_epsilon(self, build):
        for name, module in build('post_norm').named_modules():
            if isinstance(module, nn.LayerNorm):
                stem = name.startswith('patch_embed')
                assert module.eps == (1e-6 if stem else 1e-5)

    @pytest.mark.parametrize(
        ('kwargs', 'message'),
        [
            (dict(arch='huge'), "'huge'; known are 'tiny', 'small', 'base'"),
            (dict(arch=dict(embed_dims=8)), r"but got \['embed_dims'\]"),
            (dict(embed_dims=(8, 8, 8)), 'embed_dims .* 4 positive ints'),
            (dict(depths=(1, 1, 0, 1)), 'depths of arch needs 4 positive'),
            (dict(img_size=31), 'at least 32 pixels, but got 31'),
            (dict(img_size=(64, 64, 3)), r'but got \(64, 64, 3\)'),
            (dict(out_indices=()), r'but got \(\)'),
            (dict(out_indices=(0, 0)), r'different stages .* \(0, 0\)'),
            (dict(out_indices=(4,)), r'\[0, 1, 2, 3\], but got \(4,\)'),
            (dict(frozen_stages=5), 'between -1 and 4, but got 5'),
            (dict(freq_embed_resize='x'), "'pad' or 'bicubic', but got 'x'"),
        ],
    )
    def test_bad_arguments_are_named(self, kwargs, message):
        for key in set(kwargs) & {'embed_dims', 'depths'}:
            arch = dict(
                embed_dims=8,
                depths=(1, 1, 1, 1),
                post_norm=False,
                layer_scale=None,
            )
            kwargs = dict(arch={**arch, key: kwargs[key]})
        with pytest.raises(ValueError, match=message):
            vHeat(**kwargs)

    def test_unknown_keywords_are_refused(self):
        with pytest.raises(TypeError, match='drop_path'):
            MODELS.build(dict(type='vHeat', drop_path=0.1))


class TestOutputs:
    @pytest.mark.parametrize(
        'indices', SUBSETS + [(3, 0), (2, 1, 3), (3, 2, 1, 0)], ids=str
    )
    def test_any_stages_in_any_order(self, build, indices):
        image = torch.randn(1, 3, 65, 48)
        whole = build().eval()
        model = build(out_indices=indices).eval()
        missing, _ = model.load_state_dict(whole.state_dict(), strict=False)
        assert not missing
        outputs, expected = model(image), whole(image)
        assert isinstance(outputs, tuple)
        assert len(outputs) == len(indices)
        for output, i in zip(outputs, indices):
            assert output.equal(expected[i])

    @pytest.mark.parametrize('indices', SUBSETS, ids=str)
    def test_every_parameter_is_used(self, build, indices):
        model = build('post_norm', out_indices=indices).train()
        outputs = model(torch.randn(1, 3, 96, 64))
        sum(output.square().mean() for output in outputs).backward()
        unused = [n for n, p in model.named_parameters() if p.grad is None]
        assert not unused

    @pytest.mark.parametrize('with_cp', [False, True])
    def test_data_parallel_training_needs_no_search(
        self, build, with_cp, tmp_path
    ):
        torch.distributed.init_process_group(
            'gloo', init_method=f'file://{tmp_path}/s', rank=0, world_size=1
        )
        try:
            model = nn.parallel.DistributedDataParallel(
                build(out_indices=(0, 2), frozen_stages=0, with_cp=with_cp)
            )
            with warnings.catch_warnings():
                warnings.simplefilter('error')
                for _ in range(2):  # the second finds what was left over
                    outputs = model(torch.randn(2, 3, 64, 32))
                    sum(output.sum() for output in outputs).backward()
            # The group must outlive its last user: freed with the lock of
            # the interpreter held, its threads could wait forever.
            del model, outputs
        finally:
            torch.distributed.destroy_process_group()


class TestStochasticDepth:
    def test_rises_linearly_over_all_blocks(self):
        arch = dict(
            embed_dims=8,
            depths=(2, 1, 3, 2),
            post_norm=False,
            layer_scale=None,
        )
        model = vHeat(arch=arch, img_size=32, drop_path_rate=0.35)
        rates = [
            getattr(block.drop_path, 'drop_prob', 0.0)
            for stage in model.layers
            for block in stage.blocks
        ]
        np.testing.assert_allclose(rates, np.linspace(0, 0.35, 8), atol=1e-7)
        # Stages that are not created keep their share of the rise.
        part = vHeat(
            arch=arch, img_size=32, drop_path_rate=0.35, out_indices=(1,)
        )
        assert part.layers[1][0].drop_path.drop_prob == pytest.approx(rates[2])

    def test_branch_is_skipped_or_scaled_for_each_image(self):
        torch.manual_seed(0)
        block = HeatBlock(4, drop_path=0.25)
        nn.init.zeros_(block.mlp.fc2.weight)
        nn.init.zeros_(block.mlp.fc2.bias)
        x, decay = torch.randn(1, 3, 3, 4), torch.ones(3, 3, 4)
        branch = block.eval()(x, decay) - x
        assert branch.abs().max() > 1e-3
        y = block.train()(x.expand(2000, -1, -1, -1), decay) - x
        skipped = (y == 0).flatten(1).all(1)
        assert skipped.float().mean().item() == pytest.approx(0.25, abs=0.04)
        torch.testing.assert_close(
            y[~skipped], (branch / 0.75).expand_as(y[~skipped])
        )


class TestFreezing:
    @pytest.mark.parametrize('frozen_stages', range(-1, 5))
    def test_stem_stages_embeddings_and_norms(self, build, frozen_stages):
        model = build('post_norm', frozen_stages=frozen_stages)
        prefixes = ['patch_embed.'] if frozen_stages >= 0 else []
        for i in range(max(frozen_stages, 0)):
            prefixes += [f'freq_embed.{i}', f'layers.{i}.', f'outnorm{i}.']
        prefixes = tuple(prefixes)

        for mode in (True, False, True):
            model.train(mode)
            for name, parameter in model.named_parameters():
                frozen = name.startswith(prefixes)
                assert parameter.requires_grad == (not frozen), name
            for name, module in model.named_modules():
                if name not in ('', 'layers', 'freq_embed'):
                    frozen = f'{name}.'.startswith(prefixes)
                    assert module.training == (mode and not frozen), name

    @pytest.mark.parametrize('with_cp', [False, True])
    @pytest.mark.parametrize('frozen_stages', [0, 2])
    def test_training_moves_the_rest_alone(
        self, build, frozen_stages, with_cp
    ):
        model = build(frozen_stages=frozen_stages, with_cp=with_cp).train()
        before = copy.deepcopy(model.state_dict())
        outputs = model(torch.randn(2, 3, 64, 64))
        # Norms fix the sum of squares, but not that of third powers.
        sum(output.pow(3).mean() for output in outputs).backward()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        optimizer.step()
        for name, parameter in model.named_parameters():
            moved = not parameter.equal(before[name])
            assert moved == parameter.requires_grad, name


class TestCheckpointing:
    @pytest.mark.parametrize('frozen_stages', [-1, 0])
    def test_one_recomputation_and_equal_gradients(
        self, build, arch, frozen_stages
    ):
        image = torch.randn(4, 3, 64, 96)
        runs = []
        for with_cp in (False, True):
            model = build(
                arch,
                with_cp=with_cp,
                frozen_stages=frozen_stages,
                drop_path_rate=0.5,
            ).train()
            calls = dict.fromkeys(
                [m for m in model.modules() if isinstance(m, HeatBlock)], 0
            )

            def count(block, *_, calls=calls):
                calls[block] += 1

            for block in calls:
                block.register_forward_pre_hook(count)
            torch.manual_seed(1)  # the same branches are skipped
            outputs = model(image)
            assert set(calls.values()) == {1}
            sum(output.pow(3).mean() for output in outputs).backward()
            runs.append((model, outputs, calls))

        (plain, expected, once), (model, outputs, twice) = runs
        assert set(once.values()) == {1}
        assert set(twice.values()) == {2}
        for output, plain_output in zip(outputs, expected):
            assert output.equal(plain_output)
        gradients = dict(plain.named_parameters())
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                torch.testing.assert_close(
                    parameter.grad, gradients[name].grad
                )

    def test_evaluation_recomputes_nothing(self, build):
        model = build(with_cp=True).eval()
        image = torch.randn(1, 3, 64, 64, requires_grad=True)
        calls = []
        model.layers[0][0].register_forward_pre_hook(
            lambda *_: calls.append(1)
        )
        model(image)[0].sum().backward()
        assert len(calls) == 1


class TestLayerDepth:
    @pytest.fixture(autouse=True)
    def both_states(self):
        """Nothing is computed."""

    def test_rises_from_stem_to_head(self, build):
        model = build()  # depths 1, 2, 1, 1
        expected = {
            'patch_embed.conv1.weight': 0,
            'freq_embed.0': 1,
            'layers.0.0.norm1.weight': 1,
            'layers.0.1.0.weight': 1,
            'outnorm0.bias': 1,
            'freq_embed.1': 2,
            'layers.1.0.op.to_k.0.weight': 2,
            'layers.1.1.op.to_k.0.weight': 3,
            'layers.1.2.1.weight': 3,
            'outnorm1.weight': 3,
            'layers.2.0.mlp.fc1.bias': 4,
            'layers.3.0.mlp.fc1.bias': 5,
            'outnorm3.bias': 5,
        }
        names = {f'backbone.{n}' for n, _ in model.named_parameters()}
        for name, depth in expected.items():
            assert f'backbone.{name}' in names
            assert model.get_layer_depth(name) == (depth, 7)
            found = model.get_layer_depth(f'backbone.{name}', 'backbone.')
            assert found == (depth, 7)
        depths = {model.get_layer_depth(n, 'backbone.')[0] for n in names}
        assert depths == set(range(6))
        assert model.get_layer_depth('neck.x.weight', 'backbone.') == (6, 7)

    def test_counts_the_stages_that_exist(self, build):
        model = build(out_indices=(1,))
        assert model.get_layer_depth('layers.1.1.norm1.weight') == (3, 5)


class TestRegistry:
    @pytest.fixture(autouse=True)
    def both_states(self):
        """Nothing is computed."""

    @pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmpretrain'])
    def test_plain_name_resolves_in_every_scope(self, scope):
        library = pytest.importorskip(f'{scope}.registry')
        cfg = dict(type='vHeat', img_size=32, out_indices=(0,))
        with DefaultScope.overwrite_default_scope(scope):
            assert type(library.MODELS.build(cfg)) is vHeat
            assert type(MODELS.build(cfg)) is vHeat

    def test_mmpretrain_decays_learning_rates_by_depth(self, build):
        pytest.importorskip('mmpretrain')
        from mmpretrain.engine.optimizers import (
            LearningRateDecayOptimWrapperConstructor,
        )
        from mmpretrain.models import ImageClassifier

        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = ImageClassifier(
                backbone=build(out_indices=(3,)),
                head=nn.Linear(64, 2),
            )
        constructor = LearningRateDecayOptimWrapperConstructor(
            dict(
                type='OptimWrapper',
                optimizer=dict(type='SGD', lr=1.0, weight_decay=0.0),
            ),
            paramwise_cfg=dict(layer_decay_rate=0.5),
        )
        groups = constructor(model).optimizer.param_groups
        rates = {g['param_name']: g['lr'] for g in groups}
        assert rates['head.weight'] == 1
        assert rates['backbone.outnorm3.weight'] == 0.5
        assert rates['backbone.layers.1.0.norm1.weight'] == 0.5**4
        assert rates['backbone.patch_embed.conv1.bias'] == 0.5**6


class TestCopies:
    @pytest.mark.parametrize('warm', [False, True])
    def test_copies_compute_the_same(self, build, arch, warm):
        model = build(arch, drop_path_rate=0.2).eval()
        image = torch.randn(1, 3, 64, 80)
        with torch.no_grad():
            expected = model(image)
            if not warm:
                model.eval()  # forgets the decays
            buffer = io.BytesIO()
            torch.save(model, buffer)
            buffer.seek(0)
            copies = [
                copy.deepcopy(model),
                pickle.loads(pickle.dumps(model)),
                torch.load(buffer, weights_only=False),
            ]
            for other in copies:
                for output, same in zip(other(image), expected):
                    assert output.equal(same)
        # Copies are independent of the original.
        model.layers[0][0].op.to_k[0].weight.data.zero_()
        for other in copies:
            with torch.no_grad():
                assert other(image)[0].equal(expected[0])

    def test_pickles_stay_small(self, build):
        model = build().eval()
        size = len(pickle.dumps(model))
        with torch.no_grad():
            model(torch.randn(1, 3, 256, 256))
        assert len(pickle.dumps(model)) == size


class TestInitWeights:
    def test_pretrained_takes_an_official_checkpoint(self, official_run):
        expected = official_run.expected
        run = expected['downstream'][0]
        kwargs = dict(arch=expected['arch'], img_size=expected['target_size'])
        cfg = dict(type='Pretrained', checkpoint=str(official_run.path))
        model = vHeat(**kwargs, init_cfg=cfg)
        model.init_weights()
        model.load_state_dict(expected['outnorm'], strict=False)
        model.eval()
        for output, same in zip(model(run['input']), run['outputs']):
            torch.testing.assert_close(output, same, rtol=0, atol=2e-4)

    def test_pretrained_inside_a_detector(self, build, tmp_path):
        source = build()
        weights = {f'm.{k}': v for k, v in source.state_dict().items()}
        torch.save(dict(state_dict=weights), tmp_path / 'detector.pth')
        cfg = dict(
            type='Pretrained',
            checkpoint=str(tmp_path / 'detector.pth'),
            prefix='m.',
        )

        class Detector(BaseModule):
            def __init__(self):
                super().__init__()
                self.backbone = build(img_size=96, init_cfg=cfg)

        detector = Detector()
        detector.init_weights()
        loaded = detector.backbone.state_dict()
        for name, value in source.state_dict().items():
            if name.startswith('freq_embed'):
                height, width = value.shape[:2]
                assert loaded[name][:height, :width].equal(value)
                assert not loaded[name][height:].any()
            else:
                assert loaded[name].equal(value)

    def test_other_initialisations_are_mmengines(self, build):
        model = build(
            init_cfg=[dict(type='Constant', layer='LayerNorm', val=0.5)]
        )
        model.init_weights()
        assert (model.outnorm2.weight == 0.5).all()

    def test_a_checkpoint_of_another_size_is_refused(self, build, tmp_path):
        torch.save(build().state_dict(), tmp_path / 'small.pth')
        model = vHeat(
            img_size=64,
            init_cfg=dict(
                type='Pretrained', checkpoint=str(tmp_path / 'small.pth')
            ),
        )
        with pytest.raises(ValueError, match='another arch'):
            model.init_weights()


class TestChannels:
    @pytest.mark.parametrize('in_channels', [1, 6])
    def test_rgb_weights_answer_equal_channels_equally(
        self, build, in_channels, monkeypatch
    ):
        lines = []
        monkeypatch.setattr(
            'mmvheat.models.weights.print_log',
            lambda message, **_: lines.append(message),
        )
        rgb = build().eval()
        model = build(in_channels=in_channels).eval()
        model.load_state_dict(rgb.state_dict(), strict=True)
        assert f'from 3 to {in_channels} channels' in ' '.join(lines)
        gray = torch.randn(1, 1, 64, 64)
        outputs = model(gray.expand(-1, in_channels, -1, -1))
        for output, expected in zip(outputs, rgb(gray.expand(-1, 3, -1, -1))):
            torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)

    def test_rgb_weights_repeat_for_many_bands(self, build):
        rgb, model = build(), build(in_channels=5)
        model.load_state_dict(rgb.state_dict(), strict=True)
        bands = model.patch_embed.conv1.weight.unbind(1)
        for i, band in enumerate(bands):
            expected = rgb.patch_embed.conv1.weight[:, i % 3] * 3 / 5
            torch.testing.assert_close(band, expected)
