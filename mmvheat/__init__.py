"""mmvheat: vHeat for the downstream tasks of OpenMMLab.

Importing the package registers the backbone in mmengine's root registry and
imports no downstream library.
"""

from .version import __version__, check_versions

check_versions()

from . import models  # noqa: E402, F401

__all__ = ['__version__']
