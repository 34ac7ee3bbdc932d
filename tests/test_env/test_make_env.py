"""``make env`` builds, repairs and refuses as it promises.

The script runs unchanged in a bare copy of ``requirements/``. Where a test
builds something, a small shell script stands in for Python and pip and writes
down how it was called, so that a build takes milliseconds.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = """bash cat cksum cp cut dirname flock getconf grep head ls mkdir rm sh
tail"""

FAKE_PYTHON = """\
#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
  *version_info*) exit "${FAKE_IS_OLD:-0}" ;;
  *"import torchvision") exit "${FAKE_TORCHVISION:-0}" ;;
  "-m venv "*)
    mkdir -p "$3/bin" "$3/lib/python3.11/site-packages"
    cp "$0" "$3/bin/python" ;;
  *mmcv_target.py) echo "torch9-cp311-${FAKE_OPS:-cpu}" ;;
  "-m pip wheel"*)
    echo "FORCE_CUDA=$FORCE_CUDA CPATH=$CPATH" >>"$CALLS"
    while [ "$1" != -w ]; do shift; done
    mkdir -p "$2" && echo good >"$2/mmcv-2.1.0-cp311.whl" ;;
  *--force-reinstall*) for wheel; do :; done && test -e "$wheel" ;;
  *"mmcv._ext"*) grep -q good "$XDG_CACHE_HOME"/mmvheat/wheels/*/*.whl ;;
  *"$FAIL_AT"*) exit 1 ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    """A folder with what the script reads, its path holding a space."""
    clone = tmp_path / 'a clone'
    shutil.copytree(
        ROOT / 'requirements',
        clone / 'requirements',
        ignore=shutil.ignore_patterns('__pycache__'),
    )
    return clone


@pytest.fixture
def make_env(clone, tmp_path):
    """Run the script with only the basic tools on PATH."""
    tools = tmp_path / 'tools'
    tools.mkdir()
    for name in TOOLS.split():
        if shutil.which(name):
            (tools / name).symlink_to(shutil.which(name))
    compiler = tmp_path / 'compiler'
    write_script(compiler, '#!/bin/sh\ncat >/dev/null\n')
    fake = tmp_path / 'fake_python'
    write_script(fake, FAKE_PYTHON)
    calls = tmp_path / 'calls'

    def run(**env):
        calls.write_text('')
        defaults = {
            'PATH': str(tools),
            'HOME': str(tmp_path),
            'XDG_CACHE_HOME': str(tmp_path / 'cache'),
            'PYTHON': str(fake),
            'CXX': str(compiler),
            'VENV': '.venv',
            'CALLS': str(calls),
            'FAIL_AT': 'nowhere',
        }
        run = subprocess.run(
            ['bash', 'requirements/make_env.sh'],
            cwd=clone,
            env={**defaults, **env},
            capture_output=True,
            text=True,
            timeout=120,
        )
        run.calls = calls.read_text()
        return run

    return run


def write_script(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def last_sentence(run):
    """The message a refused or failed run ends with."""
    assert run.returncode == 1
    *_, last = run.stderr.strip().splitlines()
    assert last.startswith('make env: ')
    assert 'Traceback' not in run.stderr
    return last


# --- what the machine must have ---------------------------------------------


def test_other_python_is_refused(make_env, clone):
    message = last_sentence(make_env(FAKE_IS_OLD='1'))
    assert 'fake_python is another version' in message
    assert 'make env PYTHON=' in message
    assert not (clone / '.venv').exists()


def test_missing_python_is_refused(make_env):
    message = last_sentence(make_env(PYTHON=''))
    assert 'Python 3.11 is needed' in message and 'missing' in message


def test_python_that_does_not_run_is_passed_over(make_env, tmp_path):
    """Like a pyenv shim whose version is not active."""
    write_script(tmp_path / 'bin' / 'python3.11', '#!/bin/sh\nexit 127\n')
    write_script(tmp_path / 'bin' / 'python3', FAKE_PYTHON)
    path = f'{tmp_path / "bin"}:{tmp_path / "tools"}'
    assert make_env(PYTHON='', PATH=path).returncode == 0


def test_missing_compiler_is_refused(make_env, clone):
    message = last_sentence(make_env(CXX=''))
    assert 'needs a C++ compiler' in message and 'none found' in message
    assert not (clone / '.venv').exists()


def test_compiler_without_headers_is_refused(make_env, clone):
    message = last_sentence(make_env(CXX='false'))
    assert 'headers' in message and 'tried: false' in message
    assert not (clone / '.venv').exists()


def test_unreachable_registry_is_named(make_env, clone):
    run = make_env(
        PYTHON=sys.executable,
        PATH=os.environ['PATH'],
        PIP_CONFIG_FILE=os.devnull,
        PIP_INDEX_URL='http://127.0.0.1:9/simple',
    )
    message = last_sentence(run)
    assert "'build tools' failed: check the network, the package" in message
    assert not (clone / '.venv/.complete').exists()


def test_folder_of_another_origin_is_left_alone(make_env, clone):
    (clone / '.venv').mkdir()
    (clone / '.venv/mine').touch()
    assert 'was not made by make env' in last_sentence(make_env())
    assert os.listdir(clone / '.venv') == ['mine']


@pytest.mark.skipif(not shutil.which('flock'), reason='needs flock')
def test_second_build_in_the_same_folder_is_refused(make_env, clone):
    with open(clone / 'requirements/make_env.sh') as script:
        fcntl.flock(script, fcntl.LOCK_EX)
        assert 'another make env is running' in last_sentence(make_env())
    assert not (clone / '.venv').exists()


# --- the build --------------------------------------------------------------


def test_finished_environment_is_only_proved(make_env):
    first, second = make_env(), make_env()
    assert first.returncode == second.returncode == 0
    assert '-m venv' in first.calls and '-m pip' in first.calls
    assert '-m venv' not in second.calls and '-m pip' not in second.calls
    assert 'collect_env.py --strict' in second.calls


@pytest.mark.parametrize(
    'step', ['build.txt', 'torch.txt', 'runtime.txt', '-e .', 'collect_env']
)
def test_interrupted_build_starts_again(make_env, clone, step):
    assert last_sentence(make_env(FAIL_AT=step))
    assert not (clone / '.venv/.complete').exists()
    (clone / '.venv/half-made').touch()
    again = make_env()
    assert again.returncode == 0 and '-m venv' in again.calls
    assert not (clone / '.venv/half-made').exists()


def test_changed_requirements_rebuild(make_env, clone):
    make_env()
    with open(clone / 'requirements/runtime.txt', 'a') as file:
        file.write('one-more==1.0\n')
    assert '-m venv' in make_env().calls


def test_mmcv_is_compiled_once(make_env, clone):
    assert '-m pip wheel' in make_env().calls
    shutil.rmtree(clone / '.venv')
    again = make_env()
    assert again.returncode == 0 and '-m pip wheel' not in again.calls


def test_damaged_cached_mmcv_is_compiled_again(make_env, clone, tmp_path):
    make_env()
    (wheel,) = (tmp_path / 'cache/mmvheat/wheels/torch9-cp311-cpu').iterdir()
    wheel.write_text('truncated')
    shutil.rmtree(clone / '.venv')
    again = make_env()
    assert again.returncode == 0 and '-m pip wheel' in again.calls
    assert wheel.read_text() == 'good\n'


def test_cuda_ops_are_compiled_where_they_can_be(make_env, clone):
    assert 'FORCE_CUDA=0 CPATH=\n' in make_env().calls
    shutil.rmtree(clone / '.venv')
    folder = clone / '.venv/include'
    calls = make_env(FAKE_OPS='cuda13.0-sm90').calls  # another wheel
    assert f'FORCE_CUDA=1 CPATH={folder}\n' in calls
    assert (folder / 'THC/THCAtomics.cuh').is_file()


def test_shim_is_installed_where_torchvision_does_not_import(make_env, clone):
    site = clone / '.venv/lib/python3.11/site-packages'
    make_env()
    assert os.listdir(site) == []
    shutil.rmtree(clone / '.venv')
    make_env(FAKE_TORCHVISION='1')
    name = 'mmvheat_torchvision_shim'
    assert sorted(os.listdir(site)) == [f'{name}.pth', f'{name}.py']
    assert (site / f'{name}.pth').read_text() == f'import {name}\n'


def test_finished_environment_that_broke_is_named(make_env):
    make_env()
    assert 'make clean-env env' in last_sentence(make_env(FAIL_AT='collect'))
    assert '-m venv' not in make_env().calls


def test_failed_step_shows_the_log(make_env):
    run = make_env(FAIL_AT='torch.txt')
    assert 'whole log: .venv/make_env.log' in last_sentence(run)
    assert 'torch' in run.stdout and 'failed' in run.stdout


def test_requirements_pin_exact_versions():
    for file in (ROOT / 'requirements').glob('*.txt'):
        for line in file.read_text().splitlines():
            if line and not line.startswith('#'):
                assert line.count('==') == 1, f'{file.name}: {line}'
