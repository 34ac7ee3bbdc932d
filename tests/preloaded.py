"""What processes of the ``start`` fixture need not import or read again."""

import functools
import importlib
from pathlib import Path

from mmengine.config import Config, config, utils
from mmengine.runner import runner

for name in (
    *('mmdet.apis', 'mmseg.apis', 'mmpretrain.apis'),
    *('matplotlib.pyplot', 'mmvheat.visualization', 'mmvheat.engine'),
):
    importlib.import_module(name)
# For every base of a library, mmengine loads pkg_resources again and reads
# all metafiles of the library.
config.is_installed = functools.cache(config.is_installed)
utils.load = functools.cache(utils.load)
# Half of the time of a tiny run: a config is printed five times in PEP 8, and
# the compilers of the machine are asked for their versions.
config.FormatCode = lambda text, **kwargs: (text, True)
runner.collect_env = lambda: {}
for path in (Path(__file__).parent / 'test_tools/configs').glob('*.py'):
    Config.fromfile(path)
