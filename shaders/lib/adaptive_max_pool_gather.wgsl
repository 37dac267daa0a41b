// in0 = image, in1 = flat indices; out0 = the pixel that each position chose; 0 for an index that it does not cover.
//
// Prelude: IMAGE_H, IMAGE_W, POSITIONS_P, POSITIONS_Q, CHANNELS.

fn compute(i: u32) {
    let position = i / CHANNELS;
    let rows = covered(position / POSITIONS_Q % POSITIONS_P, IMAGE_H, POSITIONS_P);
    let columns = covered(position % POSITIONS_Q, IMAGE_W, POSITIONS_Q);
    let image = position / (POSITIONS_P * POSITIONS_Q) * (IMAGE_H * IMAGE_W);
    let h = in1[i] / IMAGE_W;
    let w = in1[i] % IMAGE_W;
    out0[i] = 0.0;
    if (h >= rows.x && h < rows.y && w >= columns.x && w < columns.y) {
        out0[i] = in0[(image + in1[i]) * CHANNELS + i % CHANNELS];
    }
}
