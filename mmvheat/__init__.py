"""mmvheat: vHeat for the downstream tasks of OpenMMLab.

Importing the package registers the backbone in mmengine's root registry and
makes ``mmvheat::`` configs resolve. Hooks and whatever else a run may name
are registered by ``mmvheat.engine``, which the configs import. It imports no
downstream library and no runner.

``mmvheat.nn`` and ``mmvheat.ops`` need torch alone. Where mmengine or mmcv is
missing, broken or of a version that does not fit, they work all the same, and
whatever needs these libraries says so when it is asked for.
"""

from .version import __version__, check_versions, explain_later

try:
    check_versions()
    import mmengine.model  # noqa: F401
except Exception as error:  # a broken library may raise anything
    __getattr__ = explain_later(error)
else:
    from . import models  # noqa: F401
    from .compat import make_changes

    make_changes('configs')

__all__ = ['__version__']
