// in0 = gradient of the positions; out0 = gradient of the image: a pixel sums its share of every window that covers it.
//
// Prelude: INCLUDE_PADDING; read_in0(i), write_out0(i, x), which convert what is stored as f16 and may compute on.

fn compute(i: u32) {
    let pixel = pixel_of(i / CHANNELS);
    var sum = 0.0;
    for (var down = 0u; down < READING_H; down++) {
        for (var across = 0u; across < READING_W; across++) {
            let position = position_reading(pixel, vec2<u32>(down, across)).x;
            if (position >= 0) {
                sum += read_in0(u32(position) * CHANNELS + i % CHANNELS) / divisor(position_of(u32(position)));
            }
        }
    }
    write_out0(i, sum);
}
