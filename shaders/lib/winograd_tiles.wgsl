// The image of a convolution of 3x3 in tiles of 4x4 pixels, each two after the last, transformed for Winograd's minimal
// filtering F(2x2, 3x3): transpose(B) * d * B, of 4x4 elements, each in a matrix [tile][channel] of its own. An invocation
// transforms four channels of a tile. Pixels outside of the image, and channels beyond the last, are zero.
//
// Prelude: that of elementwise.wgsl; TILES_H, TILES_W, tiles down and across an image; ORIGIN_H, ORIGIN_W, where the first
// begins; params.extents.y, vectors of four channels; params.sizes.xy, the first tile of this dispatch and how many there
// are; image_four(image, row, column, quad), zero outside; store(i, four).

fn compute(i: u32) {
    let quads = params.extents.y;
    let quad = i % quads;
    let tile = i / quads;
    let flat = params.sizes.x + tile;
    let image = flat / (TILES_H * TILES_W);
    let row = ORIGIN_H + 2 * i32(flat / TILES_W % TILES_H);
    let column = ORIGIN_W + 2 * i32(flat % TILES_W);
    var d: array<vec4<f32>, 16>;
    for (var w = 0u; w < 4u; w++) {
        let top = image_four(image, row, column + i32(w), quad);
        let upper = image_four(image, row + 1, column + i32(w), quad);
        let lower = image_four(image, row + 2, column + i32(w), quad);
        let bottom = image_four(image, row + 3, column + i32(w), quad);
        d[w] = top - lower;
        d[4u + w] = upper + lower;
        d[8u + w] = lower - upper;
        d[12u + w] = upper - bottom;
    }
    for (var h = 0u; h < 16u; h += 4u) {
        store((h * params.sizes.y + tile) * quads + quad, d[h] - d[h + 2u]);
        store(((h + 1u) * params.sizes.y + tile) * quads + quad, d[h + 1u] + d[h + 2u]);
        store(((h + 2u) * params.sizes.y + tile) * quads + quad, d[h + 2u] - d[h + 1u]);
        store(((h + 3u) * params.sizes.y + tile) * quads + quad, d[h + 1u] - d[h + 3u]);
    }
}
