#!/usr/bin/env bash
# Sets Neuropil's speed against that of other frameworks, on the shapes of benches/suite.json, program after program and
# round after round, so that all share what else the machine does.
#
#   scripts/bench-peers.sh cpu [ROUNDS] [quick|full]        the CPU device, PyTorch, and burn's `flex`
#   scripts/bench-peers.sh software [ROUNDS] [quick|full]   software Vulkan, and burn's `wgpu`
#
# PyTorch is used where $PYTHON (python3) imports torch. burn is used where it is built (half an hour on two cores):
#   cargo build --release --manifest-path benches/peers/burn/Cargo.toml
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

device=${1:-cpu}
rounds=${2:-3}
suite=${3:-quick}
python=${PYTHON:-python3}
burn=benches/peers/burn/target/release/peer-burn

cargo build --release --quiet
programs=("Neuropil" "target/release/neuropil bench --device $device --suite $suite --tune quick")
case $device in
    cpu)
        programs[1]="target/release/neuropil bench --device cpu --suite $suite"
        if "$python" -c 'import torch' 2>/dev/null; then
            programs+=("PyTorch" "$python benches/peers/pytorch.py cpu $suite")
        else
            echo "bench-peers.sh: $python has no torch; PyTorch is left out" >&2
        fi
        backend=flex
        ;;
    software) backend=wgpu ;;
    *)
        echo "bench-peers.sh: no device $device; give cpu or software" >&2
        exit 2
        ;;
esac
if [[ -x $burn ]]; then
    programs+=("burn $backend" "$burn $backend $suite")
else
    echo "bench-peers.sh: $burn is not built; burn is left out" >&2
fi
exec "$python" benches/peers/compare.py "$rounds" "${programs[@]}"
