"""mmvheat: vHeat for the downstream tasks of OpenMMLab.

Importing the package registers the backbone in mmengine's root registry,
makes ``mmvheat::`` configs resolve and lets mmengine read checkpoints safely.
It imports no downstream library.
"""

from .version import __version__, check_versions

check_versions()

from . import engine, models  # noqa: E402, F401
from .checkpoint import register_safe_loader  # noqa: E402
from .config import register_configs  # noqa: E402

register_configs()
register_safe_loader()

__all__ = ['__version__']
