#!/usr/bin/env bash
# Checks what Denoise computes on this machine's GPU, and times it against ONNX Runtime, in Dawn (Chrome's WebGPU) instead of
# a browser:
#
#   bash run.sh OUT [options of the benchmark, as `--model digits --count 1`]
#
# Needs an x86-64 Linux with bash, glibc 2.35 and a GPU with its Vulkan driver, 2 GB of disk for what it makes beside this
# file, and no network. (Where libstdc++ is missing, the one that is carried may need a newer glibc.)
#
# OUT gets machine.txt, checks.txt and checks.log, results.md, results.json and bench.log, tests.log. The table and a line
# for each check are printed last. The exit status is 1 if anything failed; whatever fails, the rest is run.
#
# From the environment:
#   NATIVE_MODELS   models that the native engine is checked with; '' for none  [digits sprites cifar10 256]
#   CHECK_SECONDS   the most that one such check may take                       [40]
#   CHECKS_SECONDS  the most that all of them may take                          [120]
#   BENCH_LIMIT     seconds after which the benchmark begins nothing more       [120]
#   BENCH_SECONDS   the most that the benchmark may take                        [180]
#   TEST_SECONDS    the most that the tests of the ops may take; 0 for no tests [60]
#   VK_DRIVER_FILES, VK_ICD_FILENAMES   Vulkan's driver, if it is to be another than the loader finds
set -uo pipefail

[ $# -ge 1 ] || {
    echo 'usage: bash run.sh OUT [options of the benchmark]' >&2
    exit 2
}
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 2
shift
cd "$(dirname "$0")" || exit 2
rm -f "$out"/{machine.txt,checks.txt,checks.log,results.md,results.json,bench.log,tests.log}

# Of the libraries that are carried, only those that the machine lacks.
export PATH=$PATH:/usr/sbin:/sbin
libraries=$(mktemp -d) || exit 2
trap 'rm -rf "$libraries"' EXIT
for library in lib/*; do
    ldconfig -p | grep -qF "${library#lib/} " || ln -s "$PWD/$library" "$libraries/"
done
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

# Containers may have NVIDIA's driver where the loader does not look.
nvidia=/usr/local/nvidia/share
icds=(/usr/share/vulkan/icd.d/*.json /usr/local/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json)
if [ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && [ -z "$(ls "${icds[@]}" 2>/dev/null)" ] && [ -e $nvidia/vulkan/icd.d/nvidia_icd.json ]; then
    export VK_DRIVER_FILES=$nvidia/vulkan/icd.d/nvidia_icd.json
    export __EGL_VENDOR_LIBRARY_FILENAMES=$nvidia/glvnd/egl_vendor.d/10_nvidia.json
fi
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp}

{
    nvidia-smi 2>/dev/null || echo 'no nvidia-smi'
    printf '%s cores, Linux %s\ncarried libraries in use: %s\n' "$(nproc)" "$(uname -r)" "$(ls "$libraries" | tr '\n' ' ')"
    printf 'VK_DRIVER_FILES=%s VK_ICD_FILENAMES=%s\n' "${VK_DRIVER_FILES:-}" "${VK_ICD_FILENAMES:-}"
    ls "${icds[@]}" 2>/dev/null
    printf 'Node %s\n' "$(bin/node --version)"
} >"$out/machine.txt" 2>&1
cat "$out/machine.txt"

# What each part came to, for the end.
parts=()
failed=0
# Runs a part of a name in at most so many seconds, and leaves what it says in a file.
part() {
    local name=$1 seconds=$2 log=$3 begin=$SECONDS status
    shift 3
    printf '\n== %s\n' "$name"
    timeout --kill-after=5 "$seconds" "$@" 2>&1 | tee "$out/$log"
    status=${PIPESTATUS[0]}
    local took=$((SECONDS - begin))
    case $status in
        0) parts+=("ok      $name; $took s") ;;
        124 | 137) parts+=("FAILED  $name: stopped after $took s") ;;
        *) parts+=("FAILED  $name: exit status $status; $took s") ;;
    esac
    [ "$status" = 0 ] || failed=1
}

read -ra models <<<"${NATIVE_MODELS-digits sprites cifar10 256}"
if [ ${#models[@]} -gt 0 ]; then
    part 'native checks' "${CHECKS_SECONDS:-120}" checks.txt \
        bin/node bench/pack/checks.mjs "$out" "${CHECK_SECONDS:-40}" "${models[@]}"
else
    parts+=('left out: native checks')
fi

# What a benchmark of all models needs to fit; options that are given come later and count instead.
part benchmark "${BENCH_SECONDS:-180}" bench.log \
    bin/node bench/pack/run.mjs "$out" --seconds 0.4 --budget 25 --limit "${BENCH_LIMIT:-120}" "$@"

if [ "${TEST_SECONDS:-60}" != 0 ]; then
    part 'tests of the ops' "${TEST_SECONDS:-60}" tests.log env DENOISE_REPOSITORY="$PWD" bin/tests ops::
else
    parts+=('left out: tests of the ops')
fi

printf '\n== results\n\n'
if [ -e "$out/results.json" ]; then
    bin/node bench/pack/table.mjs "$out" || failed=1
else
    echo 'The benchmark left no table.'
fi
[ ! -e "$out/checks.txt" ] || cat "$out/checks.txt"
printf '%s\n' "${parts[@]}"
exit $failed
