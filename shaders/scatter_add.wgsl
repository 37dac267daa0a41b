// Elements added up where their indices say, along one axis; an element of the result an invocation.
//
// Each looks at the elements of its line in order and adds those that are meant for it: no atomics, one order.
//
// Prelude: SHARED, whether the indices are a vector; params.extents = (elements of the result, its extent on the
// axis, that of the source, elements after it); in0 = source, in1 = indices, out0 = the sums.

fn compute(element: u32) {
    let extent = params.extents.y;
    let length = params.extents.z;
    let inner = params.extents.w;
    let row = element / inner;
    let place = row % extent;
    var source = row / extent * length * inner + element % inner;
    var sum = 0.0;
    for (var k = 0u; k < length; k += 1u) {
        if (in1[select(source, k, SHARED)] == place) {
            sum += in0[source];
        }
        source += inner;
    }
    out0[element] = sum;
}
