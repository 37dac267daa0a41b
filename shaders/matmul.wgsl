// C[g][m][n] = sum over k of A[g][m][k] * B[g][k][n]: matrix products, convolutions and their gradients.
//
// One skeleton for all. How an element of A or B is found in memory is the prelude's business (shaders/lib/operand_*.wgsl);
// so is what happens to an element of C (`store`, which may apply an epilogue). Work is done in 4x4 blocks, [row][k] of A,
// [k][column] of B and [row][column] of C, whichever way the operand lies in memory: a block of C is the matrix product
// B * A of WGSL, whose columns are our first index. A workgroup computes a ROWS x COLUMNS tile; each
// invocation MICRO_ROWS x MICRO_COLUMNS of it, interleaved by fours so that neighbours read neighbouring vectors.
//
// How the blocks of A and B come to the invocations is the form of the kernel: `products` of shaders/lib/matmul_*.wgsl.
//
// The sum over k may be split among workgroups: each split stores its part at split * params.sizes.w, to be added in order.
//
// Finding an element takes divisions, so indices are decoded once and used for many elements: `a_rows(first, group)` decodes
// four rows, `a_columns` four columns, and `a_block` reads the 16 elements where they cross.
//
// A product may come in PHASES, parts with rows and sums of their own (shaders/lib/operand_covering.wgsl): M and K are then
// those of the largest phase.
//
// Prelude: that of shaders/lib/matmul_tile.wgsl; products(part, lane); PHASES, begin_phase(phase), which gives the end of its
// sums; Four = four decoded indices; a_rows(row, group), a_columns(k, group, end), a_block(rows, columns); b_rows(k, group,
// end), b_columns(column, group), b_block(rows, columns); store(i, value) at i = c_row(row, group) + c_column(column), unless
// c_row is NOWHERE; params.extents = (M, N, K, groups); params.sizes = (splits, k a split, -, elements of C).

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let m = params.extents.x;
    let n = params.extents.y;
    let tiles_across = (n + COLUMNS - 1u) / COLUMNS;
    let tiles_down = (m + ROWS - 1u) / ROWS;
    var flat = workgroup_index(id, count);
    let tile_column = flat % tiles_across;
    flat /= tiles_across;
    let phase = flat % PHASES;
    flat /= PHASES;
    let tile_row = flat % tiles_down;
    flat /= tiles_down;
    let group = flat % params.extents.w;
    let split = flat / params.extents.w;
    // Uniform over the workgroup: left over by the folding of workgroups into two dimensions.
    if (split >= params.sizes.x) {
        return;
    }
    let begin = split * params.sizes.y;
    let end = min(begin + params.sizes.y, begin_phase(phase));

    let part = Part(tile_row * ROWS, tile_column * COLUMNS, group, begin, end);
    let sums = products(part, lane);

    let x = lane % LANES_ACROSS;
    let y = lane / LANES_ACROSS;
    for (var i = 0u; i < ROW_BLOCKS; i++) {
        let row = part.first_row + (y + i * LANES_DOWN) * 4u;
        for (var j = 0u; j < COLUMN_BLOCKS; j++) {
            let column = part.first_column + (x + j * LANES_ACROSS) * 4u;
            let block = sums[i * COLUMN_BLOCKS + j];
            store_row(row, column, group, split, block[0]);
            store_row(row + 1u, column, group, split, block[1]);
            store_row(row + 2u, column, group, split, block[2]);
            store_row(row + 3u, column, group, split, block[3]);
        }
    }
}

fn store_row(row: u32, column: u32, group: u32, split: u32, values: vec4<f32>) {
    let start = c_row(row, group);
    if (start == NOWHERE) {
        return;
    }
    for (var c = 0u; c < 4u; c++) {
        if (column + c < params.extents.y) {
            store(split * params.sizes.w + start + c_column(column + c), values[c]);
        }
    }
}
