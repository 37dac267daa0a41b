#!/usr/bin/env bash
# Runs `neuropil check` on SwiftShader, the software Vulkan driver of Chromium: a second opinion beside Mesa's lavapipe.
# Arguments go to `neuropil check`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

driver=/usr/lib/chromium/vk_swiftshader_icd.json
if [[ ! -f $driver ]]; then
    echo "swiftshader-check.sh: there is no $driver; on Debian, install it with: apt-get install chromium" >&2
    exit 1
fi
VK_DRIVER_FILES=$driver cargo run --locked --release -- check --device software "$@"
