"""What command lines and notebooks share: arguments, configs, environment.

It loads ``mmvheat.engine``, which registers what configs name and makes
mmengine read checkpoints safely.
"""

import mmvheat.engine  # noqa: F401
