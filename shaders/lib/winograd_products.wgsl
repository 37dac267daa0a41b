// The result of a convolution of 3x3 from its transformed tiles and filters: the products of Winograd's minimal filtering
// F(2x2, 3x3), and the transform of them, transpose(A) * m * A, to 2x2 pixels of the result.
//
// Each of the 4x4 elements of m is a product of matrices, tiles by outputs, and comes from `products` of one of
// shaders/lib/matmul_*.wgsl: a group of its own. An element is added to the pixels that it belongs to as soon as it is there,
// so m is never in memory. Pixels outside of the result are left out.
//
// Prelude: that of matmul.wgsl, whose rows are tiles here, and extents those of one element; TILES_H, TILES_W, tiles down and
// across a result of RESULT_H x RESULT_W; params.sizes.xy, the first tile of this dispatch, and channels of the result;
// store(i, value), which may apply an epilogue.

const A = array<vec4<f32>, 2>(vec4(1.0, 1.0, 1.0, 0.0), vec4(0.0, 1.0, -1.0, -1.0));

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles_across = (params.extents.y + COLUMNS - 1u) / COLUMNS;
    let flat = workgroup_index(id, count);
    let first_row = flat / tiles_across * ROWS;
    let first_column = flat % tiles_across * COLUMNS;
    // Uniform over the workgroup: left over by the folding of workgroups into two dimensions.
    if (first_row >= params.extents.x) {
        return;
    }
    // Top left, top right, bottom left, bottom right.
    var pixels: array<Sums, 4>;
    for (var element = 0u; element < 16u; element++) {
        let sums = products(Part(first_row, first_column, element, 0u, params.extents.z), lane);
        let down = vec2<f32>(A[0][element / 4u], A[1][element / 4u]);
        let across = vec2<f32>(A[0][element % 4u], A[1][element % 4u]);
        for (var i = 0u; i < ROW_BLOCKS * COLUMN_BLOCKS; i++) {
            pixels[0][i] += down.x * across.x * sums[i];
            pixels[1][i] += down.x * across.y * sums[i];
            pixels[2][i] += down.y * across.x * sums[i];
            pixels[3][i] += down.y * across.y * sums[i];
        }
    }

    let x = lane % LANES_ACROSS;
    let y = lane / LANES_ACROSS;
    for (var pixel = 0u; pixel < 4u; pixel++) {
        for (var i = 0u; i < ROW_BLOCKS; i++) {
            let row = first_row + (y + i * LANES_DOWN) * 4u;
            for (var j = 0u; j < COLUMN_BLOCKS; j++) {
                let column = first_column + (x + j * LANES_ACROSS) * 4u;
                let block = pixels[pixel][i * COLUMN_BLOCKS + j];
                store_row(row, column, pixel, block[0]);
                store_row(row + 1u, column, pixel, block[1]);
                store_row(row + 2u, column, pixel, block[2]);
                store_row(row + 3u, column, pixel, block[3]);
            }
        }
    }
}

// Four channels of one pixel of a tile.
fn store_row(row: u32, column: u32, pixel: u32, values: vec4<f32>) {
    let tile = params.sizes.x + row;
    let image = tile / (TILES_H * TILES_W);
    let p = tile / TILES_W % TILES_H * 2u + pixel / 2u;
    let q = tile % TILES_W * 2u + pixel % 2u;
    if (row >= params.extents.x || p >= RESULT_H || q >= RESULT_W) {
        return;
    }
    let start = ((image * RESULT_H + p) * RESULT_W + q) * params.sizes.y;
    for (var c = 0u; c < 4u; c++) {
        if (column + c < params.sizes.y) {
            store(start + column + c, values[c]);
        }
    }
}
