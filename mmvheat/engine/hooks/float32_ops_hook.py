"""Mixed precision for detectors, whose operators know float32 alone."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.utils import apply_to
from torch import nn


@HOOKS.register_module()
class Float32OpsHook(Hook):
    """Run what follows a head, and RoI pooling, in float32.

    Under autocast heads return half precision, but NMS and RoIAlign have no
    bfloat16 kernel. Backbone, neck and the layers of the heads stay in half
    precision. Without autocast this changes nothing.
    """

    def before_run(self, runner: Runner) -> None:
        """Prepare the model of the run."""
        keep_ops_in_float32(runner.model)


def keep_ops_in_float32(model: nn.Module) -> None:
    """Cast inputs of RoI extractors and outputs of heads to float32.

    Args:
        model (nn.Module): A model of mmdet or mmseg, changed in place.
    """
    for module in model.modules():
        if hasattr(module, 'roi_layers'):
            module.register_forward_pre_hook(_cast_inputs)
        if hasattr(module, 'predict_by_feat'):
            module.register_forward_hook(_cast_outputs)


def _cast_inputs(module: nn.Module, inputs: tuple) -> tuple:
    return _to_float32(inputs)


def _cast_outputs(module: nn.Module, inputs: tuple, outputs: object) -> object:
    return _to_float32(outputs)


def _to_float32(data: object) -> object:
    return apply_to(data, _is_half, torch.Tensor.float)


def _is_half(data: object) -> bool:
    half = (torch.float16, torch.bfloat16)
    return isinstance(data, torch.Tensor) and data.dtype in half
