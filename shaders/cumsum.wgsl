// Running sums along one axis; a line an invocation, in order.
//
// Prelude: params.extents = (lines, extent of the axis, elements after it, 1 if exclusive + 2 if reversed);
// in0 = x, out0 = the sums.

fn compute(line: u32) {
    let extent = params.extents.y;
    let inner = params.extents.z;
    let exclusive = (params.extents.w & 1u) != 0u;
    let reversed = (params.extents.w & 2u) != 0u;
    let first = line / inner * extent * inner + line % inner;
    var sum = 0.0;
    for (var step = 0u; step < extent; step += 1u) {
        let element = first + select(step, extent - 1u - step, reversed) * inner;
        let before = sum;
        sum += in0[element];
        out0[element] = select(sum, before, exclusive);
    }
}
