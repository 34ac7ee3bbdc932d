"""Layer-wise learning rate decay for every task."""

from __future__ import annotations

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from mmvheat.errors import UserError


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Give earlier layers of the backbone a lower learning rate.

    The lr of a parameter is multiplied by ``rate ** (last - depth)``, where
    ``depth`` comes from ``model.backbone.get_layer_depth`` and ``last`` is
    the depth of everything outside the backbone, which keeps the full lr.
    Everything else in ``paramwise_cfg`` (``custom_keys`` with ``lr_mult``
    and ``decay_mult``, ``norm_decay_mult``, ...) works as in mmengine's
    default constructor and is applied before.

    Example:
        >>> optim_wrapper = dict(
        ...     type='OptimWrapper',
        ...     optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
        ...     constructor='LayerDecayOptimWrapperConstructor',
        ...     paramwise_cfg=dict(
        ...         layer_decay_rate=0.9,
        ...         custom_keys={'norm': dict(decay_mult=0.0)},
        ...     ),
        ... )

    Args:
        optim_wrapper_cfg (dict): The ``optim_wrapper`` of the config.
        paramwise_cfg (dict): Must hold ``layer_decay_rate`` (float), in
            (0, 1].
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
    ) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise UserError(
                f'{type(self).__name__} needs paramwise_cfg=dict('
                f'layer_decay_rate=R) with 0 < R <= 1, but got {rate!r}.'
            )
        self.rate = rate

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs
    ) -> None:
        """Add the parameters of ``module`` as groups with their lr.

        Args:
            params (list[dict]): The groups, changed in place.
            module (nn.Module): The module whose parameters are added.
            prefix (str): Its name in the model. Defaults to ''.
        """
        super().add_params(params, module, prefix=prefix, **kwargs)
        if prefix:
            return
        backbone = getattr(module, 'backbone', None)
        if not hasattr(backbone, 'get_layer_depth'):
            raise UserError(
                f'{type(self).__name__} needs a backbone with '
                f'get_layer_depth, which {type(backbone).__name__} lacks; '
                "use type='vHeat' or the default constructor."
            )
        names = {id(p): name for name, p in module.named_parameters()}
        for group in params:
            (parameter,) = group['params']
            depth, layers = backbone.get_layer_depth(
                names[id(parameter)], 'backbone.'
            )
            scale = self.rate ** (layers - 1 - depth)
            group['lr'] = group.get('lr', self.base_lr) * scale
