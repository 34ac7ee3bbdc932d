"""Run the package by its path, as if it were a file beside the others."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])

from benchmark.cli import main  # noqa: E402
from mmvheat.errors import run_main  # noqa: E402

run_main(main)
