#!/usr/bin/env bash
# Measures this machine's GPU unattended: is every kernel right, how fast are they, how fast are training steps; PyTorch on
# the same GPU follows where it is installed. Takes a binary that is built already (the first argument, else
# target/release/neuropil), and writes everything to a folder (the second, else bench-gpu). Each part has a limit, eight
# minutes in all; one that fails or runs out of time does not keep the others from running, and is said at the end.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=${1:-target/release/neuropil}
folder=${2:-bench-gpu}
[[ -x $binary ]] || { echo "bench-gpu.sh: there is no $binary; build it with: cargo build --release" >&2; exit 1; }
mkdir -p "$folder"

failed=()
# part NAME SECONDS COMMAND...: its output goes to the screen and to a file.
part() {
    local name=$1 seconds=$2
    shift 2
    echo "== $name"
    timeout "$seconds" "$@" 2>&1 | tee "$folder/$name.txt" || failed+=("$name")
}

part info 20 "$binary" info --device gpu
part check 220 "$binary" check --full --device gpu --report "$folder/check.html"
part bench 150 "$binary" bench --device gpu --suite full --tune full --tunings "$folder/tunings.json" --trace "$folder/trace.json"
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    part pytorch 90 python3 benches/peers/pytorch.py cuda full
else
    echo "== PyTorch with CUDA is not installed: no comparison"
fi
if ((${#failed[@]})); then
    echo "bench-gpu.sh: failed or out of time: ${failed[*]}" >&2
    exit 1
fi
