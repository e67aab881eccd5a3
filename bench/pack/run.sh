#!/usr/bin/env bash
# Checks what Denoise computes on this machine's GPU, and times it against ONNX Runtime, in Dawn (Chrome's WebGPU) instead of
# a browser:
#
#   bash run.sh OUT [options of the benchmark, as `--model digits --count 1`]
#
# Needs an x86-64 Linux with bash, glibc 2.35 and a GPU with its Vulkan driver, 2 GB of disk for what it makes beside this
# file, and no network. (Where libstdc++ is missing, the one that is carried may need a newer glibc.)
#
# OUT gets machine.txt, in which the GPU's clocks are noted every half second, checks.txt and checks.log, results.md,
# results.json and bench.log, tests.log. What each part came to, a line for each check, and the table are printed last, in at
# most 12,000 characters. The exit status is 1 if anything failed; whatever fails, the rest is run.
#
# All parts together take at most TOTAL_SECONDS, and what one leaves of its share the next one has: the native checks may take
# until 30 % of that, the benchmark until 80 %, the tests of the ops until the end.
#
# From the environment:
#   TOTAL_SECONDS   the most that all parts may take together                   [235]
#   NATIVE_MODELS   models that the native engine is checked with; '' for none  [digits sprites cifar10 256]
#   CHECK_SECONDS   the most that one command of such a check may take          [40]
#   TESTS           the tests of the ops, by the beginning of their names; '' for none  [ops::]
#   SOFTWARE        1 to allow a Vulkan driver in software, which is a failure otherwise
#   VK_DRIVER_FILES, VK_ICD_FILENAMES   Vulkan's driver, if it is to be another than is found
#
# Where a file must not be larger than so many bytes, the pack travels in parts:
#
#   split --bytes=27000000 PACK.tar.xz PACK.tar.xz.     and there:     cat PACK.tar.xz.?? | tar -xJ
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
clocks=''
# shellcheck disable=SC2086  # No clocks, no word.
trap 'kill $clocks 2>/dev/null; rm -rf "$libraries"' EXIT
known=$(ldconfig -p)
for library in lib/*; do
    grep -qF "${library#lib/} " <<<"$known" || ln -s "$PWD/$library" "$libraries/"
done
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

# Containers may have NVIDIA's driver where the loader does not look, beside others that it finds.
nvidia=/usr/local/nvidia/share
icds=(/usr/share/vulkan/icd.d/*.json /usr/local/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json)
case " ${icds[*]} " in
    */nvidia*.json*) ;;
    *)
        if [ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && [ -e $nvidia/vulkan/icd.d/nvidia_icd.json ]; then
            export VK_DRIVER_FILES=$nvidia/vulkan/icd.d/nvidia_icd.json
            export __EGL_VENDOR_LIBRARY_FILENAMES=$nvidia/glvnd/egl_vendor.d/10_nvidia.json
        fi
        ;;
esac
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp}
# NVIDIA's driver keeps shaders that it has compiled: here, where writing is allowed.
export __GL_SHADER_DISK_CACHE_PATH=$out/cache
mkdir -p "$__GL_SHADER_DISK_CACHE_PATH"

{
    nvidia-smi 2>/dev/null || echo 'no nvidia-smi'
    printf '%s cores, Linux %s\ncarried libraries in use: %s\n' "$(nproc)" "$(uname -r)" "$(ls "$libraries" | tr '\n' ' ')"
    printf 'VK_DRIVER_FILES=%s VK_ICD_FILENAMES=%s\n' "${VK_DRIVER_FILES:-}" "${VK_ICD_FILENAMES:-}"
    ls "${icds[@]}" 2>/dev/null
    printf 'Node %s\n' "$(bin/node --version)"
} >"$out/machine.txt" 2>&1
cat "$out/machine.txt"
if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu,utilization.gpu --format=csv -lms 500 \
        >>"$out/machine.txt" 2>&1 &
    clocks=$!
fi

total=${TOTAL_SECONDS:-235}
# Seconds from now until so many percent of all have passed, at least one.
left() {
    local seconds=$((total * $1 / 100 - SECONDS))
    echo $((seconds > 1 ? seconds : 1))
}

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

# The checks and the benchmark begin nothing more when three quarters of their time have passed.
read -ra models <<<"${NATIVE_MODELS-digits sprites cifar10 256}"
if [ ${#models[@]} -gt 0 ]; then
    seconds=$(left 30)
    part 'native checks' "$seconds" checks.txt \
        bin/node bench/pack/checks.mjs "$out" "${CHECK_SECONDS:-40}" $((seconds * 3 / 4 + 1)) "${models[@]}"
else
    parts+=('left out: native checks')
fi

# What a benchmark of all models needs to fit; options that are given come later and count instead.
seconds=$(left 80)
part benchmark "$seconds" bench.log \
    bin/node bench/pack/run.mjs "$out" --seconds 0.4 --budget 25 --limit $((seconds * 3 / 4 + 1)) "$@"

if [ -n "${TESTS-ops::}" ]; then
    part 'tests of the ops' "$(left 100)" tests.log env DENOISE_REPOSITORY="$PWD" bin/tests "${TESTS-ops::}"
else
    parts+=('left out: tests of the ops')
fi

printf '\n== results\n\n'
summary=$(
    printf '%s\n' "${parts[@]}"
    [ ! -e "$out/checks.txt" ] || cut -c -300 "$out/checks.txt" | head -n 40
)
printf '%s\n\n' "${summary:0:7000}"
if [ -e "$out/results.json" ]; then
    bin/node bench/pack/table.mjs "$out" $((11900 - (${#summary} < 7000 ? ${#summary} : 7000))) || failed=1
else
    echo 'The benchmark left no table.'
fi
exit $failed
