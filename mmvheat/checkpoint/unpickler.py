"""``torch.load(weights_only=True)`` of torch 2.6, also where torch is older.

Before, it lets some files run code (CVE-2025-32434) and takes no substitutes.
"""

from __future__ import annotations

import codecs
import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch._weights_only_unpickler import _get_allowed_globals

from mmvheat.ops.versions import IS_BEFORE_2_6

# Classes and functions without effects that torch allows since 2.6.
_MORE_ALLOWED = {
    '_codecs.encode': codecs.encode,
    'builtins.bytearray': bytearray,
    'builtins.complex': complex,
    'builtins.set': set,
    'collections.Counter': Counter,
    'torch.device': torch.device,
}


def load_weights(
    path: Path,
    map_location: Any = None,
    substitutes: Sequence[tuple[Any, str]] = (),
) -> Any:
    """Load tensors and plain Python values; anything else is refused.

    Args:
        path (Path): A file of ``torch.save``.
        map_location (Any): Where tensors go, see :func:`torch.load`.
            Defaults to None.
        substitutes (Sequence[tuple]): Classes and functions that stand for
            others, and the names of these. Defaults to none.

    Raises:
        pickle.UnpicklingError: The file asks for something else.
        Exception: It is damaged; whatever torch raises then.
    """
    if not IS_BEFORE_2_6:
        with torch.serialization.safe_globals(list(substitutes)):
            return torch.load(
                path, map_location=map_location, weights_only=True
            )
    with open(path, 'rb') as file:
        if torch.serialization._is_zipfile(file):
            with torch.serialization._open_zipfile_reader(file) as reader:
                if torch.serialization._is_torchscript_zip(reader):
                    raise pickle.UnpicklingError('a TorchScript program')
    allowed = _list_allowed(substitutes)

    class Unpickler(_Unpickler):
        def __init__(self, file, **kwargs) -> None:
            super().__init__(file, **kwargs)
            self.allowed = allowed

    module = SimpleNamespace(
        __name__=__name__,
        Unpickler=Unpickler,
        load=lambda file, **kwargs: Unpickler(file, **kwargs).load(),
    )
    return torch.load(
        path,
        map_location=map_location,
        pickle_module=module,
        weights_only=False,
    )


def _list_allowed(substitutes: Sequence[tuple[Any, str]]) -> dict[str, Any]:
    more = {name: value for value, name in substitutes}
    return {**_get_allowed_globals(), **_MORE_ALLOWED, **more}


class _Unpickler(pickle._Unpickler):
    """Gives what is allowed, so that nothing else can be called.

    In Python, since the one in C lets no opcode be overridden.
    """

    allowed: dict[str, Any]
    dispatch = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        if self.proto < 3:  # names of Python 2
            module, name = NAME_MAPPING.get((module, name), (module, name))
            module = IMPORT_MAPPING.get(module, module)
        try:
            return self.allowed[f'{module}.{name}']
        except KeyError:
            raise pickle.UnpicklingError(
                f'GLOBAL {module}.{name} was not allowed'
            ) from None

    def load_build(self) -> None:
        """Set the state of an object, but never that of a class."""
        kind = type(self.stack[-2])
        if not any(kind is value for value in self.allowed.values()):
            raise pickle.UnpicklingError(f'a state of {kind.__name__}')
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build
