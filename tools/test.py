"""Test a checkpoint and report its metrics.

    python tools/test.py CONFIG CHECKPOINT [--tta] [--show-dir DIR]
    tools/dist_test.sh CONFIG CHECKPOINT GPUS [the same options]

Prints the metrics as a table and writes them to ``metrics.json`` and
``metrics.md`` in the work dir (``metrics_tta.*`` with --tta).
"""

from mmvheat.cli import run

if __name__ == '__main__':
    run('test')
