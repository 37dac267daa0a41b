// in0 = image, in1 = taps; out0 = the pixel that each window chose.
//
// Prelude: read_in0(i), read_in1(i), write_out0(i, x), which convert what is stored as f16.

fn compute(i: u32) {
    let tap = read_in1(i);
    let pixel = pixel_at(position_of(i / CHANNELS), vec2<u32>(tap / KERNEL_W, tap % KERNEL_W));
    write_out0(i, select(0.0, read_in0(u32(max(pixel, 0)) * CHANNELS + i % CHANNELS), pixel >= 0));
}
