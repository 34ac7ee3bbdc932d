"""Whether a checkpoint has all the weights of a model."""

from __future__ import annotations

import logging
from typing import Any

from torch import nn

from .reader import CheckpointError

_TRAINING = 'auxiliary_head'  # of segmentors; predicts nothing
_SHARD = '_fsdp_wrapped_module.'


def check_complete(model: nn.Module, content: Any, source: str) -> None:
    """Check that a checkpoint has all that a model predicts with.

    mmengine only logs what is missing or has another shape, and whoever
    overlooks it tests random weights. The weights are loaded meanwhile; of
    what FSDP has sharded nothing is known.

    Args:
        model (nn.Module): The whole model.
        content (Any): What is in the file, as mmengine reads it.
        source (str): The file, for messages.

    Raises:
        CheckpointError: If parameters are missing or have other shapes.
    """
    needed = {
        name
        for name, _ in model.named_parameters()
        if not name.startswith(_TRAINING)
    }
    if any(_SHARD in name for name in needed):
        return
    weights = content.get('state_dict', content)
    weights = {k.removeprefix('module.'): v for k, v in weights.items()}
    try:
        logging.disable(logging.INFO)  # loading proper says it again
        missing = model.load_state_dict(weights, strict=False).missing_keys
    except RuntimeError as error:
        reason = str(error).partition('\n')[2].split('\n')[0].strip(' \t.')
        raise CheckpointError(
            f'{source} does not fit the model of the config: '
            f'{reason or error}; give the config that it was trained with'
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    missing = [name for name in missing if name in needed]
    if missing:
        raise CheckpointError(
            f'{source} has no weights for {len(missing)} of the '
            f'{len(needed)} parameters of the model, such as {missing[0]}; '
            'give a checkpoint of the whole model and the config that it '
            'was trained with'
        )
