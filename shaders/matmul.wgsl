// C[g][m][n] = sum over k of A[g][m][k] * B[g][k][n]: matrix products, convolutions and their gradients.
//
// One skeleton for all. How an element of A or B is found in memory is the prelude's business (shaders/lib/operand_*.wgsl);
// so is what happens to an element of C (`store`, which may apply an epilogue). Work is done in 4x4 blocks, [k][row] of A
// and [k][column] of B, whichever way the operand lies in memory. A workgroup computes a ROWS x COLUMNS tile; each
// invocation MICRO_ROWS x MICRO_COLUMNS of it, interleaved by fours so that neighbours read neighbouring vectors.
//
// With STAGED, the workgroup brings DEPTH columns of A and rows of B into workgroup memory at a time. Without, every
// invocation reads its own blocks: for devices whose workgroup memory is as slow as their cache.
//
// The sum over k may be split among workgroups: each split stores its part at split * params.sizes.w, to be added in order.
//
// Prelude: ROWS, COLUMNS, DEPTH, MICRO_ROWS, MICRO_COLUMNS, STAGED; a_block(row, k, group, end), b_block(k, column, group,
// end); store(i, value); c_offset(row, column, group); params.extents = (M, N, K, groups); params.sizes = (splits, k a
// split, -, elements of C).

const LANES_ACROSS = COLUMNS / MICRO_COLUMNS;
const LANES_DOWN = ROWS / MICRO_ROWS;
const WORKGROUP = LANES_ACROSS * LANES_DOWN;
const ROW_BLOCKS = MICRO_ROWS / 4u;
const COLUMN_BLOCKS = MICRO_COLUMNS / 4u;
const STAGED_A = select(1u, DEPTH * ROWS / 4u, STAGED);
const STAGED_B = select(1u, DEPTH * COLUMNS / 4u, STAGED);

var<workgroup> tile_a: array<vec4<f32>, STAGED_A>;
var<workgroup> tile_b: array<vec4<f32>, STAGED_B>;

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
    let tile_row = flat % tiles_down;
    flat /= tiles_down;
    let group = flat % params.extents.w;
    let split = flat / params.extents.w;
    // Uniform over the workgroup: left over by the folding of workgroups into two dimensions.
    if (split >= params.sizes.x) {
        return;
    }
    let begin = split * params.sizes.y;
    let end = min(begin + params.sizes.y, params.extents.z);

    let x = lane % LANES_ACROSS;
    let y = lane / LANES_ACROSS;
    let first_row = tile_row * ROWS;
    let first_column = tile_column * COLUMNS;
    var sums: array<vec4<f32>, MICRO_ROWS * COLUMN_BLOCKS>;

    if (STAGED) {
        for (var k = begin; k < end; k += DEPTH) {
            for (var block = lane; block < ROWS / 4u * (DEPTH / 4u); block += WORKGROUP) {
                let depth = block % (DEPTH / 4u) * 4u;
                let row = block / (DEPTH / 4u);
                var values = a_block(first_row + row * 4u, k + depth, group, end);
                for (var i = 0u; i < 4u; i++) {
                    tile_a[(depth + i) * (ROWS / 4u) + row] = values[i];
                }
            }
            for (var block = lane; block < COLUMNS / 4u * (DEPTH / 4u); block += WORKGROUP) {
                let column = block % (COLUMNS / 4u);
                let depth = block / (COLUMNS / 4u) * 4u;
                var values = b_block(k + depth, first_column + column * 4u, group, end);
                for (var i = 0u; i < 4u; i++) {
                    tile_b[(depth + i) * (COLUMNS / 4u) + column] = values[i];
                }
            }
            workgroupBarrier();
            for (var depth = 0u; depth < DEPTH; depth++) {
                var a: array<vec4<f32>, ROW_BLOCKS>;
                for (var i = 0u; i < ROW_BLOCKS; i++) {
                    a[i] = tile_a[depth * (ROWS / 4u) + y + i * LANES_DOWN];
                }
                for (var j = 0u; j < COLUMN_BLOCKS; j++) {
                    let b = tile_b[depth * (COLUMNS / 4u) + x + j * LANES_ACROSS];
                    for (var i = 0u; i < ROW_BLOCKS; i++) {
                        for (var r = 0u; r < 4u; r++) {
                            let sum = (i * 4u + r) * COLUMN_BLOCKS + j;
                            sums[sum] = fma(vec4<f32>(a[i][r]), b, sums[sum]);
                        }
                    }
                }
            }
            workgroupBarrier();
        }
    } else {
        for (var k = begin; k < end; k += 4u) {
            var a: array<mat4x4<f32>, ROW_BLOCKS>;
            for (var i = 0u; i < ROW_BLOCKS; i++) {
                a[i] = a_block(first_row + (y + i * LANES_DOWN) * 4u, k, group, end);
            }
            for (var j = 0u; j < COLUMN_BLOCKS; j++) {
                var b = b_block(k, first_column + (x + j * LANES_ACROSS) * 4u, group, end);
                for (var i = 0u; i < ROW_BLOCKS; i++) {
                    for (var r = 0u; r < 4u; r++) {
                        let sum = (i * 4u + r) * COLUMN_BLOCKS + j;
                        for (var depth = 0u; depth < 4u; depth++) {
                            sums[sum] = fma(vec4<f32>(a[i][depth][r]), b[depth], sums[sum]);
                        }
                    }
                }
            }
        }
    }

    for (var i = 0u; i < MICRO_ROWS; i++) {
        let row = first_row + (y + i / 4u * LANES_DOWN) * 4u + i % 4u;
        for (var j = 0u; j < COLUMN_BLOCKS; j++) {
            let column = first_column + (x + j * LANES_ACROSS) * 4u;
            for (var c = 0u; c < 4u; c++) {
                if (row < m && column + c < n) {
                    store(split * params.sizes.w + c_offset(row, column + c, group), sums[i * COLUMN_BLOCKS + j][c]);
                }
            }
        }
    }
}
