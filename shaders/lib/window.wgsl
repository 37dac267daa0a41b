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

// The flat position whose tap (r, s) reads a pixel, or -1 if there is none.
fn position_reading(pixel: vec3<u32>, tap: vec2<u32>) -> i32 {
    // What lies before the first position wraps to large numbers, which are beyond the last.
    let h = pixel.y + PADDING_H - tap.x * DILATION_H;
    let w = pixel.z + PADDING_W - tap.y * DILATION_W;
    let p = h / STRIDE_H;
    let q = w / STRIDE_W;
    if (p * STRIDE_H != h || q * STRIDE_W != w || p >= POSITIONS_P || q >= POSITIONS_Q) {
        return -1;
    }
    return i32((pixel.x * POSITIONS_P + p) * POSITIONS_Q + q);
}
