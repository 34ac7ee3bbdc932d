"""Whether a checkpoint has all the weights of a model."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn

from .reader import CheckpointError

_TRAINING = 'auxiliary_head'  # of segmentors; predicts nothing


def check_complete(model: nn.Module, content: Any, source: str) -> None:
    """Check that a checkpoint has all that a model predicts with.

    mmengine only logs what is missing or has another shape, and whoever
    overlooks it tests random weights. The weights are loaded meanwhile; of a
    model with wrapped parts, such as those that FSDP shards, nothing is known.

    Args:
        model (nn.Module): The whole model.
        content (Any): What is in the file, as mmengine reads it.
        source (str): The file, for messages.

    Raises:
        CheckpointError: If parameters are missing or have other shapes.
    """
    if any(map(_is_wrapped, model.modules())):
        return
    needed: dict[nn.Parameter, list[str]] = {}  # a shared one has many names
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if not name.startswith(_TRAINING):
            needed.setdefault(parameter, []).append(name)
    stored = content.get('state_dict', content)
    weights = OrderedDict(
        (name.removeprefix('module.'), value) for name, value in stored.items()
    )
    # Without the versions of the modules, some would rename their weights.
    weights._metadata = getattr(stored, '_metadata', None)
    try:
        logging.disable(logging.INFO)  # loading proper says it again
        result = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        reason = str(error).partition('\n')[2].split('\n')[0].strip(' \t.')
        raise CheckpointError(
            f'{source} does not fit the model of the config: '
            f'{reason or error}; give the config that it was trained with'
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    missing = set(result.missing_keys)
    names = [
        names[0] for names in needed.values() if missing.issuperset(names)
    ]
    if names:
        raise CheckpointError(
            f'{source} has no weights for {len(names)} of the '
            f'{len(needed)} parameters of the model, such as {names[0]}; '
            'give a checkpoint of the whole model and the config that it '
            'was trained with'
        )


def _is_wrapped(module: nn.Module) -> bool:
    return is_model_wrapper(module) or hasattr(module, '_fsdp_wrapped_module')
