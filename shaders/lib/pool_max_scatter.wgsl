// in0 = gradient of the positions, in1 = taps; out0 = gradient of the image: a pixel sums the windows that chose it.
//
// Prelude: read_in0(i), read_in1(i), write_out0(i, x), which convert what is stored as f16 and may compute on.

fn compute(i: u32) {
    let pixel = pixel_of(i / CHANNELS);
    var sum = 0.0;
    for (var down = 0u; down < READING_H; down++) {
        for (var across = 0u; across < READING_W; across++) {
            let reading = position_reading(pixel, vec2<u32>(down, across));
            if (reading.x >= 0) {
                let element = u32(reading.x) * CHANNELS + i % CHANNELS;
                sum += select(0.0, read_in0(element), read_in1(element) == u32(reading.y));
            }
        }
    }
    write_out0(i, sum);
}
