"""Fixtures shared by all tests."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from mmengine.config import config, utils
from mmengine.registry import MODELS, DefaultScope

from mmvheat import fast

# Without a GPU, Triton's kernels run in its interpreter. It asks on import.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')

ROOT = Path(__file__).parents[1]
DATA = ROOT / 'tests/data'
ARCHS = {
    'pre_norm': dict(
        embed_dims=8, depths=(1, 2, 1, 1), post_norm=False, layer_scale=None
    ),
    'post_norm': dict(
        embed_dims=8, depths=(1, 2, 1, 1), post_norm=True, layer_scale=1e-2
    ),
}


@dataclass
class Job:
    """A program that runs or has run in a process of its own."""

    process: ForkServerProcess
    folder: Path
    log: Path
    work_dir: Path | None

    @property
    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text()

    def wait(self, timeout: float = 120) -> Job:
        """Wait until it ends."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f'hangs:\n{self.output}'
        return self

    @property
    def exit_code(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.exitcode

    @property
    def error(self) -> str:
        """The sentence with which it failed, proven to come alone."""
        assert self.exit_code == 1, self.output
        assert 'Traceback' not in self.output, self.output
        (sentence,) = re.findall(r'^error: (.*)$', self.output, re.MULTILINE)
        return sentence

    def scalars(self, name: str) -> list[float]:
        """The values logged under a name by the newest run."""
        path = sorted(self.work_dir.glob('*/vis_data/scalars.json'))[-1]
        records = map(json.loads, path.read_text().splitlines())
        return [record[name] for record in records if name in record]

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        """The weights in one of its checkpoints."""
        checkpoint = torch.load(self.work_dir / name, weights_only=False)
        return checkpoint['state_dict']


@pytest.fixture(scope='session', autouse=True)
def libraries_looked_up_once() -> Iterator[None]:
    """Save most of the time of reading a config.

    For every base of a library, mmengine loads pkg_resources again and reads
    all metafiles of the library.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((config, 'is_installed'), (utils, 'load')):
            found = functools.cache(getattr(module, name))
            patch.setattr(module, name, found)
        yield


@pytest.fixture(autouse=True)
def no_default_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the scope that another test has left: every config sets its own."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())


@pytest.fixture(
    scope='session', params=['pre_norm_64', 'post_norm_layer_scale_64']
)
def official_run(request) -> SimpleNamespace:
    """Random weights of the official model and what it computed with them.

    ``path`` is its checkpoint, ``weights`` are those of its backbone,
    ``expected`` is what it computed.
    """
    # A config pickled by yacs lies beside the weights.
    yacs = SimpleNamespace(CfgNode=OrderedDict)
    with patch.dict(sys.modules, {'yacs': yacs, 'yacs.config': yacs}):
        checkpoint = torch.load(
            DATA / f'{request.param}.pth', weights_only=False
        )
    return SimpleNamespace(
        path=DATA / f'{request.param}.pth',
        weights={
            name: value
            for name, value in checkpoint['model'].items()
            if not name.startswith('classifier')
        },
        expected=torch.load(DATA / f'{request.param}_expected.pt'),
    )


@pytest.fixture
def build():
    """Builds a small backbone whose heat visibly spreads."""

    def build(arch='pre_norm', **kwargs):
        torch.manual_seed(0)
        kwargs = {**dict(img_size=64, drop_path_rate=0.0), **kwargs}
        model = MODELS.build(
            dict(type='vHeat', arch=ARCHS.get(str(arch), arch), **kwargs)
        )
        for name, parameter in model.named_parameters():
            if 'freq_embed' in name or 'to_k' in name:
                # As initialised, k is all but zero.
                torch.nn.init.normal_(parameter, std=0.5)
        return model

    return build


@pytest.fixture(params=list(ARCHS))
def arch(request):
    return request.param


@pytest.fixture(params=['fast', 'plain'])
def state(request) -> Iterator[str]:
    """Run with the faster forwards of the machine, and with plain ones."""
    with fast.disabled() if request.param == 'plain' else nullcontext():
        yield request.param


@pytest.fixture(scope='session')
def few_digits() -> Callable[[], AbstractContextManager]:
    """Leaves 20 digits of a class: to write crops of all takes long."""
    datasets = pytest.importorskip('sklearn.datasets')
    digits, labels = datasets.load_digits(return_X_y=True)
    kept = [i for k in range(10) for i in (labels == k).nonzero()[0][:20]]

    @contextmanager
    def leave() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            few = digits[kept], labels[kept]
            patch.setattr(datasets, 'load_digits', lambda return_X_y: few)
            yield

    return leave


@pytest.fixture(scope='session')
def server() -> multiprocessing.context.ForkServerContext:
    """Processes without a GPU that have the libraries imported already."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['preloaded'])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('CUDA_VISIBLE_DEVICES', '')
        patch.setenv('PYTHONPATH', str(ROOT / 'tests'), prepend=os.pathsep)
        forkserver.ensure_running()
    return context


@pytest.fixture(scope='session')
def start(
    server, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Job]:
    """Start a script, or a module by its name, as python does.

    ``cwd`` is the folder in which it runs, by default one of its own, ``env``
    what is added to the environment, ``patch`` code to run before.
    """

    def start(
        program: Path | str,
        *arguments: object,
        cwd: Path | None = None,
        work_dir: Path | None = None,
        env: dict | None = None,
        patch: str | None = None,
    ) -> Job:
        folder = tmp_path_factory.mktemp('process')
        job = dict(
            program=str(program),
            arguments=[str(argument) for argument in arguments],
            env=env or {},
            cwd=str(cwd or folder),
            log=str(folder / 'log.txt'),
            patch=None,
        )
        if patch:
            (folder / 'patch.py').write_text(patch)
            job['patch'] = str(folder / 'patch.py')
        process = server.Process(
            target=runpy.run_path,
            args=(str(ROOT / 'tests/run_in_child.py'), dict(job=job)),
        )
        process.start()
        return Job(process, cwd or folder, folder / 'log.txt', work_dir)

    return start


@pytest.fixture(scope='session')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this source tree, built from a copy of it."""
    folder = tmp_path_factory.mktemp('wheel')
    copy = folder / 'source'
    shutil.copytree(
        ROOT,
        copy,
        symlinks=True,
        ignore=shutil.ignore_patterns(
            '.git', '.venv', 'build', 'work_dirs', 'data', '*.egg-info'
        ),
    )
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps']
        + ['--no-build-isolation', '--wheel-dir', folder, copy],
        check=True,
    )
    (wheel,) = folder.glob('mmvheat-*.whl')
    return zipfile.ZipFile(wheel)
