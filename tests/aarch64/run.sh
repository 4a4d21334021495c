#!/usr/bin/env bash
# aarch64 on an x86-64 Debian: cross-build, then run under qemu-user as three CPU models.
#   tests/aarch64/run.sh           all of it, about three minutes; the first time some 80 MB of downloads
#   tests/aarch64/run.sh c         the C library and its tests
#   tests/aarch64/run.sh python    the extension: programs replayed against x86, and the tests of the kernels
#   tests/aarch64/run.sh hashes    write hashes.json from this x86 machine
# Needs an edgeq that is built for this machine (pip install -e .); PYTHON names its interpreter.
# qemu checks instructions and bytes. Its times say nothing about speed.
set -euo pipefail
cd "$(dirname "$0")/../.."
what=${1:-all}
[[ $what =~ ^(all|c|python|hashes)$ ]] || { echo "usage: $0 [all|c|python|hashes]" >&2; exit 2; }
python=${PYTHON:-python3}
if [[ -z ${PYTHON:-} && -x .venv/bin/python ]]; then python=$PWD/.venv/bin/python; fi
PATH="$(dirname "$(command -v "$python")"):$PATH" # cmake, cython and pip of the virtual environment
build=$PWD/build/aarch64
root=$build/root # Debian's Python for arm64, unpacked and never configured: nothing of it runs at build time
cc=aarch64-linux-gnu-gcc

# CPU model and the kernel sets it must have beside scalar
models=(cortex-a72:neon cortex-a76:neon,dotprod max:neon,dotprod,i8mm)

say() { printf '\n==> %s (%d s)\n' "$*" "$SECONDS"; }
bad() { printf 'edgeq: %s\n' "$*" >&2; exit 1; }

tools() {
  local missing=() pair
  for pair in cmake:cmake "$cc:gcc-aarch64-linux-gnu" qemu-aarch64-static:qemu-user-static mmdebstrap:mmdebstrap; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
  done
  [[ -e /usr/aarch64-linux-gnu/include/stdio.h ]] || missing+=(libc6-dev-arm64-cross)
  ((${#missing[@]})) || return 0
  [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null ||
    bad "${missing[*]} must be installed, is not. Run: sudo apt install ${missing[*]}"
  say "apt-get install ${missing[*]}"
  { apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } ||
    bad "${missing[*]} must be installed, apt-get could not. Give this machine the packages, or a Debian mirror."
}

library() {
  say "C library and tests for aarch64"
  cmake -S edge_runtime -B "$build/c" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
    -DCMAKE_C_COMPILER="$cc" -DCMAKE_EXE_LINKER_FLAGS=-static \
    -DCMAKE_CROSSCOMPILING_EMULATOR="$(command -v qemu-aarch64-static)" >"$build/c.log" 2>&1 &&
    cmake --build "$build/c" --parallel 2 >>"$build/c.log" 2>&1 || { tail -n 40 "$build/c.log"; exit 1; }
}

c_tests() {
  for model in "${models[@]}"; do
    say "C tests as ${model%%:*}"
    QEMU_CPU=${model%%:*} ctest --test-dir "$build/c" --output-on-failure --no-tests=error
    local sets
    sets=$(QEMU_CPU=${model%%:*} qemu-aarch64-static "$build/c/test_kernels" | sed 's/:.*//' | paste -sd,)
    [[ $sets == "scalar,${model#*:}" ]] || bad "${model%%:*} must test scalar,${model#*:}, tested $sets"
  done
}

guards() {
  say "Programs against unreadable pages"
  rm -rf "$build/guarded"
  "$python" -m tests.runtime.guarded "$build/guarded"
  for model in "${models[@]}"; do
    echo "${model%%:*}:"
    for last in "$build"/guarded/*; do
      QEMU_CPU=${model%%:*} qemu-aarch64-static "$build/c/guarded_programs" "$last"/*.edgeq
    done
  done
}

debian() {
  local packages=python3.11-minimal,libpython3.11-stdlib,libpython3.11-dev,libc6,libstdc++6,libgcc-s1
  packages+=,zlib1g,libffi8,libexpat1,libssl3,libbz2-1.0,liblzma5,libsqlite3-0,libuuid1
  local wheels="numpy pytest hypothesis"
  [[ $(cat "$root/complete" 2>/dev/null) == "$packages $wheels" ]] && return
  say "Debian's Python for arm64, and $wheels"
  rm -rf "$root"
  mmdebstrap --quiet --variant=extract --arch=arm64 --aptopt='APT::Install-Recommends "false"' \
    --include="$packages" bookworm "$root" >"$build/root.log" 2>&1 ||
    { tail "$build/root.log" >&2; bad "Debian's arm64 Python could not be fetched (above). It needs a Debian mirror."; }
  # shellcheck disable=SC2086
  "$python" -m pip --disable-pip-version-check -q install --no-compile --target "$root/wheels" \
    --platform manylinux2014_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 \
    --python-version 3.11 --implementation cp --only-binary=:all: $wheels ||
    bad "wheels of $wheels for aarch64 could not be fetched. They need a package index."
  echo "$packages $wheels" >"$root/complete"
}

extension() {
  say "Python extension for aarch64"
  local site=$root/site include=$root/usr/include
  rm -rf "$site"
  mkdir -p "$site"
  tar -C sdk -ch --exclude='*.so' --exclude=csrc --exclude=__pycache__ edgeq | tar -C "$site" -x
  "$python" -m cython -3 edge_runtime/_engine.pyx -o "$build/_engine.c"
  "$cc" -O1 -fPIC -shared -w -I"$include/python3.11" -idirafter "$include" -Iedge_runtime/csrc "$build/_engine.c" \
    "$build/c/libedgeq.a" -lpthread -lm -o "$site/edgeq/runtime/_engine.cpython-311-aarch64-linux-gnu.so"
}

emulated() { # as CPU model $1, Python with the arguments
  QEMU_CPU=$1 PYTHONPATH=$root/site:$root/wheels PYTHONDONTWRITEBYTECODE=1 \
    qemu-aarch64-static -L "$root" "$root/usr/bin/python3.11" "${@:2}"
}

dump() {
  say "Programs and their outputs on x86"
  "$python" -c 'import edgeq' || bad "edgeq must be built for this machine. Run: pip install -e ."
  "$python" -m tests.aarch64.replay dump "$build/dump"
}

python_tests() {
  for model in "${models[@]}"; do
    say "the same programs as ${model%%:*}"
    emulated "${model%%:*}" -m tests.aarch64.replay run "$build/dump" "${model#*:}"
  done
  say "fall-back as cortex-a72"
  EDGEQ_ISA=i8mm emulated cortex-a72 -c 'from edgeq.runtime import isa_name, isa_reason; print(isa_reason())
assert isa_name() == "neon" and "EDGEQ_ISA=i8mm is not supported by this CPU" in isa_reason()'
  say "tests of the kernels as max"
  emulated max -m pytest -q -p no:cacheprovider tests/runtime/test_conv.py tests/runtime/test_ops.py
}

mkdir -p "$build"
if [[ $what == hashes ]]; then
  dump
  "$python" -m tests.aarch64.replay hashes "$build/dump"
  exit
fi
tools
library
if [[ $what != python ]]; then c_tests; fi
if [[ $what != c ]]; then
  debian
  extension
  dump
  guards
  python_tests
fi
say "aarch64 holds"
