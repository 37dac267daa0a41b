// in0 = image; out0 = the largest pixel of each window, out1 = its tap. The first of equals; a NaN wins.
//
// Prelude: read_in0(i), write_out0(i, x), write_out1(i, tap), which convert what is stored as f16.

fn compute(i: u32) {
    let position = position_of(i / CHANNELS);
    var best = 0.0;
    var chosen = 0u;
    var found = false;
    for (var r = 0u; r < KERNEL_H; r++) {
        for (var s = 0u; s < KERNEL_W; s++) {
            let pixel = pixel_at(position, vec2<u32>(r, s));
            if (pixel >= 0) {
                let value = read_in0(u32(pixel) * CHANNELS + i % CHANNELS);
                if (!found || (!is_nan(best) && (value > best || is_nan(value)))) {
                    best = value;
                    chosen = r * KERNEL_W + s;
                    found = true;
                }
            }
        }
    }
    write_out0(i, best);
    write_out1(i, chosen);
}
