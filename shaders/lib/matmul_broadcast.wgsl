// Products by broadcasts within a subgroup, which is the workgroup: its lanes lie side by side over the columns of a tile, or
// over the rows, and need the same blocks of the other operand. Each lane reads one of those, and all get it.
//
// Prelude: that of matmul.wgsl; LANES, those of a subgroup; of_all_lanes(block), the blocks of all.

// The shared operand is A where lanes lie side by side over the columns.
const SHARES_A = LANES_DOWN == 1u;
const SHARED_BLOCKS = select(COLUMN_BLOCKS, ROW_BLOCKS, SHARES_A);
const OWN_BLOCKS = select(ROW_BLOCKS, COLUMN_BLOCKS, SHARES_A);
const DEPTH_BLOCKS = LANES / SHARED_BLOCKS;

alias OwnIndices = array<Four, OWN_BLOCKS>;
alias Own = array<mat4x4<f32>, OWN_BLOCKS>;

fn products(part: Part) -> Sums {
    var sums: Sums;
    var indices: OwnIndices;
    for (var i = 0u; i < OWN_BLOCKS; i++) {
        if (SHARES_A) {
            indices[i] = b_columns(part.first_column + (part.x + i * LANES_ACROSS) * 4u, part.group);
        } else {
            indices[i] = a_rows(part.first_row + (part.y + i * LANES_DOWN) * 4u, part.group);
        }
    }
    // The block that this lane reads for all.
    let across = part.lane % SHARED_BLOCKS * 4u;
    let deep = part.lane / SHARED_BLOCKS * 4u;
    var shared_indices: Four;
    if (SHARES_A) {
        shared_indices = a_rows(part.first_row + across, part.group);
    } else {
        shared_indices = b_columns(part.first_column + across, part.group);
    }
    for (var k = part.begin; k < part.end; k += DEPTH_BLOCKS * 4u) {
        var block: mat4x4<f32>;
        if (SHARES_A) {
            block = a_block(shared_indices, a_columns(k + deep, part.group, part.end));
        } else {
            block = b_block(b_rows(k + deep, part.group, part.end), shared_indices);
        }
        add_blocks_of_all_lanes(&sums, block, indices, k, part.group, part.end);
    }
    return sums;
}

// The lane's own blocks at term k of the sums.
fn own_blocks(indices: OwnIndices, k: u32, group: u32, end: u32) -> Own {
    var own: Own;
    if (SHARES_A) {
        let depth = b_rows(k, group, end);
        for (var i = 0u; i < OWN_BLOCKS; i++) {
            own[i] = b_block(depth, indices[i]);
        }
    } else {
        let depth = a_columns(k, group, end);
        for (var i = 0u; i < OWN_BLOCKS; i++) {
            own[i] = a_block(indices[i], depth);
        }
    }
    return own;
}

// Adds the products of the lane's own blocks with block `at` of the shared operand.
fn add_products(sums: ptr<function, Sums>, own: Own, at: u32, block: mat4x4<f32>) {
    for (var i = 0u; i < OWN_BLOCKS; i++) {
        if (SHARES_A) {
            (*sums)[at * COLUMN_BLOCKS + i] += own[i] * block;
        } else {
            (*sums)[i * COLUMN_BLOCKS + at] += block * own[i];
        }
    }
}
