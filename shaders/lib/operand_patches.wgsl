// The windows of an image as a matrix: position x tap (im2col), tap = (r, s, channel) with the channel fastest.
//
// A decoded position is (image, first row, first column) of its window before padding; a decoded tap is (rows down, columns
// right, channel).
//
// Prelude: that of window.wgsl; CHANNELS of one group, PIXEL elements from pixel to pixel.

fn patches_row(position: u32, group: u32) -> vec3<u32> {
    let p = position_of(position);
    return vec3<u32>(p.x, p.y * STRIDE_H, p.z * STRIDE_W);
}

fn patches_column(tap: u32, group: u32) -> vec3<u32> {
    let rs = tap / CHANNELS;
    return vec3<u32>(rs / KERNEL_W * DILATION_H, rs % KERNEL_W * DILATION_W, group * CHANNELS + tap % CHANNELS);
}

// The element, or -1 in the padding.
fn patches_element(position: vec3<u32>, tap: vec3<u32>) -> i32 {
    let h = i32(position.y + tap.x) - i32(PADDING_H);
    let w = i32(position.z + tap.y) - i32(PADDING_W);
    // `&` and not `&&`, which is a branch.
    let inside = (h >= 0) & (w >= 0) & (h < i32(IMAGE_H)) & (w < i32(IMAGE_W));
    return select(-1, ((i32(position.x * IMAGE_H) + h) * i32(IMAGE_W) + w) * i32(PIXEL) + i32(tap.z), inside);
}
