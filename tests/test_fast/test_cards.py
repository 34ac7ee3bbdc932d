"""Kernels compile for cards, also where there is none."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec('triton') is None, reason='there is no Triton'
)
def test_kernels_compile():
    environment = {**os.environ, 'TRITON_DEFAULT_FP_FUSION': '1'}
    environment.pop('TRITON_INTERPRET', None)
    script = Path(__file__).with_name('cards.py')
    run = subprocess.run(
        [sys.executable, str(script), '80', '90'],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    count = int(run.stdout.split()[0])
    assert count >= 17
