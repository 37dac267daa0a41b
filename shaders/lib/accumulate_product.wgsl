// Product.

struct Accumulator {
    product: f32,
}

fn identity() -> Accumulator {
    return Accumulator(1.0);
}

fn accumulate(a: Accumulator, value: f32, index: u32) -> Accumulator {
    return Accumulator(a.product * value);
}

fn combine(a: Accumulator, b: Accumulator) -> Accumulator {
    return Accumulator(a.product * b.product);
}

fn finish(a: Accumulator) -> Result {
    return Result(a.product);
}
