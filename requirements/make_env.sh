#!/usr/bin/env bash
# Build the pinned environment and prove that it works; `make env` runs this.
#
#   PYTHON=...             the Python 3.11 to use (default: the first found)
#   VENV=...               where the environment goes (default: .venv)
#   MAX_JOBS=...           compilers at once for mmcv (default: all cores)
#   FORCE_CUDA=0|1         mmcv's CUDA ops never / also without a visible GPU
#   TORCH_CUDA_ARCH_LIST=  the GPUs to compile them for (default: those here)
#
# Packages come from where your own pip looks for them. The compiled mmcv stays
# in ${XDG_CACHE_HOME:-~/.cache}/mmvheat/wheels. A finished environment is only
# proved again, another one rebuilt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${VENV:-.venv}
built=$venv/bin/python
log=$venv/make_env.log  # where it is, this script may delete the folder
stamp=$venv/.complete   # holds the fingerprint of what was built
wheels=${XDG_CACHE_HOME:-~/.cache}/mmvheat/wheels

# Nothing from outside may leak into the environment.
unset PYTHONPATH PYTHONHOME
export PIP_USER=0 PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

main() {
  # Two builds of one environment would delete each other's files.
  exec 9<requirements/make_env.sh
  ! type -P flock >/dev/null || flock -n 9 ||
    die 'another make env is running in this folder: wait for it to end.'
  find_python
  if [ "$(cat "$stamp" 2>/dev/null)" != "$(fingerprint)" ] ||
    ! "$built" -c '' 2>/dev/null; then
    check_compiler
    build
  fi
  "$built" tools/collect_env.py --strict ||
    die "$venv does not work, see above: make clean-env env builds it anew."
  fingerprint >"$stamp"
}

fingerprint() {
  { echo "$PWD $venv" && cat requirements/*.{txt,py,sh}; } | cksum
}

find_python() { # a pyenv shim of a version that is not active does not run
  while IFS= read -r python; do
    "$python" -c 'import sys; exit(sys.version_info[:2] != (3, 11))' \
      2>/dev/null && return
  done < <([ -n "${PYTHON:-}" ] && echo "$PYTHON" || {
    type -aP python3.11 python3 python
    ls "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.11.*/bin/python3.11 2>/dev/null
  })
  die "Python 3.11 is needed, and ${PYTHON:-python3} is another version or" \
    'missing: install it, or name it, make env PYTHON=/path/to/python3.11.'
}

check_compiler() {
  export CXX=${CXX:-$(type -P c++ g++ clang++ | head -n 1)}
  local code='import sysconfig; print(sysconfig.get_path("include"))'
  # shellcheck disable=SC2086  # CXX may hold arguments ("ccache g++")
  printf '#include <Python.h>\n#include <vector>\nint main() {}\n' |
    $CXX -x c++ -std=c++17 -fsyntax-only -I"$("$python" -c "$code")" - \
      >/dev/null 2>&1 ||
    die "mmcv needs a C++ compiler that finds the headers of $python" \
      "(tried: ${CXX:-none found}): apt install g++ python3.11-dev may help."
}

build() {
  local again='check the network, the package registry of pip and the free'
  again+=' space, and run make env again'
  [ ! -e "$venv" ] || [ -e "$log" ] ||
    die "$venv was not made by make env: move it away, or set VENV=..."
  echo "Building $venv with $python, 11 minutes on 2 cores (log: $log)"
  rm -rf "$venv"
  mkdir -p "$venv" && : >"$log" ||
    die "cannot write to $venv: check the permissions and the free space."
  step 'virtual environment' 'apt install python3.11-venv may help' \
    "$python" -m venv "$venv"
  step 'build tools' "$again" pip --retries 1 -r requirements/build.txt
  step 'torch' "$again" \
    pip -c requirements/runtime.txt -r requirements/torch.txt
  step 'OpenMMLab and the rest' "$again" \
    pip --no-deps -r requirements/runtime.txt -r requirements/dev.txt
  install_mmcv
  step 'mmvheat, editable' "$again" pip --no-deps --no-build-isolation -e .
  step 'torchvision' 'see requirements/torchvision_shim.py' fit_torchvision
  # Imports then take a third; what does not compile is for other Pythons.
  "$built" -m compileall -q -j 0 "$venv/lib" >>"$log" 2>&1 || true
}

pip() {
  "$built" -m pip install --no-compile "$@"
}

install_mmcv() { # a wheel fits one torch, one Python and some GPUs
  folder=$wheels/$("$built" requirements/mmcv_target.py)
  install_wheel "$folder" >>"$log" 2>&1 && return
  rm -rf "$folder"
  step '  compiled, once per machine: most of the time' \
    'run MAX_JOBS=1 make env if memory is short, FORCE_CUDA=0 if CUDA fails' \
    build_wheel "$folder"
  step '  installed' 'its ops do not import' install_wheel "$folder"
}

build_wheel() ( # a subshell: what it exports ends with it
  here=$(cd "$venv" && pwd)
  export MAX_JOBS=${MAX_JOBS:-$(getconf _NPROCESSORS_ONLN)}
  export MMCV_WITH_OPS=1 PATH=$here/bin:$PATH
  if [[ $1 = *-cuda* ]]; then
    # mmcv includes a header that newer torch may lack; torch's own goes first.
    mkdir -p "$here/include/THC"
    echo '#include <ATen/cuda/Atomic.cuh>' >"$here/include/THC/THCAtomics.cuh"
    export FORCE_CUDA=1 CPATH=$here/include
  else
    export FORCE_CUDA=0 CUDA_VISIBLE_DEVICES=
  fi
  # No pip cache: it would hand out a wheel compiled for another torch.
  python -m pip wheel -v --no-cache-dir --no-binary mmcv --no-deps \
    --no-build-isolation -r requirements/mmcv.txt -w "$1"
)

install_wheel() {
  pip --no-deps --force-reinstall "$1"/mmcv-*.whl &&
    "$built" -c 'import mmcv._ext; from mmcv.ops import nms'
}

fit_torchvision() { # only where it does not import beside this torch
  ! "$built" -c 'import torchvision' || return 0
  local shim=$venv/lib/python3.11/site-packages/mmvheat_torchvision_shim
  cp requirements/torchvision_shim.py "$shim.py" &&
    echo "import ${shim##*/}" >"$shim.pth"
}

step() { # step LABEL ADVICE COMMAND...: run it into the log, show its seconds
  local begin=$SECONDS
  printf '\n== %s: %s\n' "$1" "${*:3}" >>"$log"
  printf '  %-60s' "$1"
  "${@:3}" >>"$log" 2>&1 && printf '%5d s\n' $((SECONDS - begin)) && return
  echo 'failed'
  tail -n 15 "$log" | cut -c 1-200 >&2
  die "the step '$1' failed: $2 (whole log: $log)."
}

die() {
  echo "make env: $*" >&2
  exit 1
}

main
