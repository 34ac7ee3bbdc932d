"""Look at your data and write a project that trains on them.

    python tools/new_project.py DATA [--model mask-rcnn_vheat-t] [--out DIR]
    python tools/new_project.py --update --out DIR

Installed, it is ``mmvheat new``. See docs/own_data.md.
"""

from mmvheat.cli import run

if __name__ == '__main__':
    run('new')
