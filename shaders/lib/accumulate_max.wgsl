// The largest element and its index: the first of equals, the first NaN if there is one.

struct Accumulator {
    value: f32,
    index: u32,
}

const NOWHERE = 0xffffffffu;

fn identity() -> Accumulator {
    return Accumulator(-3.4028234e38, NOWHERE);
}

fn accumulate(a: Accumulator, value: f32, index: u32) -> Accumulator {
    return combine(a, Accumulator(value, index));
}

fn combine(a: Accumulator, b: Accumulator) -> Accumulator {
    if (b.index == NOWHERE) { return a; }
    if (a.index == NOWHERE) { return b; }
    let a_nan = is_nan(a.value);
    let b_nan = is_nan(b.value);
    let equal = (a_nan && b_nan) || a.value == b.value;
    let b_wins = select((b_nan && !a_nan) || (!a_nan && b.value > a.value), b.index < a.index, equal);
    if (b_wins) { return b; }
    return a;
}
