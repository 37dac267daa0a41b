// Softmax cross-entropy of every row of the logits, and its gradient with respect to them.
//
// LANES neighbouring invocations share a row, a workgroup has ROWS rows. Each lane sweeps its classes three times: for the
// largest logit, for the sums, for the gradient; lanes are combined by a tree in a fixed order, so the result depends on
// nothing but the row.
//
// From the prelude: CLASSES, WORKGROUP, LANES; params.extents = (rows, bits of the label smoothing);
// in0 = logits, in1 = labels, out0 = loss of a row, out1 = its gradient.

const ROWS: u32 = WORKGROUP / LANES;

var<workgroup> partial: array<f32, WORKGROUP>;

// The larger of two; NaN if one is.
fn larger(a: f32, b: f32) -> f32 {
    return select(select(b, a, a > b), quiet_nan(), is_nan(a) || is_nan(b));
}

// The largest `value` of the lanes of a row. All invocations must call it.
fn row_max(value: f32, local: u32) -> f32 {
    let lane = local % LANES;
    partial[local] = value;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if (lane < step) {
            partial[local] = larger(partial[local], partial[local + step]);
        }
        workgroupBarrier();
    }
    let result = partial[local - lane];
    workgroupBarrier();
    return result;
}

// The sum of `value` over the lanes of a row. All invocations must call it.
fn row_sum(value: f32, local: u32) -> f32 {
    let lane = local % LANES;
    partial[local] = value;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if (lane < step) {
            partial[local] += partial[local + step];
        }
        workgroupBarrier();
    }
    let result = partial[local - lane];
    workgroupBarrier();
    return result;
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let lane = local % LANES;
    let wanted_row = workgroup_index(group, groups) * ROWS + local / LANES;
    // Invocations past the last row repeat it and write nothing: they must reach the barriers.
    let exists = wanted_row < params.extents.x;
    let row = min(wanted_row, params.extents.x - 1u);
    let begin = row * CLASSES;
    let label = in1[row];
    let smoothing = bitcast<f32>(params.extents.y);

    var lane_max = -3.4028234e38;
    for (var class_index = lane; class_index < CLASSES; class_index += LANES) {
        lane_max = larger(lane_max, in0[begin + class_index]);
    }
    let largest = row_max(lane_max, local);

    // Logits are taken relative to the largest, so that a common offset cancels before anything is rounded.
    var lane_exponentials = 0.0;
    var lane_relative = 0.0;
    for (var class_index = lane; class_index < CLASSES; class_index += LANES) {
        let relative = in0[begin + class_index] - largest;
        lane_exponentials += exp(relative);
        lane_relative += relative;
    }
    let exponentials = row_sum(lane_exponentials, local);
    let relatives = row_sum(lane_relative, local);

    // A label that is no class must not pass silently, nor may a NaN get lost in a driver's fast arithmetic.
    let undefined = label >= CLASSES || is_nan(largest);
    let target_rest = smoothing / f32(CLASSES);
    if (exists && lane == 0u) {
        let of_label = in0[begin + min(label, CLASSES - 1u)] - largest;
        var loss = log(exponentials) - (1.0 - smoothing) * of_label;
        // Without smoothing a logit of minus infinity, a class ruled out, is no one's concern.
        if (smoothing > 0.0) {
            loss -= target_rest * relatives;
        }
        out0[row] = select(loss, quiet_nan(), undefined);
    }
    if (exists) {
        for (var class_index = lane; class_index < CLASSES; class_index += LANES) {
            let softmax = exp(in0[begin + class_index] - largest) / exponentials;
            let expected = target_rest + select(0.0, 1.0 - smoothing, class_index == label);
            out1[begin + class_index] = select(softmax - expected, quiet_nan(), undefined);
        }
    }
}
