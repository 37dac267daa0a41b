#!/usr/bin/env bash
# Measures this machine's GPU unattended: is every kernel right, how fast are they, how fast are training steps. PyTorch on
# the same GPU follows where it is installed. Takes a binary that is built already (the first argument, else
# target/release/neuropil), and writes everything to a folder (the second, else bench-gpu).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=${1:-target/release/neuropil}
folder=${2:-bench-gpu}
[[ -x $binary ]] || { echo "bench-gpu.sh: there is no $binary; build it with: cargo build --release" >&2; exit 1; }
mkdir -p "$folder"

"$binary" info --device gpu | tee "$folder/info.txt"
# A wrong kernel is a finding like any other: go on, and say so at the end.
right=0
timeout 180 "$binary" check --device gpu --report "$folder/check.html" >"$folder/check.txt" || right=$?
tail -n 3 "$folder/check.txt"
timeout 200 "$binary" bench --device gpu --suite full --tune full --tunings "$folder/tunings.json" --json >"$folder/bench.json"
timeout 100 "$binary" bench --device gpu --suite full --tunings "$folder/tunings.json" | tee "$folder/bench.txt"

if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    python3 benches/peers/pytorch.py cuda | tee "$folder/pytorch.txt"
else
    echo "PyTorch with CUDA is not installed: no comparison"
fi
exit "$right"
