#!/bin/sh
# Builds the eBPF object and the static runner. Needs rustc 1.95.0, rust-src and bpf-linker 0.13.0.
set -eu
cd "$(dirname "$0")"
us=$(printf '\037') # separates the flags
# v3: LLVM has no fetching atomics below it.
flags="--cfg=bpf_target_arch=\"x86_64\"${us}-Cdebuginfo=2${us}-Ctarget-cpu=v3${us}-Clink-arg=--btf"
(cd ebpf && RUSTC_BOOTSTRAP=1 CARGO_ENCODED_RUSTFLAGS="$flags" \
  cargo build --release -Z build-std=core --target bpfel-unknown-none)
cd runner
TRANSPORT_OBJECT=$PWD/../ebpf/target/bpfel-unknown-none/release/transport RUSTFLAGS="-C target-feature=+crt-static" \
  cargo build --release --target x86_64-unknown-linux-gnu
