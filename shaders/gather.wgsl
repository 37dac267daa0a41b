// Elements picked by index along one axis; an element of the result an invocation.
//
// Prelude: WORKGROUP; VALUE, the element type; SHARED, whether the indices are a vector; OUTSIDE, the bits of what an
// index that names no element picks; params.extents = (elements of the result, extent of the axis, indices along it,
// elements after it); in0 = x, in1 = indices, out0 = the result.

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let element = workgroup_index(id, count) * WORKGROUP + lane;
    if (element >= params.extents.x) {
        return;
    }
    let extent = params.extents.y;
    let taken = params.extents.z;
    let inner = params.extents.w;
    let row = element / inner;
    let named = in1[select(element, row % taken, SHARED)];
    // Not a constant expression, which could not be NaN.
    var bits = OUTSIDE;
    var value = bitcast<VALUE>(bits);
    if (named < extent) {
        value = in0[(row / taken * extent + named) * inner + element % inner];
    }
    out0[element] = value;
}
