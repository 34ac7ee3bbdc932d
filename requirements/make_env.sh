#!/usr/bin/env bash
# Build the pinned environment and prove that it works; `make env` runs this.
#
#   PYTHON=...             the Python 3.11 to use      (default: the first found)
#   VENV=...               where the environment goes  (default: .venv)
#   MAX_JOBS=...           compilers at once for mmcv  (default: all cores)
#   FORCE_CUDA=0|1         mmcv's CUDA ops never / also without a visible GPU
#   TORCH_CUDA_ARCH_LIST=  the GPUs to compile them for (default: those here)
#
# Packages come from wherever your own pip is configured to look. The compiled
# mmcv wheel is kept in ${XDG_CACHE_HOME:-~/.cache}/mmvheat/wheels.
# A finished environment is only proved again; anything else, an interrupted
# build or changed requirements, is rebuilt from scratch.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${VENV:-.venv}
marker=$venv/.made-by-mmvheat  # this script may delete the folder
stamp=$venv/.complete          # holds the fingerprint of what was built
log=$venv/make_env.log
wheels=${XDG_CACHE_HOME:-~/.cache}/mmvheat/wheels

install_failed='the packages could not be installed: check the network and the'
install_failed+=' free space, and run make env again.'

# Nothing from outside may leak into the environment.
unset PYTHONPATH PYTHONHOME
export PIP_USER=0 PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

main() {
  # Two builds of one environment would delete each other's files.
  if command -v flock >/dev/null; then
    exec 9<requirements/make_env.sh
    flock -n 9 || die 'another make env is running in this folder: wait for' \
      'it to end.'
  fi
  python=$(find_python)
  if [ "$(cat "$stamp" 2>/dev/null)" != "$(fingerprint)" ] ||
    ! is_python_311 "$venv/bin/python"; then
    check_compiler
    build
  fi
  prove
}

# --- what the machine must have ---------------------------------------------

find_python() {
  local candidate seen=
  if [ -n "${PYTHON:-}" ]; then
    is_python_311 "$PYTHON" && echo "$PYTHON" && return
    die "Python 3.11 is needed, but PYTHON=$PYTHON" \
      "$(describe_python "$PYTHON"): name another one," \
      'make env PYTHON=/path/to/python3.11.'
  fi
  # A pyenv shim of a version that is not active exists but does not run.
  while IFS= read -r candidate; do
    is_python_311 "$candidate" && echo "$candidate" && return
    seen=$candidate
  done < <(
    type -aP python3.11 python3 python
    ls "${PYENV_ROOT:-$(echo ~/.pyenv)}"/versions/3.11.*/bin/python3.11 2>/dev/null
  )
  die 'Python 3.11 is needed and none was found' \
    "(${seen:-python3} $(describe_python "${seen:-python3}")): install it," \
    'or name it, make env PYTHON=/path/to/python3.11.'
}

python_version() {
  "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null
}

is_python_311() {
  case "$(python_version "$1")" in 3.11.*) ;; *) return 1 ;; esac
}

describe_python() {
  local version
  version=$(python_version "$1") && echo "is Python $version" ||
    echo 'does not run'
}

check_compiler() {
  local candidate include
  for candidate in "${CXX:-c++}" g++ clang++; do
    # shellcheck disable=SC2086  # CXX may hold arguments ("ccache g++")
    if command -v ${candidate%% *} >/dev/null; then
      export CXX=$candidate
      break
    fi
    candidate=
  done
  [ -n "$candidate" ] || die 'no C++ compiler was found, and mmcv is' \
    'compiled from source: install one (apt install g++, dnf install' \
    'gcc-c++) and run make env again.'
  include=$("$python" -c \
    'import sysconfig; print(sysconfig.get_path("include"))')
  # shellcheck disable=SC2086
  printf '#include <Python.h>\n#include <vector>\nint main() {}\n' |
    $CXX -x c++ -std=c++17 -fsyntax-only -I"$include" - >/dev/null 2>&1 ||
    die "the C++ compiler ($CXX) cannot compile an extension for $python:" \
      'install the C++ standard library and the Python 3.11 headers' \
      '(apt install g++ python3.11-dev).'
}

# --- the build --------------------------------------------------------------

