#!/usr/bin/env bash
# The acceptance suite of a GPU (make test-gpu): all but the benchmark in six
# processes, then the benchmark alone. Together they write one report.
cd "$(dirname "$0")/../.." || exit
export MMVHEAT_TEST_DEVICE="${MMVHEAT_TEST_DEVICE:-cuda}"
MMVHEAT_TEST_START="$(date +%s)"
export MMVHEAT_TEST_START
run() {
  OMP_NUM_THREADS=2 "${PYTHON:-python}" -m pytest -v --tb=short -m gpu "$@"
}
run -n 6 --dist loadgroup tests/test_gpu \
  --ignore tests/test_gpu/test_benchmark.py
tests=$?
[ "$tests" = 2 ] && exit 2
run tests/test_gpu/test_benchmark.py && exit "$tests"
