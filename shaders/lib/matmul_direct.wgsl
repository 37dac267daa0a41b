// Products without workgroup memory: every invocation reads its own blocks. For devices whose workgroup memory is as slow as
// their cache.
//
// Prelude: that of matmul.wgsl.

fn products(part: Part, lane: u32) -> Sums {
    let x = lane % LANES_ACROSS;
    let y = lane / LANES_ACROSS;
    var sums: Sums;
    var rows: array<Four, ROW_BLOCKS>;
    for (var i = 0u; i < ROW_BLOCKS; i++) {
        rows[i] = a_rows(part.first_row + (y + i * LANES_DOWN) * 4u, part.group);
    }
    var columns: array<Four, COLUMN_BLOCKS>;
    for (var j = 0u; j < COLUMN_BLOCKS; j++) {
        columns[j] = b_columns(part.first_column + (x + j * LANES_ACROSS) * 4u, part.group);
    }
    for (var k = part.begin; k < part.end; k += 4u) {
        let depth_of_b = b_rows(k, part.group, part.end);
        let depth_of_a = a_columns(k, part.group, part.end);
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
    return sums;
}
