// Mean and biased variance, by Welford's update and Chan's combination: no cancellation, whatever the mean.
//
// Prelude: VALUE, f32 or four of them.

struct Accumulator {
    count: f32,
    mean: VALUE,
    // Sum of squared deviations from the mean.
    squares: VALUE,
}

fn identity() -> Accumulator {
    return Accumulator(0.0, VALUE(), VALUE());
}

fn accumulate(a: Accumulator, value: VALUE, index: u32) -> Accumulator {
    let count = a.count + 1.0;
    let deviation = value - a.mean;
    let mean = a.mean + deviation / count;
    return Accumulator(count, mean, a.squares + deviation * (value - mean));
}

fn combine(a: Accumulator, b: Accumulator) -> Accumulator {
    let count = a.count + b.count;
    if (count == 0.0) { return a; }
    let deviation = b.mean - a.mean;
    let share = b.count / count;
    return Accumulator(count, a.mean + deviation * share, a.squares + b.squares + deviation * deviation * a.count * share);
}

fn finish(a: Accumulator) -> Result {
    return Result(a.mean, a.squares / a.count);
}
