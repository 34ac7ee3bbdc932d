"""mmvheat: vHeat for the downstream tasks of OpenMMLab.

Importing the package registers the backbone in mmengine's root registry and
makes ``mmvheat::`` configs resolve. Hooks and whatever else a run may name
are registered by ``mmvheat.engine``, which the configs import. It imports no
downstream library and no runner.
"""

from .version import __version__, check_versions

check_versions()

from . import models  # noqa: E402, F401
from .compat import make_changes  # noqa: E402

make_changes('configs')

__all__ = ['__version__']
