// The result of a convolution of 3x3 from the 4x4 products of its transformed tiles and filters, the last part of Winograd's
// minimal filtering F(2x2, 3x3): transpose(A) * m * A, of 2x2 pixels. An invocation computes four channels of them. Pixels
// outside of the result, and channels beyond the last, are left out.
//
// Prelude: that of elementwise.wgsl; TILES_H, TILES_W, tiles down and across a result of RESULT_H x RESULT_W;
// params.extents.yz, vectors of four channels, and channels; params.sizes.xy, the first tile of this dispatch and how many
// there are; product_four(i); store(i, value), which may apply an epilogue.

fn compute(i: u32) {
    let quads = params.extents.y;
    let quad = i % quads;
    let tile = i / quads;
    let flat = params.sizes.x + tile;
    let image = flat / (TILES_H * TILES_W);
    let row = flat / TILES_W % TILES_H * 2u;
    let column = flat % TILES_W * 2u;
    var sums: array<vec4<f32>, 8>;
    for (var w = 0u; w < 4u; w++) {
        let top = product_four((w * params.sizes.y + tile) * quads + quad);
        let upper = product_four(((4u + w) * params.sizes.y + tile) * quads + quad);
        let lower = product_four(((8u + w) * params.sizes.y + tile) * quads + quad);
        let bottom = product_four(((12u + w) * params.sizes.y + tile) * quads + quad);
        sums[w] = top + upper + lower;
        sums[4u + w] = upper - lower - bottom;
    }
    for (var p = 0u; p < 2u; p++) {
        let left = sums[p * 4u] + sums[p * 4u + 1u] + sums[p * 4u + 2u];
        let right = sums[p * 4u + 1u] - sums[p * 4u + 2u] - sums[p * 4u + 3u];
        store_pixel(image, row + p, column, quad * 4u, left);
        store_pixel(image, row + p, column + 1u, quad * 4u, right);
    }
}

fn store_pixel(image: u32, row: u32, column: u32, channel: u32, values: vec4<f32>) {
    if (row >= RESULT_H || column >= RESULT_W) {
        return;
    }
    let start = ((image * RESULT_H + row) * RESULT_W + column) * params.extents.z + channel;
    for (var c = 0u; c < 4u; c++) {
        if (channel + c < params.extents.z) {
            store(start + c, values[c]);
        }
    }
}
