// in0 = image; out0 = the largest pixel that each position covers, out1 = its flat index. The first of equals; a NaN wins.
//
// Prelude: IMAGE_H, IMAGE_W, POSITIONS_P, POSITIONS_Q, CHANNELS.

fn compute(i: u32) {
    let position = i / CHANNELS;
    let rows = covered(position / POSITIONS_Q % POSITIONS_P, IMAGE_H, POSITIONS_P);
    let columns = covered(position % POSITIONS_Q, IMAGE_W, POSITIONS_Q);
    let image = position / (POSITIONS_P * POSITIONS_Q) * (IMAGE_H * IMAGE_W);
    var chosen = rows.x * IMAGE_W + columns.x;
    var best = in0[(image + chosen) * CHANNELS + i % CHANNELS];
    for (var h = rows.x; h < rows.y; h++) {
        for (var w = columns.x; w < columns.y; w++) {
            let value = in0[(image + h * IMAGE_W + w) * CHANNELS + i % CHANNELS];
            if (!is_nan(best) && (value > best || is_nan(value))) {
                best = value;
                chosen = h * IMAGE_W + w;
            }
        }
    }
    out0[i] = best;
    out1[i] = chosen;
}
