"""mmvheat: vHeat for the downstream tasks of OpenMMLab.

Importing the package registers the backbone in mmengine's root registry,
makes ``mmvheat::`` configs resolve and lets mmengine read checkpoints safely.
It imports no downstream library.
"""

from .version import __version__, check_versions

check_versions()

from mmengine.config.utils import MODULE2PACKAGE  # noqa: E402

from . import engine, models  # noqa: E402, F401
from .checkpoint import register_safe_loader  # noqa: E402

register_safe_loader()

# mmengine looks for configs at the distribution's location, which in an
# editable install is site-packages, not the source tree. A module that is no
# distribution is located by import, right in every install.
MODULE2PACKAGE['mmvheat'] = 'mmvheat.version'

__all__ = ['__version__']
