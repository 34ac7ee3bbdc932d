"""What a program computes, recorded, and what of it cannot be exported."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules import module as hooks

from mmvheat.errors import UserError

from .programs import Backbone, make_images

# For programs of any size. A side of 1 in a map would be taken as a constant,
# as would one that two maps or both sides share: at strides up to 128 there
# are 3 x 4 cells or more, and different ones.
_RECORDED_SIZE = (288, 416)


def record(
    program: nn.Module, size: tuple[int, int], dynamic: bool, batch: bool
) -> torch.export.ExportedProgram:
    """Record what a program computes by ``torch.export``.

    Raises:
        UserError: Something in it cannot be recorded.
    """
    high, wide = (2, 3) if isinstance(program, Backbone) else (1, 2)
    any_size = torch.export.Dim.DYNAMIC
    dims = {high: any_size, wide: any_size} if dynamic else {}
    # One image would be taken as a constant.
    if batch:
        dims[0] = any_size
    if dynamic:
        size = _RECORDED_SIZE
    images = make_images(program, size, batch=2 if batch else 1)
    with name_failures(program), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')
        return torch.export.export(
            program, (images,), dynamic_shapes=(dims,) if dims else None
        )


@contextmanager
def name_failures(program: nn.Module) -> Iterator[None]:
    """Name the module in which a recording fails, and what to do."""
    entered: list[nn.Module] = []
    names = {module: name for name, module in program.named_modules()}
    handles = [
        hooks.register_module_forward_pre_hook(
            lambda module, args: entered.append(module)
        ),
        hooks.register_module_forward_hook(
            lambda module, args, output: entered.pop() and None
        ),
    ]
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        known = [m for m in entered if m in names] or [program]
        raise refuse(str(error), names[known[-1]], known[-1]) from error
    finally:
        for handle in handles:
            handle.remove()


def refuse(reason: str, name: str, module: nn.Module | str) -> UserError:
    """Say which operator, in which module, cannot be exported.

    Args:
        reason (str): What the exporter says.
        name (str): Path of the module in the program.
        module (nn.Module | str): The module or the name of its type.

    Returns:
        UserError: What to raise.
    """
    kind = module if isinstance(module, str) else type(module).__name__
    operator = _find_operator(reason)
    what = f'The operator {operator}' if operator else 'What is computed'
    return UserError(
        f'{what} in the module {name.removeprefix("model.") or "(root)"} '
        f'({kind}) cannot be exported: replace that module, or export the '
        f'backbone alone with --backbone. The exporter says: {shorten(reason)}'
    )


def _find_operator(reason: str) -> str:
    """Find the name of an operator in a message of the exporter."""
    found = re.search(r"op='([\w.]+)'|(aten[.:]+\w+)", reason)
    return next(filter(None, found.groups())) if found else ''


def find_module(
    recorded: torch.export.ExportedProgram, reason: str
) -> tuple[str, str]:
    """Find name and type of the module of the operator in a message."""
    operator = _find_operator(reason).replace('.', '::')
    # It may be one of those that another was decomposed into.
    for decompose in (lambda: recorded, recorded.run_decompositions):
        for node in decompose().graph.nodes:
            stack = node.meta.get('nn_module_stack')
            schema = getattr(node.target, '_schema', None)
            if stack and schema is not None and schema.name == operator:
                path, kind = list(stack.values())[-1]
                return path, str(kind).rsplit('.', 1)[-1].rstrip("'>")
    return '', 'program'


def shorten(error: Exception | str) -> str:
    """Put what an exception says on one short line."""
    return ' '.join(str(error).split())[:200]
