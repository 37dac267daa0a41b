// The positions whose windows cover a pixel as a matrix: pixel x tap, tap = (r, s, channel) with the channel fastest.
//
// Prelude: that of window.wgsl; CHANNELS of one group, PIXEL elements from position to position.

// The element, or -1 where no position reads the pixel with this tap.
fn covering_element(pixel: u32, tap: u32, group: u32) -> i32 {
    let channel = tap % CHANNELS;
    let rs = tap / CHANNELS;
    let position = position_reading(pixel_of(pixel), vec2<u32>(rs / KERNEL_W, rs % KERNEL_W));
    return select(position * i32(PIXEL) + i32(group * CHANNELS + channel), -1, position < 0);
}
