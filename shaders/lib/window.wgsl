// A window that slides over the spatial axes of an image [N, H, W, C], as in convolution and pooling.
//
// Prelude: IMAGE_H, IMAGE_W, POSITIONS_P, POSITIONS_Q, KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W, PADDING_H, PADDING_W,
// DILATION_H, DILATION_W.

// (image, p, q) of a flat position.
fn position_of(flat: u32) -> vec3<u32> {
    let image = flat / (POSITIONS_P * POSITIONS_Q);
    let rest = flat % (POSITIONS_P * POSITIONS_Q);
    return vec3<u32>(image, rest / POSITIONS_Q, rest % POSITIONS_Q);
}

// (image, h, w) of a flat pixel.
fn pixel_of(flat: u32) -> vec3<u32> {
    let image = flat / (IMAGE_H * IMAGE_W);
    let rest = flat % (IMAGE_H * IMAGE_W);
    return vec3<u32>(image, rest / IMAGE_W, rest % IMAGE_W);
}

// The flat pixel that tap (r, s) reads at a position, or -1 in the padding.
fn pixel_at(position: vec3<u32>, tap: vec2<u32>) -> i32 {
    let h = i32(position.y * STRIDE_H + tap.x * DILATION_H) - i32(PADDING_H);
    let w = i32(position.z * STRIDE_W + tap.y * DILATION_W) - i32(PADDING_W);
    if (h < 0 || w < 0 || h >= i32(IMAGE_H) || w >= i32(IMAGE_W)) {
        return -1;
    }
    return (i32(position.x * IMAGE_H) + h) * i32(IMAGE_W) + w;
}

// The most positions along an axis that read one pixel.
const READING_H = ((KERNEL_H - 1u) * DILATION_H + STRIDE_H) / STRIDE_H;
const READING_W = ((KERNEL_W - 1u) * DILATION_W + STRIDE_W) / STRIDE_W;

// The flat position that reads a pixel and is `back` before the last one that could, and the flat tap by which it does;
// (-1, 0) if there is none. Taps rise with `back`.
fn position_reading(pixel: vec3<u32>, back: vec2<u32>) -> vec2<i32> {
    let place = pixel.yz + vec2<u32>(PADDING_H, PADDING_W);
    let stride = vec2<u32>(STRIDE_H, STRIDE_W);
    let dilation = vec2<u32>(DILATION_H, DILATION_W);
    // What lies before the first position wraps to large numbers, which are beyond the last.
    let position = place / stride - back;
    let offset = place - position * stride;
    let tap = offset / dilation;
    let exists = (position < vec2<u32>(POSITIONS_P, POSITIONS_Q)) & (tap < vec2<u32>(KERNEL_H, KERNEL_W));
    if (!all(exists & (tap * dilation == offset))) {
        return vec2<i32>(-1, 0);
    }
    let flat = (pixel.x * POSITIONS_P + position.x) * POSITIONS_Q + position.y;
    return vec2<i32>(i32(flat), i32(tap.x * KERNEL_W + tap.y));
}
