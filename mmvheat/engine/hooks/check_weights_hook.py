"""Refuse to test what was not trained."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmvheat.checkpoint import check_complete


@HOOKS.register_module()
class CheckWeightsHook(Hook):
    """Check that a checkpoint has all the weights of the model tested.

    ``tools/test.py`` and ``tools/robustness.py`` add it; in a training, whose
    heads may be new, it has no place.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights that are about to be loaded.

        Raises:
            CheckpointError: Some are missing or have other shapes.
        """
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            if hasattr(model, '_fsdp_wrapped_module'):
                return  # of what is sharded nothing is known
            model = model.module
        check_complete(model, checkpoint, runner._load_from)
