// Softmax cross-entropy of every row of the logits, and its gradient with respect to them.
//
// LANES neighbouring invocations share a row, so a workgroup has ROWS rows. Each lane sweeps its classes three times:
// for the largest logit, for the sums, for the gradient. A tree combines the lanes in a fixed order, so that the result
// of a row depends on nothing but the row.
//
// Prelude: CLASSES, LANES, WORKGROUP; params.extents = (rows, bits of the label smoothing); in0 = logits, in1 = labels,
// out0 = the loss of each row, out1 = its gradient.

const ROWS: u32 = WORKGROUP / LANES;

var<workgroup> lanes: array<f32, WORKGROUP>;

// The larger of two; NaN if one is.
fn larger(a: f32, b: f32) -> f32 {
    return select(select(b, a, a > b), quiet_nan(), is_nan(a) || is_nan(b));
}

// The largest of the values that the lanes of a row hold. Every invocation must call it, for its barriers.
fn row_max(value: f32, lane: u32) -> f32 {
    if (LANES == 1u) {
        return value;
    }
    lanes[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane % LANES < half) {
            lanes[lane] = larger(lanes[lane], lanes[lane + half]);
        }
        workgroupBarrier();
    }
    let result = lanes[lane - lane % LANES];
    workgroupBarrier();
    return result;
}

// The sum of the values that the lanes of a row hold. Every invocation must call it, for its barriers.
fn row_sum(value: f32, lane: u32) -> f32 {
    if (LANES == 1u) {
        return value;
    }
    lanes[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane % LANES < half) {
            lanes[lane] += lanes[lane + half];
        }
        workgroupBarrier();
    }
    let result = lanes[lane - lane % LANES];
    workgroupBarrier();
    return result;
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // Lanes past the last row compute it again and write nothing: they have to reach the barriers.
    let wanted_row = workgroup_index(id, count) * ROWS + lane / LANES;
    let exists = wanted_row < params.extents.x;
    let row = min(wanted_row, params.extents.x - 1u);
    let begin = row * CLASSES;
    let first = lane % LANES;

    var lane_max = -3.4028234e38;
    for (var class_index = first; class_index < CLASSES; class_index += LANES) {
        lane_max = larger(lane_max, in0[begin + class_index]);
    }
    let largest = row_max(lane_max, lane);

    // Everything is taken relative to the largest logit, so that a common offset cancels before anything is rounded.
    var lane_exponentials = 0.0;
    var lane_relatives = 0.0;
    for (var class_index = first; class_index < CLASSES; class_index += LANES) {
        let relative = in0[begin + class_index] - largest;
        lane_exponentials += exp(relative);
        lane_relatives += relative;
    }
    let exponentials = row_sum(lane_exponentials, lane);
    let relatives = row_sum(lane_relatives, lane);
    if (!exists) {
        return;
    }

    // A label that is no class must not pass unseen, nor a NaN get lost in a driver's fast arithmetic.
    let label = in1[row];
    let undefined = label >= CLASSES || is_nan(largest);
    let smoothing = bitcast<f32>(params.extents.y);
    let share = smoothing / f32(CLASSES);
    if (first == 0u) {
        let of_label = in0[begin + min(label, CLASSES - 1u)] - largest;
        var loss = log(exponentials) - (1.0 - smoothing) * of_label;
        // Without smoothing, a class ruled out by a logit of minus infinity does not matter.
        if (smoothing > 0.0) {
            loss -= share * relatives;
        }
        out0[row] = select(loss, quiet_nan(), undefined);
    }
    for (var class_index = first; class_index < CLASSES; class_index += LANES) {
        let softmax = exp(in0[begin + class_index] - largest) / exponentials;
        let expected = share + select(0.0, 1.0 - smoothing, class_index == label);
        out1[begin + class_index] = select(softmax - expected, quiet_nan(), undefined);
    }
}
