#!/usr/bin/env bash
# Runs `neuropil check` on lavapipe of Debian unstable, a newer one than most machines have: it has matrix units (8×8 of f16), so
# that the kernels which need them run without a GPU. Arguments go to `neuropil check`.
#
# The first time it makes a small Debian in target/mesa (half a gigabyte; with debootstrap, as root).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

root=target/mesa
for need in debootstrap chroot; do
    if ! command -v "$need" >/dev/null; then
        echo "mesa-check.sh: there is no $need; on Debian, install it with: apt-get install debootstrap" >&2
        exit 1
    fi
done
if ((EUID != 0)); then
    echo "mesa-check.sh: only root can change the root folder; run it with sudo" >&2
    exit 1
fi
cargo build --locked --release
if [[ ! -f $root/complete ]]; then
    rm -rf "$root"
    debootstrap --variant=minbase --include=mesa-vulkan-drivers sid "$root"
    touch "$root/complete"
fi
install target/release/neuropil "$root/usr/local/bin/neuropil"
mkdir -p "$root/run/user"
exec chroot "$root" env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/root XDG_RUNTIME_DIR=/run/user neuropil check --device software "$@"
