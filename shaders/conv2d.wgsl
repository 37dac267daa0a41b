// C[g][m][n] = sum over k of A[g][m][k] * B[g][k][n] where groups are many and narrow: convolutions of one or a few channels
// a group and their gradients, of which the 4x4 blocks of matmul.wgsl would be mostly empty.
//
// The narrow side of the groups (columns, or rows if TRANSPOSED) lies over all groups side by side in memory, as channels
// do, and so do invocations; each computes BLOCK elements of the other side. Sums may be split, and products come in phases,
// as in matmul.wgsl.
//
// Prelude: WORKGROUP, BLOCK, TRANSPOSED; that of matmul.wgsl, with one index decoded instead of four: a_row(row, group),
// a_column(k, group, end), a_one(row, column); b_row(k, group, end), b_column(column, group), b_one(row, column).

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let narrow = select(params.extents.y, params.extents.x, TRANSPOSED);
    let blocks = (select(params.extents.x, params.extents.y, TRANSPOSED) + BLOCK - 1u) / BLOCK;
    let across = narrow * params.extents.w;
    var flat = workgroup_index(id, count) * WORKGROUP + lane;
    let group = flat % across / narrow;
    let channel = flat % across % narrow;
    flat /= across;
    let first = flat % blocks * BLOCK;
    flat /= blocks;
    let phase = flat % PHASES;
    let split = flat / PHASES;
    if (split >= params.sizes.x) {
        return;
    }
    let begin = split * params.sizes.y;
    let end = min(begin + params.sizes.y, begin_phase(phase));

    var sums: array<f32, BLOCK>;
    var places: array<vec3<u32>, BLOCK>;
    if (TRANSPOSED) {
        let row = a_row(channel, group);
        for (var i = 0u; i < BLOCK; i++) {
            places[i] = b_column(first + i, group);
        }
        for (var k = begin; k < end; k++) {
            let a = a_one(row, a_column(k, group, end));
            let depth = b_row(k, group, end);
            for (var i = 0u; i < BLOCK; i++) {
                sums[i] += a * b_one(depth, places[i]);
            }
        }
    } else {
        let column = b_column(channel, group);
        for (var i = 0u; i < BLOCK; i++) {
            places[i] = a_row(first + i, group);
        }
        for (var k = begin; k < end; k++) {
            let b = b_one(b_row(k, group, end), column);
            let depth = a_column(k, group, end);
            for (var i = 0u; i < BLOCK; i++) {
                sums[i] += a_one(places[i], depth) * b;
            }
        }
    }
    for (var i = 0u; i < BLOCK; i++) {
        let row = select(first + i, channel, TRANSPOSED);
        let column = select(channel, first + i, TRANSPOSED);
        let start = c_row(row, group);
        if (start != NOWHERE) {
            if (column < params.extents.y) {
                store(split * params.sizes.w + start + c_column(column), sums[i]);
            }
        }
    }
}