fingerprint() {
  { echo "$PWD $venv" && cat requirements/*.{txt,py,sh}; } | cksum
}

build() {
  if [ -e "$venv" ] && [ ! -e "$marker" ]; then
    die "$venv exists and was not made by make env: move it away, or choose" \
      'another folder, make env VENV=...'
  fi
  echo "Building $venv with $("$python" --version) (log: $log)"
  rm -rf "$venv"
  mkdir -p "$venv" && touch "$marker" && : >"$log" ||
    die "cannot write to $venv: check the permissions and the free space."

  step 'virtual environment' "$python" -m venv "$venv" ||
    fail "$python cannot make virtual environments: install its venv module" \
      '(apt install python3.11-venv).'
  # Few retries: a registry that cannot be reached should say so at once.
  step 'build tools' pip --retries 1 --timeout 30 -r requirements/build.txt ||
    fail 'the package registry did not deliver the build tools: check the' \
      'network, or point pip to a registry that you can reach (pip config' \
      'set global.index-url ...), and run make env again.'
  step 'torch' pip -c requirements/runtime.txt -r requirements/torch.txt ||
    fail "$install_failed"
  step 'OpenMMLab and the rest' pip --no-deps -r requirements/runtime.txt \
    -r requirements/dev.txt || fail "$install_failed"
  install_mmcv
  step 'mmvheat, editable' pip --no-deps --no-build-isolation -e . ||
    fail 'mmvheat itself could not be installed.'
  declare_torchvision_operators
}

pip() {
  "$venv/bin/python" -m pip install --no-compile "$@"
}

install_mmcv() {
  # A wheel fits one torch, one Python and, with CUDA ops, some GPUs.
  local target folder
  target=$("$venv/bin/python" requirements/mmcv_target.py)
  folder=$wheels/$target
  if ls "$folder"/mmcv-*.whl >/dev/null 2>&1; then
    step "mmcv, cached for $target" install_mmcv_wheel "$folder" && return
    echo '  The cached wheel does not work and is built again.'
    rm -rf "$folder"
  fi
  echo "  mmcv's ops are compiled once per machine: 8 minutes on 2 cores."
  step "mmcv for $target" build_mmcv_wheel "$folder" ||
    fail 'mmcv could not be compiled. If the machine ran out of memory, run' \
      'MAX_JOBS=2 make env; if the CUDA compiler is at fault, FORCE_CUDA=0' \
      'make env compiles the ops for the CPU alone.'
  step 'mmcv' install_mmcv_wheel "$folder" ||
    fail "mmcv was compiled, but its ops do not import."
}

build_mmcv_wheel() ( # a subshell: what it exports ends with it
  here=$(cd "$venv" && pwd)
  case "$1" in
    *-cuda*)
      export FORCE_CUDA=1
      # mmcv includes this header by a name that newer torch may not have;
      # where torch has it, torch's own is found first.
      mkdir -p "$here/include/THC"
      echo '#include <ATen/cuda/Atomic.cuh>' \
        >"$here/include/THC/THCAtomics.cuh"
      export CPATH=$here/include
      ;;
    *) export FORCE_CUDA=0 CUDA_VISIBLE_DEVICES= ;;
  esac
  export MMCV_WITH_OPS=1 MAX_JOBS=${MAX_JOBS:-$(getconf _NPROCESSORS_ONLN)}
  export PATH=$here/bin:$PATH
  # No pip cache: it would hand out a wheel compiled for another torch.
  python -m pip wheel -v --no-cache-dir --no-binary mmcv \
    --no-build-isolation --no-deps -r requirements/mmcv.txt \
    -w "$here/mmcv-wheel" &&
    mkdir -p "$1" && cp "$here"/mmcv-wheel/mmcv-*.whl "$1/unfinished" &&
    mv "$1/unfinished" "$1/$(basename "$here"/mmcv-wheel/mmcv-*.whl)"
)

install_mmcv_wheel() {
  pip --no-deps --force-reinstall "$1"/mmcv-*.whl &&
    "$venv/bin/python" -c 'import mmcv._ext; from mmcv.ops import nms'
}

declare_torchvision_operators() {
  # See requirements/torchvision_shim.py.
  local error name=mmvheat_torchvision_shim site
  error=$("$venv/bin/python" -c 'import torchvision' 2>&1) && return
  case "$error" in
    *'torchvision::nms does not exist'*) ;;
    *) echo "$error" >>"$log" && fail 'torchvision does not import.' ;;
  esac
  site=$("$venv/bin/python" -c \
    'import sysconfig; print(sysconfig.get_path("purelib"))')
  cp requirements/torchvision_shim.py "$site/$name.py"
  echo "import $name" >"$site/$name.pth"
}

# --- the proof --------------------------------------------------------------

prove() {
  "$venv/bin/python" tools/collect_env.py --strict ||
    die "the environment in $venv does not work, see above: make clean-env" \
      'env builds it anew.'
  fingerprint >"$stamp"
}

# --- talking ----------------------------------------------------------------

step() { # step LABEL COMMAND...: run it into the log, show how long it took
  local label=$1 begin=$SECONDS code=0
  shift
  printf '\n== %s: %s\n' "$label" "$*" >>"$log"
  printf '  %-60s' "$label"
  if [ -t 1 ]; then tick "$label" "$begin" & fi
  "$@" >>"$log" 2>&1 || code=$?
  if [ -t 1 ]; then kill $! 2>/dev/null && wait $! 2>/dev/null || true; fi
  [ -t 1 ] && printf '\r\033[K  %-60s' "$label"
  [ $code = 0 ] && printf '%5d s\n' $((SECONDS - begin)) || echo 'failed'
  return $code
}

tick() { # show elapsed time and, where ninja compiles, its progress
  local done_of_all
  while sleep 1 && kill -0 $$ 2>/dev/null; do
    done_of_all=$(tail -c 20000 "$log" | grep -o '^ *\[[0-9]*/[0-9]*\]' |
      tail -n 1) || true
    printf '\r  %-60s%5d s %s' "$1" $((SECONDS - $2)) "$done_of_all"
  done
}

fail() { # end a step that failed
  tail -n 15 "$log" | cut -c 1-200 >&2
  die "$@" "(whole log: $log)"
}

die() {
  echo "make env: $*" >&2
  exit 1
}

main
