// Products by broadcasts. A workgroup is one subgroup: its lanes lie side by side over the columns of the tile and need the
// same blocks of A (or over the rows, and the same blocks of B). Each lane reads one of those, and all get it from there;
// of the other operand each reads a block of its own. For devices whose memory is slow where lanes go different ways.
//
// Prelude: that of matmul.wgsl; LANES, those of a subgroup; add_products_of_all_lanes(sums, block, own, k, part), which
// calls the two functions below lane by lane: whose block is broadcast must be a constant expression, so no loop can say it.

// Lanes lie over the columns. Then their own blocks are a single one of B, else of A.
const SHARES_A = LANES_DOWN == 1u;
const SHARED_BLOCKS = select(COLUMN_BLOCKS, ROW_BLOCKS, SHARES_A);
// Of the shared blocks there are as many as lanes: so many across, and the rest along the sums.
const DEPTH = LANES / SHARED_BLOCKS * 4u;

fn products(part: Part, lane: u32) -> Sums {
    let x = lane % LANES_ACROSS;
    let y = lane / LANES_ACROSS;
    var sums: Sums;
    let across = lane % SHARED_BLOCKS * 4u;
    let deep = lane / SHARED_BLOCKS * 4u;
    var for_all: Four;
    var own: Four;
    if (SHARES_A) {
        for_all = a_rows(part.first_row + across, part.group);
        own = b_columns(part.first_column + x * 4u, part.group);
    } else {
        for_all = b_columns(part.first_column + across, part.group);
        own = a_rows(part.first_row + y * 4u, part.group);
    }
    for (var k = part.begin; k < part.end; k += DEPTH) {
        var block: mat4x4<f32>;
        if (SHARES_A) {
            block = a_block(for_all, a_columns(k + deep, part.group, part.end));
        } else {
            block = b_block(b_rows(k + deep, part.group, part.end), for_all);
        }
        add_products_of_all_lanes(&sums, block, own, k, part);
    }
    return sums;
}

// The lane's own block at term k of the sums.
fn own_block(own: Four, k: u32, part: Part) -> mat4x4<f32> {
    if (SHARES_A) {
        return b_block(b_rows(k, part.group, part.end), own);
    }
    return a_block(own, a_columns(k, part.group, part.end));
}

// Adds the product of the lane's own block and that of `lane`.
fn add_product(sums: ptr<function, Sums>, own: mat4x4<f32>, lane: u32, block: mat4x4<f32>) {
    if (SHARES_A) {
        (*sums)[lane % SHARED_BLOCKS] += own * block;
    } else {
        (*sums)[lane % SHARED_BLOCKS] += block * own;
    }
}
