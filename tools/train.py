"""Train a classifier, detector, segmentor or restorer from its config.

    python tools/train.py CONFIG [--work-dir DIR] [--resume] [--amp]
    tools/dist_train.sh CONFIG GPUS [the same options]

Works on CPU and GPU, in one process or many. The work dir receives the
config, the log, checkpoints, scalars and learning curves. What makes a run
safe to interrupt stands in ``configs/_base_/runtime.py``, so that a run
started by ``mim train`` or by mmdet's own tools is the same.
"""

from mmvheat.cli import run

if __name__ == '__main__':
    run('train')
