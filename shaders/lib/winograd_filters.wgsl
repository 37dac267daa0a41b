// The filters of a convolution of 3x3, transformed for Winograd's minimal filtering F(2x2, 3x3): G * g * transpose(G), of 4x4
// elements, each in a matrix [channel][output] of its own. An invocation transforms one filter. Channels and outputs are
// padded to vectors, by zeros.
//
// Prelude: that of elementwise.wgsl; params.extents.y, the outputs with padding; params.extents.zw, channels and outputs
// without; params.sizes.x, the channels with padding; filter_element(tap, channel, output); store(i, value).

const G = mat3x4<f32>(vec4(1.0, 0.5, 0.5, 0.0), vec4(0.0, 0.5, -0.5, 0.0), vec4(0.0, 0.5, 0.5, 1.0));

fn compute(i: u32) {
    let output = i % params.extents.y;
    let channel = i / params.extents.y;
    var filter_rows: mat3x3<f32>;
    if (channel < params.extents.z && output < params.extents.w) {
        for (var r = 0u; r < 3u; r++) {
            for (var s = 0u; s < 3u; s++) {
                filter_rows[r][s] = filter_element(r * 3u + s, channel, output);
            }
        }
    }
    // The first index is the row in both, so the columns of WGSL's matrices are rows.
    let transformed = G * filter_rows * transpose(G);
    for (var a = 0u; a < 4u; a++) {
        for (var b = 0u; b < 4u; b++) {
            store(((a * 4u + b) * params.sizes.x + channel) * params.extents.y + output, transformed[a][b]);
        }
    }
}
