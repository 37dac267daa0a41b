// Sum.

struct Accumulator {
    sum: VALUE,
}

fn identity() -> Accumulator {
    return Accumulator(VALUE());
}

fn accumulate(a: Accumulator, value: VALUE, index: u32) -> Accumulator {
    return Accumulator(a.sum + value);
}

fn combine(a: Accumulator, b: Accumulator) -> Accumulator {
    return Accumulator(a.sum + b.sum);
}

fn finish(a: Accumulator) -> Result {
    return Result(a.sum);
}
