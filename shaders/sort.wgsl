// Sorting along one axis by counting: each element finds its rank, the number of elements that come before it.
//
// Ranks differ, so every place of the result is written once. Comparing keys of integers makes NaN the largest and zeros
// equal on every driver.
//
// Prelude: DESCENDING; params.extents = (elements, extent of the axis, places kept of each line, elements after
// the axis); in0 = x, out0 = the values in order, out1 = their positions on the axis.

// Larger for larger numbers; of NaNs the largest, all alike.
fn ascending_key(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let magnitude = bits & 0x7fffffffu;
    let key = select(0x80000000u + magnitude, 0x80000000u - magnitude, bits != magnitude);
    return select(key, 0xffffffffu, is_nan(x));
}

fn sort_key(x: f32) -> u32 {
    let key = ascending_key(x);
    return select(key, 0xffffffffu - key, DESCENDING);
}

fn compute(element: u32) {
    let extent = params.extents.y;
    let keep = params.extents.z;
    let inner = params.extents.w;
    let column = element % inner;
    let line = element / inner / extent;
    let position = element / inner % extent;
    let value = in0[element];
    let key = sort_key(value);
    var rank = 0u;
    var other = line * extent * inner + column;
    for (var place = 0u; place < extent; place += 1u) {
        let other_key = sort_key(in0[other]);
        rank += u32(other_key < key) + u32((other_key == key) & (place < position));
        other += inner;
    }
    if (rank < keep) {
        let to = (line * keep + rank) * inner + column;
        out0[to] = value;
        out1[to] = position;
    }
}
