// Elements combined over axes, in an order that depends on the shape alone.
//
// A workgroup is LANES_X outputs wide and LANES_Y deep. Each invocation combines every LANES_Y-th element of its stretch of
// the reduced elements, then a tree in workgroup memory combines the lanes of one output. Where there are few outputs,
// several workgroups ("splits") take a stretch each and write partial results, which a second dispatch combines in order.
//
// Prelude: LANES_X, LANES_Y, WORKGROUP = LANES_X * LANES_Y; the struct Accumulator with identity(), combine(a, b);
// add_element(accumulator, output, index); store_result(output, split, accumulator);
// params.extents = (outputs, reduced elements, splits, reduced elements a split).

var<workgroup> lanes: array<Accumulator, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let x = lane % LANES_X;
    let y = lane / LANES_X;
    let columns = (params.extents.x + LANES_X - 1u) / LANES_X;
    let flat = workgroup_index(id, count);
    let output = (flat % columns) * LANES_X + x;
    let split = flat / columns;
    let begin = split * params.extents.w;
    let end = min(begin + params.extents.w, params.extents.y);

    var accumulator = identity();
    if (output < params.extents.x && split < params.extents.z) {
        for (var index = begin + y; index < end; index += LANES_Y) {
            accumulator = add_element(accumulator, output, index);
        }
    }
    if (LANES_Y > 1u) {
        lanes[lane] = accumulator;
        workgroupBarrier();
        for (var half = LANES_Y / 2u; half > 0u; half /= 2u) {
            if (y < half) {
                lanes[lane] = combine(lanes[lane], lanes[lane + half * LANES_X]);
            }
            workgroupBarrier();
        }
        accumulator = lanes[lane];
    }
    if (y == 0u && output < params.extents.x && split < params.extents.z) {
        store_result(output, split, accumulator);
    }
}
