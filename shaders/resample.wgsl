// in0 = image, out0 = positions; or transposed, in0 = gradient of the positions, out0 = gradient of the image.
//
// An output sums the inputs that it has a weight for; both axes have weights of their own, which multiply. Which inputs
// those are follows from integers; where a few more are visited, their weight is zero and they are not read.
//
// Prelude: MODE, TRANSPOSED, IMAGE_H, IMAGE_W, POSITIONS_P, POSITIONS_Q, CHANNELS.

const NEAREST = 0u;
const BILINEAR = 1u;
const BILINEAR_ALIGNED = 2u;
const AREA = 3u;

const INTERPOLATES = MODE == BILINEAR || MODE == BILINEAR_ALIGNED;

// The source coordinate of position p is (slope · p + shift) / unit.
struct Line {
    slope: i32,
    shift: i32,
    unit: i32,
}

fn line(pixels: i32, positions: i32) -> Line {
    if (MODE == BILINEAR_ALIGNED) {
        return Line(max(pixels - 1, 1), 0, max(positions - 1, 1));
    }
    return Line(2 * pixels, pixels - positions, 2 * positions);
}

// The source coordinate of position p in parts of `unit`, inside the image.
fn source(p: u32, pixels: u32, l: Line) -> i32 {
    return clamp(l.slope * i32(p) + l.shift, 0, (i32(pixels) - 1) * l.unit);
}

// (first, end) of the pixels that position p reads.
fn pixels_of(p: u32, pixels: u32, positions: u32) -> vec2<u32> {
    if (INTERPOLATES) {
        let l = line(i32(pixels), i32(positions));
        let first = u32(source(p, pixels, l) / l.unit);
        return vec2<u32>(first, min(first + 2u, pixels));
    }
    let all = covered(p, pixels, positions);
    return select(all, vec2<u32>(all.x, all.x + 1u), MODE == NEAREST);
}

// (first, end) of the positions that may read pixel h.
fn positions_of(h: u32, pixels: u32, positions: u32) -> vec2<u32> {
    if (INTERPOLATES) {
        // Those with a source coordinate between h - 1 and h + 1; divisions round towards zero, so outwards or to an end.
        let l = line(i32(pixels), i32(positions));
        let first = ((i32(h) - 1) * l.unit - l.shift) / l.slope;
        let end = ((i32(h) + 1) * l.unit - l.shift) / l.slope + 1;
        return vec2<u32>(u32(max(first, 0)), u32(clamp(end, 0, i32(positions))));
    }
    return covered(h, positions, pixels);
}

// How much of pixel h position p reads.
fn weight(p: u32, h: u32, pixels: u32, positions: u32) -> f32 {
    if (INTERPOLATES) {
        let l = line(i32(pixels), i32(positions));
        return f32(max(l.unit - abs(source(p, pixels, l) - i32(h) * l.unit), 0)) / f32(l.unit);
    }
    let all = covered(p, pixels, positions);
    if (MODE == NEAREST) {
        return select(0.0, 1.0, all.x == h);
    }
    return 1.0 / f32(all.y - all.x);
}

// (first, end) of the inputs of output o on one axis.
fn inputs_of(o: u32, pixels: u32, positions: u32) -> vec2<u32> {
    if (TRANSPOSED) {
        return positions_of(o, pixels, positions);
    }
    return pixels_of(o, pixels, positions);
}

// The weight of input i in output o on one axis.
fn weight_of(o: u32, i: u32, pixels: u32, positions: u32) -> f32 {
    if (TRANSPOSED) {
        return weight(i, o, pixels, positions);
    }
    return weight(o, i, pixels, positions);
}

fn compute(i: u32) {
    let inputs = select(vec2<u32>(IMAGE_H, IMAGE_W), vec2<u32>(POSITIONS_P, POSITIONS_Q), TRANSPOSED);
    let outputs = select(vec2<u32>(POSITIONS_P, POSITIONS_Q), vec2<u32>(IMAGE_H, IMAGE_W), TRANSPOSED);
    let place = i / CHANNELS;
    let row = place / outputs.y % outputs.x;
    let column = place % outputs.y;
    let image = place / (outputs.x * outputs.y);
    let rows = inputs_of(row, IMAGE_H, POSITIONS_P);
    let columns = inputs_of(column, IMAGE_W, POSITIONS_Q);
    var sum = 0.0;
    for (var r = rows.x; r < rows.y; r++) {
        let row_weight = weight_of(row, r, IMAGE_H, POSITIONS_P);
        for (var s = columns.x; s < columns.y; s++) {
            let share = row_weight * weight_of(column, s, IMAGE_W, POSITIONS_Q);
            if (share > 0.0) {
                sum += share * in0[((image * inputs.x + r) * inputs.y + s) * CHANNELS + i % CHANNELS];
            }
        }
    }
    out0[i] = sum;
}
