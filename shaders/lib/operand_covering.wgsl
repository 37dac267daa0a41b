// The positions whose windows cover a pixel as a matrix: pixel x tap, tap = (r, s, channel) with the channel fastest.
//
// A decoded pixel is (image, row, column) after padding; a decoded tap is (rows down, columns right, channel).
//
// Prelude: that of window.wgsl; CHANNELS of one group, PIXEL elements from position to position.

fn covering_row(pixel: u32, group: u32) -> vec3<u32> {
    return pixel_of(pixel) + vec3<u32>(0u, PADDING_H, PADDING_W);
}

fn covering_column(tap: u32, group: u32) -> vec3<u32> {
    let rs = tap / CHANNELS;
    return vec3<u32>(rs / KERNEL_W * DILATION_H, rs % KERNEL_W * DILATION_W, group * CHANNELS + tap % CHANNELS);
}

// The element, or -1 where no position reads the pixel with this tap.
fn covering_element(pixel: vec3<u32>, tap: vec3<u32>) -> i32 {
    let h = pixel.y - tap.x;
    let w = pixel.z - tap.y;
    let p = h / STRIDE_H;
    let q = w / STRIDE_W;
    // `&` and not `&&`, which is a branch.
    let inside = (pixel.y >= tap.x) & (pixel.z >= tap.y) & (p < POSITIONS_P) & (q < POSITIONS_Q)
        & (p * STRIDE_H == h) & (q * STRIDE_W == w);
    return select(-1, i32(((pixel.x * POSITIONS_P + p) * POSITIONS_Q + q) * PIXEL + tap.z), inside);
}
