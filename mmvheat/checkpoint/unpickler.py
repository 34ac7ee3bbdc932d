"""``torch.load(weights_only=True)`` of torch 2.10, also where torch is older.

Before 2.10 a file can damage memory (CVE-2026-24747), before 2.6 run code
(CVE-2025-32434).
"""

from __future__ import annotations

import codecs
import pickle
import tarfile
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch._weights_only_unpickler import _get_allowed_globals

from mmvheat.ops.versions import IS_BEFORE_2_10

# Classes and functions without effects that torch allows since 2.6.
_MORE_ALLOWED = {
    '_codecs.encode': codecs.encode,
    'builtins.bytearray': bytearray,
    'builtins.complex': complex,
    'builtins.set': set,
    'collections.Counter': Counter,
    'torch.device': torch.device,
}
# What torch.save writes. NEWOBJ_EX would give keywords, such as the address
# of a tensor.
_OPCODES = (
    *(pickle.PROTO, pickle.GLOBAL, pickle.NEWOBJ, pickle.REDUCE),
    *(pickle.BUILD, pickle.APPEND, pickle.APPENDS, pickle.SETITEM),
    *(pickle.SETITEMS, pickle.MARK, pickle.TUPLE, pickle.TUPLE1),
    *(pickle.TUPLE2, pickle.TUPLE3, pickle.NONE, pickle.NEWFALSE),
    *(pickle.NEWTRUE, pickle.EMPTY_TUPLE, pickle.EMPTY_LIST),
    *(pickle.EMPTY_DICT, pickle.EMPTY_SET, pickle.BININT, pickle.BININT1),
    *(pickle.BININT2, pickle.BINFLOAT, pickle.BINUNICODE),
    *(pickle.SHORT_BINSTRING, pickle.BINPERSID, pickle.BINGET),
    *(pickle.LONG_BINGET, pickle.BINPUT, pickle.LONG_BINPUT),
    *(pickle.LONG1, pickle.STOP),
)


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
    if not IS_BEFORE_2_10:
        with torch.serialization.safe_globals(list(substitutes)):
            return torch.load(
                path, map_location=map_location, weights_only=True
            )
    records = _list_records(path)
    allowed = _list_allowed(substitutes)

    class Unpickler(_Unpickler):
        def __init__(self, file, **kwargs) -> None:
            super().__init__(file, **kwargs)
            self.allowed, self.records = allowed, records

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


def _list_records(path: Path) -> dict[str, int] | None:
    """List the bytes of the records of a zip file; None for another.

    Raises:
        pickle.UnpicklingError: What torch does with such a file is not inert.
    """
    with open(path, 'rb') as file:
        if not torch.serialization._is_zipfile(file):
            if tarfile.is_tarfile(path):  # torch extracts links and modes
                raise pickle.UnpicklingError('a tar archive')
            return None
        with torch.serialization._open_zipfile_reader(file) as reader:
            if torch.serialization._is_torchscript_zip(reader):
                raise pickle.UnpicklingError('a TorchScript program')
    records: dict[str, int] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            # torch finds any of those whose names differ by case alone.
            name = member.filename.partition('/')[2].lower()
            size = member.file_size
            records[name] = min(size, records.get(name, size))
    return records


def _list_allowed(substitutes: Sequence[tuple[Any, str]]) -> dict[str, Any]:
    own = {
        name: value
        for name, value in _get_allowed_globals().items()
        if '.sparse.' not in name  # their indices would go unchecked
    }
    more = {name: value for value, name in substitutes}
    return {**own, **_MORE_ALLOWED, **more}


class _Dispatch(dict):
    """Refuses all opcodes but those it has, in the words of torch."""

    def __missing__(self, opcode: int) -> None:
        raise pickle.UnpicklingError(f'Unsupported operand {opcode}')


class _Unpickler(pickle._Unpickler):
    """Gives what is allowed, so that nothing else can be called.

    In Python, since the one in C lets no opcode be overridden.
    """

    allowed: Mapping[str, Any]
    records: Mapping[str, int] | None
    dispatch = _Dispatch(
        (code[0], pickle._Unpickler.dispatch[code[0]]) for code in _OPCODES
    )

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

    def load_binpersid(self) -> None:
        """Get a storage, as long as what is stored of it (CVE-2026-24747)."""
        kind, _, key, *_ = self.stack[-1]
        if kind != 'storage':
            raise pickle.UnpicklingError(f'a {kind} from outside')
        super().load_binpersid()
        if self.records is not None:
            size = self.records[f'data/{key}'.lower()]
            if self.stack[-1].nbytes() != size:
                raise pickle.UnpicklingError(f'storage {key} has {size} bytes')

    def load_setitem(self) -> None:
        """Set an item of a dictionary, never one of a tensor."""
        _check_dict(self.stack[-3])
        super().load_setitem()

    def load_setitems(self) -> None:
        """Set items of a dictionary, never those of a tensor."""
        _check_dict(self.metastack[-1][-1])
        super().load_setitems()

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.BINPERSID[0]] = load_binpersid
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems


def _check_dict(target: Any) -> None:
    if not isinstance(target, dict):
        raise pickle.UnpicklingError(f'an item of {type(target).__name__}')
