"""Test a model under corruptions, filters and shifts of its data.

    python tools/robustness.py CONFIG CHECKPOINT [--data corruptions] [...]
    python tools/dist_launch.py --nproc-per-node=GPUS tools/robustness.py \
        CONFIG CHECKPOINT --launcher pytorch [...]
    python tools/robustness.py --compare RESULT.json ... --out-dir DIR

``--data`` is a file of ``configs/robustness/datasets``, by name or by path.
Results go to ``WORK_DIR/robustness/DATA``: robustness.md and .json, and two
pictures. A run that was stopped, started again, goes on with the next test.
"""

from mmvheat.cli import run

if __name__ == '__main__':
    run('robustness')
