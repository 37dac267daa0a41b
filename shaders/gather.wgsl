// Elements picked by index along one axis; an element of the result an invocation.
//
// Prelude: VALUE, the element type; SHARED, whether the indices are a vector; OUTSIDE, the bits of what an
// index that names no element picks; params.extents = (elements of the result, extent of the axis, indices along it,
// elements after it); in0 = x, in1 = indices, out0 = the result.

fn compute(element: u32) {
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
