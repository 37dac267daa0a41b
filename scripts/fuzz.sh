#!/usr/bin/env bash
# Fuzzes every reader of files, or those named, for so many seconds each, beginning with small sound files. Needs
# a C++ compiler for libFuzzer, which the crate libfuzzer-sys brings. What fails is kept in fuzz/artifacts.
#
#   scripts/fuzz.sh [SECONDS] [TARGET...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-600}
shift || true
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(basename -s .rs fuzz/fuzz_targets/*.rs)

# What `cargo fuzz` passes, without a sanitizer: that needs a nightly compiler, and the readers have no unsafe code.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --quiet --manifest-path fuzz/Cargo.toml --target "$host"
unset RUSTFLAGS
cargo build --release --quiet

programs=fuzz/target/$host/release
corpus=fuzz/corpus
rm -rf "$corpus/run"
target/release/neuropil train --quiet --device cpu --epochs 2 --model mlp --schedule plateau --run "$corpus/run" >/dev/null
mkdir -p "$corpus"/{checkpoint,config,model_file,safetensors,weights}
cp "$corpus/run/config.toml" "$corpus/config"
cp "$corpus"/run/checkpoints/* "$corpus/checkpoint"
cp "$corpus/run/model.safetensors" "$corpus/model_file"
cp "$corpus/run/model.safetensors" "$corpus/safetensors"
cp "$corpus/run/model.safetensors" tests/pytorch/models/mobilenet.pt "$corpus/weights"
target/release/neuropil weights export "$corpus/run/model.safetensors" --save "$corpus/weights/mlp.npz" >/dev/null
printf '[[layer]]\nkind = "flatten"\n[[layer]]\nkind = "linear"\nfeatures = "classes"\n' >"$corpus/tiny.toml"
target/release/neuropil train --quiet --device cpu --epochs 1 --model "$corpus/tiny.toml" \
    --save "$corpus/model_file/described.safetensors" >/dev/null
cargo run --quiet --manifest-path fuzz/seeds/Cargo.toml --target-dir fuzz/target -- "$corpus"

failed=()
for target in "${targets[@]}"; do
    mkdir -p "$corpus/$target" "fuzz/artifacts/$target"
    echo "== $target"
    log=fuzz/artifacts/$target.log
    "$programs/$target" -max_total_time="$seconds" -rss_limit_mb=4096 -timeout=60 -print_final_stats=1 -max_len=400000 \
        -artifact_prefix="fuzz/artifacts/$target/" "$corpus/$target" >"$log" 2>&1 || failed+=("$target")
    grep -E 'panicked|ERROR|executed_units|exec_per_sec|peak_rss' "$log" || tail -n 5 "$log"
done
if ((${#failed[@]})); then
    echo "fuzz.sh: failures in ${failed[*]}; what fails is in fuzz/artifacts" >&2
    exit 1
fi
