#!/usr/bin/env bash
# Breaks the shaders on purpose, one mistake at a time, and expects the tests of the operations to fail and to name the
# operation. It shows that a green tests/ops.rs means something; it is slow, and no part of what a change must pass.
#
# The mistakes are made in a copy of the tree and built in target/mutate, never in target/: Cargo could not tell the copy's
# library from the real one. The first run builds all dependencies there.
# With arguments, only mistakes in families of these names: scripts/mutate.sh reduce pool
#
# Lavapipe runs a workgroup by vectors of a few invocations, each up to its next barrier before the next vector starts: a
# barrier that is missing is noticed wherever the vectors of a workgroup share memory, as in every mutant below.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# family | file below shaders/ | edit for sed | what is wrong
mutants=(
    "cross_entropy|cross_entropy.wgsl|s/softmax - expected/softmax + expected/|a sign"
    "cross_entropy|cross_entropy.wgsl|/^fn row_sum/,/^}/{0,/workgroupBarrier();/s/workgroupBarrier();//}|a missing barrier"
    "reduce|reduce.wgsl|0,/workgroupBarrier();/s/workgroupBarrier();//|a missing barrier"
    "reduce|reduce.wgsl|s/lanes\[lane + half \* LANES_X\]/lanes[lane + half]/|an index"
    "reduce|lib/accumulate_max.wgsl|s/b\.index < a\.index/b.index > a.index/|the last of equals"
    "reduce|lib/accumulate_moments.wgsl|s/deviation \* deviation \* a\.count \* share/deviation * a.count * share/|a factor"
    "movement|elementwise.wgsl|s/i < params\.extents\.x/i <= params.extents.x/|a wrong bound"
    "pool|lib/pool_max.wgsl|s/value > best/value >= best/|the last of equals"
    "pool|lib/window.wgsl|s/q >= POSITIONS_Q/q > POSITIONS_Q/|a wrong bound"
    "dropout|lib/philox.wgsl|s/round < 10u/round < 9u/|a round less"
    "elementwise|lib/math.wgsl|s/0\.33333334 - s/0.3333 - s/|a constant"
    "matmul|matmul.wgsl|s/+= b\[j\] \* a;/+= a * b[j];/|swapped operands"
    "matmul|matmul.wgsl|0,/^            workgroupBarrier();/s/^            workgroupBarrier();//|a missing barrier"
    "matmul|matmul.wgsl|s/DEPTH; depth++/DEPTH - 1u; depth++/|a term less"
    "conv2d|lib/operand_patches.wgsl|s/rs % KERNEL_W/rs % KERNEL_H/|an index"
    "gather|gather.wgsl|s/named < extent/named <= extent/|a wrong bound"
    "scatter_add|scatter_add.wgsl|s/k < length/k + 1u < length/|a term less"
    "sort|sort.wgsl|s/place < position/place > position/|equal elements reversed"
    "cumsum|cumsum.wgsl|s/extent - 1u - step/extent - step/|an index"
    "resample|resample.wgsl|s/first + 2u/first + 1u/|a tap less"
    "adaptive_max_pool|lib/covered.wgsl|s/+ positions - 1u/+ positions - 2u/|a wrong bound"
)

root=$PWD
export CARGO_TARGET_DIR=$root/target/mutate
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r Cargo.toml Cargo.lock src shaders tests "$copy"
[[ ! -d benches ]] || cp -r benches "$copy"
[[ ! -d examples ]] || cp -r examples "$copy"
cd "$copy"

survived=0
for mutant in "${mutants[@]}"; do
    IFS='|' read -r family file edit what <<<"$mutant"
    if (($# > 0)) && [[ " $* " != *" $family "* ]]; then
        continue
    fi
    sed -i "$edit" "shaders/$file"
    if cmp -s "shaders/$file" "$root/shaders/$file"; then
        echo "mutate.sh: $file: the edit for \"$what\" finds nothing, bring it up to date" >&2
        exit 1
    fi
    log=$(NEUROPIL_TEST_FAMILY=$family cargo test --locked --test ops on_the_gpu -- --skip checked 2>&1) && passed=1 || passed=0
    named=$(grep -E "^$family / " <<<"$log" || true)
    if ((passed == 0)) && [[ -n $named ]]; then
        printf 'noticed   %-30s %-18s %3s cases, as in %s\n' "$file" "$what" "$(wc -l <<<"$named")" "$(head -n 1 <<<"$named")"
    else
        survived=1
        printf 'UNNOTICED %-30s %s\n%s\n' "$file" "$what" "$(tail -n 5 <<<"$log")"
    fi
    cp "$root/shaders/$file" "shaders/$file"
done
exit "$survived"
