"""vHeat as models of timm: ``import mmvheat.timm`` registers them.

    import timm
    import mmvheat.timm

    model = timm.create_model('vheat_tiny', num_classes=10, img_size=224)
    maps = timm.create_model('vheat_tiny', features_only=True)

``pretrained=True`` fetches the official file that ``pretrained_cfg`` names
and reads it as tensors alone. Intermediate maps are those of the stages
without an output norm, as everywhere in timm. Needs timm beside what the
backbone needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import ClassifierHead
from timm.models import (
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
    register_notrace_module,
)
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from mmvheat.checkpoint.layout import parse_checkpoint, strip_wrappers
from mmvheat.checkpoint.scheme import load_content
from mmvheat.models import adapt_state_dict, vHeat
from mmvheat.models.arch import NUM_STAGES
from mmvheat.models.layers import LayerNorm
from mmvheat.models.vheat import HeatStage, Stem

__all__ = ['VHeat', 'checkpoint_filter_fn']

# What decides by sizes or runs a faster version is no graph of torch.fx.
for _module in (HeatStage, LayerNorm, Stem):
    register_notrace_module(_module)


class VHeat(nn.Module):
    """vHeat with the interface of timm.

    Args:
        arch (str | dict): As of :class:`mmvheat.models.vHeat`.
            Defaults to 'tiny'.
        img_size (int | tuple[int, int]): Size of the frequency grid; images
            may have any. Defaults to 224.
        in_chans (int): Image channels. Defaults to 3.
        num_classes (int): Classes, 0 for none. Defaults to 1000.
        global_pool (str): Pooling of the head, '' for none.
            Defaults to 'avg'.
        drop_rate (float): Dropout before the classifier. Defaults to 0.0.
        drop_path_rate (float): Stochastic depth of the last block.
            Defaults to 0.0.
        kwargs: ``mlp_ratio``, ``propagator``, ``k`` of
            :class:`mmvheat.models.vHeat`.

    Raises:
        ValueError: The propagator's type is the path of a module: timm builds
            models by the configs of strangers (``local-dir:``, ``hf-hub:``),
            and a path would be imported.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__()
        law = kwargs.get('propagator')
        if isinstance(law, dict) and '.' in str(law.get('type')):
            raise ValueError(
                f'propagator.type must be the name of a registered propagator,'
                f' but got {law["type"]!r}; import its module yourself'
            )
        backbone = vHeat(
            arch,
            img_size=img_size,
            in_channels=in_chans,
            drop_path_rate=drop_path_rate,
            out_indices=(NUM_STAGES - 1,),
            **kwargs,
        )
        self.patch_embed = backbone.patch_embed
        self.freq_embed = backbone.freq_embed
        self.layers = backbone.layers
        self.norm = getattr(backbone, f'outnorm{NUM_STAGES - 1}')
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = backbone.embed_dims[-1]
        self.head_hidden_size = self.num_features
        self.feature_info = [
            dict(num_chs=dims, reduction=4 * 2**i, module=f'layers.{i}')
            for i, dims in enumerate(backbone.embed_dims)
        ]
        self.head = ClassifierHead(
            self.num_features, num_classes, global_pool, drop_rate
        )
        if num_classes:
            nn.init.trunc_normal_(self.head.fc.weight, std=0.02)
            nn.init.zeros_(self.head.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images (B, in_chans, H, W)."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the normalised map (B, C, H/32, W/32) of the last stage."""
        for features in self._run_stages(x):
            x = features
        return self.norm(x).permute(0, 3, 1, 2).contiguous()

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool a map and, but for ``pre_logits``, classify it."""
        return self.head(x, pre_logits=pre_logits)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Compute maps of stages.

        Args:
            x (Tensor): Images, shape (B, in_chans, H, W).
            indices (int | Sequence[int], optional): Stages, or how many of
                the last. Defaults to None, all.
            norm (bool): Normalise the map of the last stage.
                Defaults to False.
            stop_early (bool): Run no stage behind the last that is asked
                for. Defaults to False.
            output_fmt (str): 'NCHW'. Defaults to 'NCHW'.
            intermediates_only (bool): Defaults to False.

        Returns:
            list[Tensor] | tuple[Tensor, list[Tensor]]: The maps; without
            ``intermediates_only`` what the last stage that ran gives, as
            :meth:`forward_features` does, before them.

        Raises:
            ValueError: The format is another.
        """
        if output_fmt != 'NCHW':
            raise ValueError(
                f"output_fmt must be 'NCHW', but got {output_fmt!r}"
            )
        wanted, last = feature_take_indices(len(self.layers), indices)
        if not stop_early:
            last = len(self.layers) - 1
        maps = []
        for i, x in enumerate(self._run_stages(x, last + 1)):  # noqa: B020
            y = self.norm(x) if i == NUM_STAGES - 1 else x
            if i in wanted:
                features = y if norm else x
                maps.append(features.permute(0, 3, 1, 2).contiguous())
        if intermediates_only:
            return maps
        return y.permute(0, 3, 1, 2).contiguous(), maps

    def prune_intermediate_layers(
        self,
        indices: int | Sequence[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Remove what the maps of these stages do not need.

        Args:
            indices (int | Sequence[int]): Stages, or how many of the last.
                Defaults to 1.
            prune_norm (bool): Remove the norm too. Defaults to False.
            prune_head (bool): Remove the head too. Defaults to True.

        Returns:
            list[int]: The stages.
        """
        wanted, last = feature_take_indices(len(self.layers), indices)
        shortened = last < len(self.layers) - 1
        if shortened:
            self.layers = self.layers[: last + 1]
            self.freq_embed = self.freq_embed[: last + 1]
            stage = self.layers[-1]
            if stage.has_downsample:
                del stage[-1]
                stage.has_downsample = False
            self.num_features = self.feature_info[last]['num_chs']
            self.head.in_features = self.num_features
        if prune_norm or shortened:
            self.norm = nn.Identity()
        if prune_head or shortened:
            self.reset_classifier(0, '')
        return wanted

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict:
        """Give the patterns that group parameters by depth."""
        if coarse:
            blocks = r'^(?:layers|freq_embed)\.(\d+)'
        else:
            blocks = [
                # A downsample layer goes with the block before it.
                *(
                    (rf'^layers\.({i})\.{stage.depth}\.', (stage.depth - 1,))
                    for i, stage in enumerate(self.layers)
                ),
                (r'^layers\.(\d+)\.(\d+)', None),
                (r'^freq_embed\.(\d+)', (0,)),
                (r'^norm', (99999,)),
            ]
        return dict(stem=r'^patch_embed', blocks=blocks)

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks in the backward pass."""
        for stage in self.layers:
            stage.with_cp = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """Get the linear layer that classifies."""
        return self.head.fc

    def reset_classifier(
        self, num_classes: int, global_pool: str | None = None
    ) -> None:
        """Replace the classifier.

        Args:
            num_classes (int): Classes, 0 for none.
            global_pool (str, optional): Another pooling, '' for none.
                Defaults to None, the same.
        """
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)
        pooled = self.head.global_pool.feat_mult()
        self.head_hidden_size = self.num_features * pooled

    @torch.jit.ignore
    def load_pretrained(self, checkpoint_path: str, prefix: str = '') -> None:
        """Load a vHeat checkpoint of any layout, of a classifier or not.

        A classifier of another number of classes is left as it is. Averaged
        weights beside the others are not taken, unlike by timm: write them to
        a file of their own by ``mmvheat convert --ema --task cls``.

        Args:
            checkpoint_path (str): File or URL.
            prefix (str): Without effect, an argument of timm's.

        Raises:
            CheckpointError: It cannot be read or does not fit.
        """
        source = str(checkpoint_path)
        checkpoint = parse_checkpoint(load_content(source), source)
        weights = checkpoint_filter_fn(checkpoint.state_dict, self)
        own = self.state_dict()
        for name in ('head.fc.weight', 'head.fc.bias'):
            value = weights.get(name, own.get(name))
            if name not in own or value.shape != own[name].shape:
                weights.pop(name, None)
        missing, unexpected = self.load_state_dict(weights, strict=False)
        absent = [k for k in missing if not k.startswith(('head.', 'norm.'))]
        if absent or unexpected:
            raise RuntimeError(
                f'{source} does not fit: missing {absent[:3]}, unexpected '
                f'{list(unexpected)[:3]}'
            )

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args, **kwargs
    ) -> None:
        # Every way to load weights passes here, that of TimmClassifier too,
        # whose files have names of a whole model when mmengine reads them.
        for key in [k for k in state_dict if k.startswith(prefix)]:
            name = _rename(key[len(prefix) :])
            state_dict[prefix + name] = state_dict.pop(key)
        shapes = {k: v.shape for k, v in self.state_dict().items()}
        adapt_state_dict(state_dict, shapes, prefix=prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _run_stages(
        self, x: Tensor, count: int = NUM_STAGES
    ) -> Iterator[Tensor]:
        x = self.patch_embed(x.permute(0, 2, 3, 1))
        for i, stage in enumerate(self.layers[:count]):
            features, x = stage(x, self.freq_embed[i])
            yield features


def checkpoint_filter_fn(
    state_dict: Mapping[str, Tensor], model: nn.Module
) -> dict[str, Tensor]:
    """Give weights of an official or mmpretrain file the names used here.

    Args:
        state_dict (Mapping[str, Tensor]): Weights, perhaps under 'model' or
            'state_dict', with wrappers' prefixes.
        model (nn.Module): A :class:`VHeat`, whose frequency grid and image
            channels the weights get.

    Returns:
        dict[str, Tensor]: Weights by name.
    """
    for key in ('model', 'state_dict'):
        if isinstance(state_dict.get(key), Mapping):
            state_dict = state_dict[key]
    renamed = {}
    for key, value in strip_wrappers(state_dict).items():
        key = _rename(key)
        if not key.startswith('outnorm'):
            renamed[key] = value
    shapes = {k: v.shape for k, v in model.state_dict().items()}
    adapt_state_dict(renamed, shapes, logger=None)
    return renamed


def _rename(key: str) -> str:
    """Give a parameter of an official or mmpretrain file its name here."""
    key = key.removeprefix('backbone.')
    for old, new in (
        ('classifier.0.', 'norm.'),
        (f'outnorm{NUM_STAGES - 1}.', 'norm.'),
        ('classifier.3.', 'head.fc.'),
    ):
        if key.startswith(old):
            return new + key[len(old) :]
    return key


def _make_cfg(name: str) -> dict:
    return dict(
        url='https://github.com/MzeroMiko/vHeat/releases/download/vheatcls/'
        f'{name}',
        custom_load=True,
        num_classes=1000,
        input_size=(3, 224, 224),
        pool_size=(7, 7),
        crop_pct=0.875,
        interpolation='bicubic',
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        first_conv='patch_embed.conv1',
        classifier='head.fc',
        paper_ids='arXiv:2405.16555',
        paper_name='Building Vision Models upon Heat Conduction',
        origin_url='https://github.com/MzeroMiko/vHeat',
    )


default_cfgs = generate_default_cfgs(
    {
        'vheat_tiny.in1k': _make_cfg('vHeat_tiny.pth'),
        'vheat_small.in1k': _make_cfg('vHeat_small.pth'),
        'vheat_base.in1k': _make_cfg('vHeat_base.pth'),
    }
)


def _build(name: str, pretrained: bool, **kwargs) -> VHeat:
    return build_model_with_cfg(
        VHeat,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg=dict(out_indices=(0, 1, 2, 3), feature_cls='getter'),
        **{'arch': name.removeprefix('vheat_'), **kwargs},
    )


@register_model
def vheat_tiny(pretrained: bool = False, **kwargs) -> VHeat:
    """Build vHeat-T, 30.9 M parameters."""
    return _build('vheat_tiny', pretrained, **kwargs)


@register_model
def vheat_small(pretrained: bool = False, **kwargs) -> VHeat:
    """Build vHeat-S, 52.2 M parameters."""
    return _build('vheat_small', pretrained, **kwargs)


@register_model
def vheat_base(pretrained: bool = False, **kwargs) -> VHeat:
    """Build vHeat-B, 92.1 M parameters."""
    return _build('vheat_base', pretrained, **kwargs)
