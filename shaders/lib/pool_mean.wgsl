// in0 = image; out0 = the mean of each window.
//
// Prelude: INCLUDE_PADDING; read_in0(i), write_out0(i, x), which convert what is stored as f16 and may compute on.

fn compute(i: u32) {
    let position = position_of(i / CHANNELS);
    var sum = 0.0;
    for (var r = 0u; r < KERNEL_H; r++) {
        for (var s = 0u; s < KERNEL_W; s++) {
            let pixel = pixel_at(position, vec2<u32>(r, s));
            if (pixel >= 0) {
                sum += read_in0(u32(pixel) * CHANNELS + i % CHANNELS);
            }
        }
    }
    write_out0(i, sum / divisor(position));
}
