// in0 = gradient of the positions, in1 = taps; out0 = gradient of the image: a pixel sums the windows that chose it.
//
// Prelude: read_in0(i), write_out0(i, x), which convert what is stored as f16.

fn compute(i: u32) {
    let pixel = pixel_of(i / CHANNELS);
    var sum = 0.0;
    for (var r = 0u; r < KERNEL_H; r++) {
        for (var s = 0u; s < KERNEL_W; s++) {
            let position = position_reading(pixel, vec2<u32>(r, s));
            if (position >= 0) {
                let element = u32(position) * CHANNELS + i % CHANNELS;
                if (in1[element] == r * KERNEL_W + s) {
                    sum += read_in0(element);
                }
            }
        }
    }
    write_out0(i, sum);
}
