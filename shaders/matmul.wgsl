// C[g][m][n] = sum over k of A[g][m][k] * B[g][k][n]: matrix products, convolutions and their gradients.
//
// One skeleton for all. How an element of A or B is found in memory is the prelude's business (shaders/lib/operand_*.wgsl);
// so is what happens to an element of C (`store`, which may apply an epilogue). Work is done in 4x4 blocks, [row][k] of A,
// [k][column] of B and [row][column] of C, whichever way the operand lies in memory: a block of C is the matrix product
// B * A of WGSL, whose columns are our first index. A workgroup computes a ROWS x COLUMNS tile; each
// invocation MICRO_ROWS x MICRO_COLUMNS of it, interleaved by fours so that neighbours read neighbouring vectors.
//
// With STAGED, the workgroup brings DEPTH columns of A and rows of B into workgroup memory at a time. Without, every
// invocation reads its own blocks: for devices whose workgroup memory is as slow as their cache.
//
// The sum over k may be split among workgroups: each split stores its part at split * params.sizes.w, to be added in order.
//
// Finding an element takes divisions, so indices are decoded once and used for many elements: `a_rows(first, group)` decodes
// four rows, `a_columns` four columns, and `a_block` reads the 16 elements where they cross.
//
// A product may come in PHASES, parts with rows and sums of their own (shaders/lib/operand_covering.wgsl): M and K are then
// those of the largest phase.
//
// Prelude: ROWS, COLUMNS, DEPTH, MICRO_ROWS, MICRO_COLUMNS, STAGED; PHASES, begin_phase(phase), which gives the end of its
// sums; Four = four decoded indices; a_rows(row, group), a_columns(k, group, end), a_block(rows, columns); b_rows(k, group,
// end), b_columns(column, group), b_block(rows, columns); store(i, value) at i = c_row(row, group) + c_column(column), unless
// c_row is NOWHERE; params.extents = (M, N, K, groups); params.sizes = (splits, k a split, -, elements of C).

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

    let x = lane % LANES_ACROSS;
    let y = lane / LANES_ACROSS;
    let first_row = tile_row * ROWS;
    let first_column = tile_column * COLUMNS;
    var sums: array<mat4x4<f32>, ROW_BLOCKS * COLUMN_BLOCKS>;

    if (STAGED) {
        for (var k = begin; k < end; k += DEPTH) {
            for (var block = lane; block < ROWS / 4u * (DEPTH / 4u); block += WORKGROUP) {
                let depth = block % (DEPTH / 4u) * 4u;
                let row = block / (DEPTH / 4u);
                let rows = a_rows(first_row + row * 4u, group);
                let values = transpose(a_block(rows, a_columns(k + depth, group, end)));
                tile_a[depth * (ROWS / 4u) + row] = values[0];
                tile_a[(depth + 1u) * (ROWS / 4u) + row] = values[1];
                tile_a[(depth + 2u) * (ROWS / 4u) + row] = values[2];
                tile_a[(depth + 3u) * (ROWS / 4u) + row] = values[3];
            }
            for (var block = lane; block < COLUMNS / 4u * (DEPTH / 4u); block += WORKGROUP) {
                let column = block % (COLUMNS / 4u);
                let depth = block / (COLUMNS / 4u) * 4u;
                let columns = b_columns(first_column + column * 4u, group);
                let values = b_block(b_rows(k + depth, group, end), columns);
                tile_b[depth * (COLUMNS / 4u) + column] = values[0];
                tile_b[(depth + 1u) * (COLUMNS / 4u) + column] = values[1];
                tile_b[(depth + 2u) * (COLUMNS / 4u) + column] = values[2];
                tile_b[(depth + 3u) * (COLUMNS / 4u) + column] = values[3];
            }
            workgroupBarrier();
            for (var depth = 0u; depth < DEPTH; depth++) {
                for (var i = 0u; i < ROW_BLOCKS; i++) {
                    let a = tile_a[depth * (ROWS / 4u) + y + i * LANES_DOWN];
                    for (var j = 0u; j < COLUMN_BLOCKS; j++) {
                        let b = tile_b[depth * (COLUMNS / 4u) + x + j * LANES_ACROSS];
                        sums[i * COLUMN_BLOCKS + j] += mat4x4<f32>(b * a.x, b * a.y, b * a.z, b * a.w);
                    }
                }
            }
            workgroupBarrier();
        }
    } else {
        var rows: array<Four, ROW_BLOCKS>;
        for (var i = 0u; i < ROW_BLOCKS; i++) {
            rows[i] = a_rows(first_row + (y + i * LANES_DOWN) * 4u, group);
        }
        var columns: array<Four, COLUMN_BLOCKS>;
        for (var j = 0u; j < COLUMN_BLOCKS; j++) {
            columns[j] = b_columns(first_column + (x + j * LANES_ACROSS) * 4u, group);
        }
        for (var k = begin; k < end; k += 4u) {
            let depth_of_b = b_rows(k, group, end);
            let depth_of_a = a_columns(k, group, end);
            var b: array<mat4x4<f32>, COLUMN_BLOCKS>;
            for (var j = 0u; j < COLUMN_BLOCKS; j++) {
                b[j] = b_block(depth_of_b, columns[j]);
            }
            for (var i = 0u; i < ROW_BLOCKS; i++) {
                let a = a_block(rows[i], depth_of_a);
                for (var j = 0u; j < COLUMN_BLOCKS; j++) {
                    sums[i * COLUMN_BLOCKS + j] += b[j] * a;
                }
            }
        }
    }

    for (var i = 0u; i < ROW_BLOCKS; i++) {
        let row = first_row + (y + i * LANES_DOWN) * 4u;
        for (var j = 0u; j < COLUMN_BLOCKS; j++) {
            let column = first_column + (x + j * LANES_ACROSS) * 4u;
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
    var four = values;
    for (var c = 0u; c < 4u; c++) {
        if (column + c < params.extents.y) {
            store(split * params.sizes.w + start + c_column(column + c), four[c]);
        }
    }
}
