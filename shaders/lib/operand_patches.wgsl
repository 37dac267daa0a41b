// The windows of an image as a matrix: position x tap (im2col), tap = (r, s, channel) with the channel fastest.
//
// Prelude: that of window.wgsl; CHANNELS of one group, PIXEL elements from pixel to pixel.

// The element, or -1 in the padding.
fn patches_element(position: u32, tap: u32, group: u32) -> i32 {
    let channel = tap % CHANNELS;
    let rs = tap / CHANNELS;
    let pixel = pixel_at(position_of(position), vec2<u32>(rs / KERNEL_W, rs % KERNEL_W));
    return select(pixel * i32(PIXEL) + i32(group * CHANNELS + channel), -1, pixel < 0);
}
