"""Run a program in this process, as ``python program ...`` would.

``job`` is set by the ``start`` fixture.
"""

import gc
import os
import runpy
import sys

import torch

job = globals()['job']
gc.freeze()  # mmengine collects garbage in each data set
log = os.open(job['log'], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(log, 1)
os.dup2(log, 2)
os.environ.update(job['env'])
os.chdir(job['cwd'])
torch.set_num_threads(1)
sys.argv = [job['program'], *job['arguments']]
if job['patch']:
    runpy.run_path(job['patch'])
if job['program'].endswith('.py'):
    runpy.run_path(job['program'], run_name='__main__')
else:
    runpy.run_module(job['program'], run_name='__main__', alter_sys=True)
