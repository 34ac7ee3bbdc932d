"""Version ranges are checked from metadata, with a message for each."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import tomllib

from mmvheat import version
from mmvheat.version import OPTIONAL, check_versions

ROOT = Path(__file__).parents[2]
GOOD = {'mmengine': '0.10.7', 'mmcv': '2.1.0'}


@pytest.fixture
def install(monkeypatch):
    """Pretend that exactly these distributions are installed."""

    def set_installed(**versions):
        table = {k.replace('_', '-'): v for k, v in versions.items()}

        def find(name):
            if name not in table:
                raise PackageNotFoundError(name)
            return table[name]

        monkeypatch.setattr(version, 'version', find)
        monkeypatch.setattr(version, 'find_spec', lambda name: None)

    return set_installed


@pytest.mark.parametrize(
    'extra',
    [
        {},
        {'mmdet': '3.3.0', 'mmsegmentation': '1.2.2', 'mmpretrain': '1.2.0'},
        {'mmcv': '2.0.0'},
        {'mmengine': '0.10.3'},
    ],
)
def test_versions_that_work_pass(install, extra):
    install(**{**GOOD, **extra})
    check_versions()


def test_mmcv_lite_stands_in_for_mmcv(install):
    install(mmengine='0.10.7', mmcv_lite='2.1.0')
    check_versions()


@pytest.mark.parametrize(
    ('name', 'found'),
    [
        ('mmengine', '0.10.2'),
        ('mmcv', '2.2.0'),
        ('mmcv', '2.0.0rc4'),
        ('mmdet', '2.28.2'),
        ('mmsegmentation', '0.30.0'),
        ('mmpretrain', '1.0.0rc7'),
    ],
)
def test_version_out_of_range_is_named(install, name, found):
    install(**{**GOOD, name: found})
    with pytest.raises(ImportError) as caught:
        check_versions()
    (line,) = str(caught.value).splitlines()
    assert f'{name} {found} is installed' in line
    assert f"pip install '{name}>=" in line


def test_old_mmcv_full_is_named(install):
    install(mmengine='0.10.7', mmcv_full='1.7.2')
    with pytest.raises(ImportError, match='mmcv-full 1.7.2 is installed'):
        check_versions()


def test_every_problem_gets_its_line(install):
    install(mmdet='2.28.2')
    with pytest.raises(ImportError) as caught:
        check_versions()
    mmengine, mmcv, mmdet = str(caught.value).splitlines()
    assert 'needs mmengine' in mmengine and 'not installed' in mmengine
    assert 'needs mmcv or mmcv-lite' in mmcv and 'not installed' in mmcv
    assert 'mmdet 2.28.2' in mmdet


def test_source_folder_without_metadata_is_taken(install, monkeypatch):
    install(mmengine='0.10.7')
    monkeypatch.setattr(version, 'find_spec', lambda name: object())
    check_versions()


def test_checking_imports_no_downstream_library():
    code = (
        'import runpy, sys; '
        f'runpy.run_path({str(version.__file__)!r})["check_versions"](); '
        'sys.exit(bool({"torch", "mmengine", "mmcv", "mmdet"} '
        '& set(sys.modules)))'
    )
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


def test_extras_ask_for_the_checked_versions():
    with open(ROOT / 'pyproject.toml', 'rb') as file:
        project = tomllib.load(file)['project']
    wanted = [project['dependencies']]
    wanted += [project['optional-dependencies'][k] for k in ('det', 'seg')]
    wanted += [project['optional-dependencies']['cls']]
    listed = {item for items in wanted for item in items}
    for (name, *_), versions in OPTIONAL.values():
        assert f'{name}{versions}' in listed
    assert f'mmengine{version.REQUIRED["mmengine"][1]}' in listed
