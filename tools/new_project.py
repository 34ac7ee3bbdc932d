"""Look at your data and write a project that trains on them.

    python tools/new_project.py DATA [--model mask-rcnn_vheat-t] [--out DIR]
    python tools/new_project.py --update --out DIR

Installed, it is ``mmvheat new``. See docs/own_data.md.
"""

import warnings

# Said whenever mmengine, mmdet and others are imported.
warnings.filterwarnings('ignore', '.*pkg_resources')

from mmvheat.errors import run_main  # noqa: E402
from mmvheat.projects.command import main  # noqa: E402

if __name__ == '__main__':
    run_main(main)
