#!/usr/bin/env bash
# Builds, tests and measures the CUDA backend on a machine with an NVIDIA GPU, in under eight minutes, and prints a table last.
# Status 0: all passed; 1: something failed; 2: there is no GPU.
#
#   benchmarks/gpu_acceptance.sh           in a fresh virtual environment, which needs a package index
#   benchmarks/gpu_acceptance.sh --here    with PYTHON (default: python3) and the packages it has: CuPy, pytest, PyTorch
#
# Logs and results go to OUT (default: build/gpu_acceptance). PyTorch is compared with where Python has it.
set -u
cd "$(dirname "$0")/.." || exit 1

if ! command -v nvidia-smi >/dev/null; then
    echo "gpu_acceptance: there is no NVIDIA GPU here: nvidia-smi, a part of its driver, is not installed" >&2
    exit 2
fi
if ! gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1); then
    echo "gpu_acceptance: there is no NVIDIA GPU here: nvidia-smi says: ${gpu##*$'\n'}" >&2
    exit 2
fi

out=${OUT:-build/gpu_acceptance}
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
python=${PYTHON:-python3}
names=() results=() times=() failures=0
deadline=$((SECONDS + 470))

note() { # name, result, seconds
    names+=("$1") results+=("$2") times+=("$3")
    echo "-- $1: $2, $3 s"
}

step() { # name, seconds it may take, command ...: its output goes to a log, of which the end is shown
    local name=$1 limit=$2 start=$SECONDS left=$((deadline - SECONDS)) status result=passed
    shift 2
    echo "== $name: $(printf '%q ' "$@")"
    if ((left < limit)); then limit=$left; fi
    if ((limit < 5)); then
        failures=$((failures + 1))
        note "$name" "not run: no time left" 0
        return
    fi
    timeout --kill-after=5 "$limit" "$@" >"$out/$name.log" 2>&1 </dev/null
    status=$?
    tail -n "${SHOWN:-15}" "$out/$name.log"
    if ((status)); then
        failures=$((failures + 1))
        result="failed, status $status"
        if ((status == 124 || status == 137)); then result="failed, over $limit s"; fi
    fi
    note "$name" "$result" $((SECONDS - start))
}

# shellcheck disable=SC2317  # a step calls it
build() {
    local name
    if [ -n "$here" ]; then
        "$python" -m pip install --quiet --no-build-isolation --no-deps --editable .
        return
    fi
    "$python" -m pip install --quiet --editable '.[test]' || return
    name=$("$python" -c 'from minicnn.backends.driver import find, package; print(package(find()) or "")') || return
    if [ -z "$name" ]; then
        echo "no CuPy package fits this driver"
        return 1
    fi
    "$python" -m pip install --quiet "$name" || return
    # The parts of CUDA are gigabytes: only where the machine lacks them.
    "$python" -c 'from minicnn.backends.driver import import_cupy; import_cupy()' ||
        "$python" -m pip install --quiet "${name}[ctk]"
}

here=''
if [ "${1:-}" = --here ]; then
    here=yes
elif [ $# -gt 0 ]; then
    echo "gpu_acceptance: $1 is not known: it must be --here" >&2
    exit 1
elif "$python" -m venv --system-site-packages "$out/venv"; then
    python=$out/venv/bin/python
else
    echo "gpu_acceptance: no virtual environment: with the packages of $python"
    here=yes
fi
export -f build
export python here PYTHONUNBUFFERED=1 # a step that takes too long has said something
minicnn=("$python" -c 'from minicnn.cli import app; app()')

echo "$gpu; $(git log -1 --format='commit %h' 2>/dev/null), $(date -u +%FT%TZ)" | tee "$out/machine.log"
step build 130 bash -c build
SHOWN=25 step info 20 "${minicnn[@]}" info
pytest=("$python" -m pytest -q -p no:cacheprovider tests/test_gpu.py tests/test_gpu_kernels.py)
step tests 140 "${pytest[@]}" -m 'not slow'
step selftest 40 "${minicnn[@]}" selftest --device cuda
if command -v compute-sanitizer >/dev/null; then
    step sanitizer 60 compute-sanitizer --error-exitcode 1 "${minicnn[@]}" selftest --device cuda
else
    note sanitizer "skipped: compute-sanitizer is not there" 0
fi
SHOWN=40 step bench 100 "${minicnn[@]}" bench alexnet resnet50 vgg_d googlenet cifar_resnet20 --device cuda \
    --rounds 3 --json "$out/bench.json"
step train 60 "$python" examples/train_alexnet_cifar.py --device cuda --no-plots --out "$out/train"
# A training step of one network of each kind, which the CPU takes too; without -k it is all of them.
step zoo 90 "${pytest[@]}" -m slow -k 'lenet5 or cifar_resnet20 or googlenet or densenet121 or resnext50 or inception_v3 or xception'

echo
printf '%-10s %-38s %7s\n' step result seconds
for i in "${!names[@]}"; do
    printf '%-10s %-38s %7d\n' "${names[i]}" "${results[i]}" "${times[i]}"
done
printf '%-10s %-38s %7d\n' all "$([ $failures = 0 ] && echo passed || echo "$failures failed")" $SECONDS
exit $((failures > 0))
