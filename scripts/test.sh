#!/usr/bin/env bash
# Runs every test: library, binary, integration tests and the examples in the documentation; examples are built.
# Arguments go to `cargo test`, as in `scripts/test.sh conv2d` or `scripts/test.sh --release`.
#
# The tests run the shaders on a Vulkan driver. Where there is none, a software one (Mesa's lavapipe) is installed first
# with the system's package manager. With NEUROPIL_TEST_DEVICE=cpu the tests that need one are skipped, and none is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
    printf '%s\n' "test.sh: $1" "${@:2}" >&2
    exit 1
}

require_toolchain() {
    command -v cargo >/dev/null || die "cargo is not installed; get Rust 1.89 or newer from https://rustup.rs"
    case "$(uname -s)" in
        MINGW* | MSYS* | CYGWIN*) return ;; # Rust for Windows finds its linker by itself.
    esac
    command -v cc >/dev/null || die "there is no C compiler, which Rust needs for linking; install one:" \
        "  Debian, Ubuntu: apt-get install gcc libc6-dev" "  Fedora: dnf install gcc" \
        "  Arch: pacman -S gcc" "  macOS: xcode-select --install"
}

has_vulkan() {
    [[ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]] && return
    compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null || compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null || return
    # Not `grep -q`: it would end before ldconfig does, and pipefail would take that for a failure.
    PATH="$PATH:/sbin:/usr/sbin" ldconfig -p | grep -F libvulkan.so.1 >/dev/null
}

as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "a Vulkan driver must be installed, but this is not root and there is no sudo; run as root: $*"
    fi
}

install_software_driver() {
    echo "== No Vulkan driver or loader: installing Mesa's software driver"
    if command -v apt-get >/dev/null; then
        as_root apt-get update
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
            mesa-vulkan-drivers libvulkan1
    elif command -v dnf >/dev/null; then
        as_root dnf install -y mesa-vulkan-drivers vulkan-loader
    elif command -v pacman >/dev/null; then
        as_root pacman -Sy --noconfirm --needed vulkan-swrast vulkan-icd-loader
    else
        die "there is no Vulkan driver, and none of apt-get, dnf and pacman to install one with;" \
            "install Mesa's lavapipe and the Vulkan loader (where they are installed out of the way, name the driver in" \
            "VK_DRIVER_FILES), or set NEUROPIL_TEST_DEVICE=cpu to test without shaders"
    fi
}

require_toolchain
if [[ "$(uname -s)" == Linux && "${NEUROPIL_TEST_DEVICE:-}" != cpu ]]; then
    has_vulkan || install_software_driver
fi

echo "== cargo test"
cargo test --locked "$@"
