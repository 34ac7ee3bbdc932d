"""The version of mmvheat and the versions of OpenMMLab it works with."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

__version__ = '0.2.0'

# Module: (the distributions that may provide it, best first; the versions
# that work). Before mmengine 0.10.3 a loop of iterations does not skip the
# past when it resumes, as our hooks expect. mmcv >= 2.2 is refused by
# mmdet 3.3 and mmsegmentation 1.2.
REQUIRED = {
    'mmengine': (('mmengine', 'mmengine-lite'), '>=0.10.3,<1.0.0'),
    'mmcv': (('mmcv', 'mmcv-lite', 'mmcv-full'), '>=2.0.0,<2.2.0'),
}
OPTIONAL = {
    'mmdet': (('mmdet',), '>=3.0.0,<4.0.0'),
    'mmseg': (('mmsegmentation',), '>=1.0.0,<2.0.0'),
    'mmpretrain': (('mmpretrain',), '>=1.0.0,<2.0.0'),
}


def check_versions() -> None:
    """Check that the installed OpenMMLab packages fit this version.

    Reads the packages' metadata and imports none of them. A module without
    metadata (a source folder on ``PYTHONPATH``) is taken as it is.

    Raises:
        ImportError: If a required package is missing, or an installed one is
            outside the range that works; one line for each.
    """
    from packaging.specifiers import SpecifierSet  # not needed by nn and ops

    problems = []
    for module, (names, wanted) in {**REQUIRED, **OPTIONAL}.items():
        name, found = _installed(names)
        advice = f"pip install '{names[0]}{wanted}'"
        if name is None:
            if module in REQUIRED and find_spec(module) is None:
                problems.append(
                    f'mmvheat needs {" or ".join(names[:2])} {wanted}, which '
                    f'is not installed: {advice}'
                )
        elif not SpecifierSet(wanted).contains(found, prereleases=True):
            problems.append(
                f'mmvheat {__version__} works with {names[0]} {wanted}, but '
                f'{name} {found} is installed: {advice}'
            )
    if problems:
        raise ImportError('\n'.join(problems))


def explain_later(error: Exception) -> Callable[[str], None]:
    """Let what cannot be registered say why, once it is asked for.

    Where mmengine itself works, its registry gets stand-ins that raise.

    Args:
        error (Exception): Why.

    Returns:
        Callable: The ``__getattr__`` of the package.
    """
    message = f'mmvheat cannot register its models: {error}'

    def explain(*args, **kwargs) -> None:
        raise ImportError(message) from error

    def __getattr__(name: str) -> None:
        if name == 'models':
            explain()
        raise AttributeError(f"module 'mmvheat' has no attribute {name!r}")

    try:
        from mmengine.registry import MODELS
    except Exception:
        return __getattr__
    for name in ('vHeat', 'MMDET_VHEAT', 'MMSEG_VHEAT'):
        MODELS.register_module(name=name, module=explain, force=True)
    return __getattr__


def _installed(names: tuple[str, ...]) -> tuple[str | None, str | None]:
    """Name and version of the first of these distributions that exists."""
    for name in names:
        try:
            return name, version(name)
        except PackageNotFoundError:
            continue
    return None, None
