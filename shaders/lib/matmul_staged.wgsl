// Products through workgroup memory: the workgroup brings DEPTH columns of A and rows of B there at a time.
//
// Prelude: that of matmul.wgsl; DEPTH.

var<workgroup> tile_a: array<vec4<f32>, DEPTH * ROWS / 4u>;
var<workgroup> tile_b: array<vec4<f32>, DEPTH * COLUMNS / 4u>;

fn products(part: Part, lane: u32) -> Sums {
    let x = lane % LANES_ACROSS;
    let y = lane / LANES_ACROSS;
    var sums: Sums;
    for (var k = part.begin; k < part.end; k += DEPTH) {
        for (var block = lane; block < ROWS / 4u * (DEPTH / 4u); block += WORKGROUP) {
            let depth = block % (DEPTH / 4u) * 4u;
            let row = block / (DEPTH / 4u);
            let rows = a_rows(part.first_row + row * 4u, part.group);
            let values = transpose(a_block(rows, a_columns(k + depth, part.group, part.end)));
            tile_a[depth * (ROWS / 4u) + row] = values[0];
            tile_a[(depth + 1u) * (ROWS / 4u) + row] = values[1];
            tile_a[(depth + 2u) * (ROWS / 4u) + row] = values[2];
            tile_a[(depth + 3u) * (ROWS / 4u) + row] = values[3];
        }
        for (var block = lane; block < COLUMNS / 4u * (DEPTH / 4u); block += WORKGROUP) {
            let column = block % (COLUMNS / 4u);
            let depth = block / (COLUMNS / 4u) * 4u;
            let columns = b_columns(part.first_column + column * 4u, part.group);
            let values = b_block(b_rows(k + depth, part.group, part.end), columns);
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
    return sums;
}
