"""Look at your data and write a project that trains on them.

    python tools/new_project.py DATA [--model mask-rcnn_vheat-t] [--out DIR]
    python tools/new_project.py --update --out DIR

Installed, it is ``mmvheat new``. See docs/own_data.md.
"""

from mmvheat.engine.errors import run_main
from mmvheat.projects.command import main

if __name__ == '__main__':
    run_main(main)
