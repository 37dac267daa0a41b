// in0 = gradient of the positions, in1 = flat indices; out0 = gradient of the image: a pixel sums the positions that chose
// it.
//
// Prelude: IMAGE_H, IMAGE_W, POSITIONS_P, POSITIONS_Q, CHANNELS.

fn compute(i: u32) {
    let place = i / CHANNELS;
    let pixel = place % (IMAGE_H * IMAGE_W);
    let rows = covered(pixel / IMAGE_W, POSITIONS_P, IMAGE_H);
    let columns = covered(pixel % IMAGE_W, POSITIONS_Q, IMAGE_W);
    let image = place / (IMAGE_H * IMAGE_W) * (POSITIONS_P * POSITIONS_Q);
    var sum = 0.0;
    for (var p = rows.x; p < rows.y; p++) {
        for (var q = columns.x; q < columns.y; q++) {
            let element = (image + p * POSITIONS_Q + q) * CHANNELS + i % CHANNELS;
            if (in1[element] == pixel) {
                sum += in0[element];
            }
        }
    }
    out0[i] = sum;
}
