// What the sum of a window is divided by: the taps, all or only those inside the image.

fn divisor(position: vec3<u32>) -> f32 {
    if (INCLUDE_PADDING) {
        return f32(KERNEL_H * KERNEL_W);
    }
    var inside = 0u;
    for (var r = 0u; r < KERNEL_H; r++) {
        for (var s = 0u; s < KERNEL_W; s++) {
            inside += u32(pixel_at(position, vec2<u32>(r, s)) >= 0);
        }
    }
    return f32(inside);
}
