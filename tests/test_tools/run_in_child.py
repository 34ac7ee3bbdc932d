"""Run a tool in this process, as ``python tool.py ...`` would.

``job`` is set by the ``run_tool`` fixture.
"""

import os
import runpy
import sys

import torch

job = globals()['job']
log = os.open(job['log'], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(log, 1)
os.dup2(log, 2)
os.environ.update(job['env'])
os.chdir(job['cwd'])
torch.set_num_threads(1)
sys.argv = [job['tool'], *job['arguments']]
if job['patch']:
    runpy.run_path(job['patch'])
runpy.run_path(job['tool'], run_name='__main__')
