// Functions that WGSL lacks, or whose built-ins lose NaN or accuracy.

// `x != x` is false for NaN on some drivers; the bits tell.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// Not a constant expression, which could not be NaN.
fn quiet_nan() -> f32 {
    var bits = 0x7fc00000u;
    return bitcast<f32>(bits);
}

// As above.
fn infinity() -> f32 {
    var bits = 0x7f800000u;
    return bitcast<f32>(bits);
}

// The nearest number that 16 bits hold, ties to even, infinite from 65520 on: drivers' conversions may round otherwise.
fn nearest_half(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let magnitude = bits & 0x7fffffffu;
    let sign = bits ^ magnitude;
    // 13 bits fewer; the sum carries into the exponent where it must.
    let normal = (magnitude + 0xfffu + ((magnitude >> 13u) & 1u)) & 0xffffe000u;
    // Below 2^-14 the steps are 2^-24 wide.
    let small = bitcast<u32>(round(bitcast<f32>(magnitude) * 16777216.0) * 5.9604645e-8);
    let finite = select(normal, small, magnitude < 0x38800000u);
    let nearest = select(finite, 0x7f800000u, magnitude >= 0x477ff000u);
    return bitcast<f32>(sign | select(nearest, magnitude, magnitude > 0x7f800000u));
}

// e^x; some drivers give infinity for NaN.
fn exponential(x: f32) -> f32 {
    return select(exp(x), x, is_nan(x));
}

// The natural logarithm; some drivers give numbers for 0, for what is below it, and for NaN.
fn logarithm(x: f32) -> f32 {
    let positive = select(log(x), x, is_nan(x) || x == infinity());
    return select(select(positive, -infinity(), x == 0.0), quiet_nan(), x < 0.0);
}

// exp(x) - 1: a series where the subtraction would cancel.
fn expm1(x: f32) -> f32 {
    if (abs(x) < 0.25) {
        return x * (1.0 + x * (0.5 + x * (0.16666667 + x * (0.041666668 + x * (0.008333334 + x * 0.0013888889)))));
    }
    return exponential(x) - 1.0;
}

// log(1 + x): a series near 0, where 1 + x would round.
fn log1p(x: f32) -> f32 {
    if (abs(x) < 0.05) {
        return x * (1.0 - x * (0.5 - x * (0.33333334 - x * (0.25 - x * (0.2 - x * 0.16666667)))));
    }
    return logarithm(1.0 + x);
}

// tanh, accurate relative to its value everywhere.
fn hyperbolic_tangent(x: f32) -> f32 {
    let magnitude = abs(x);
    if (magnitude < 0.3) {
        let s = x * x;
        return x * (1.0 - s * (0.33333334 - s * (0.13333334 - s * (0.053968254 - s * (0.021869488 - s * 0.008863236)))));
    }
    let result = 1.0 - 2.0 / (exponential(2.0 * magnitude) + 1.0);
    return select(sign(x) * result, x, is_nan(x));
}

// 1 - erf(x), with an error of 1.2e-7 relative to the result (Press et al., Numerical Recipes, `erfcc`).
fn error_function_complement(x: f32) -> f32 {
    let z = abs(x);
    let t = 1.0 / (1.0 + 0.5 * z);
    let series = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806
        + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
    let result = t * exponential(-z * z + series);
    return select(result, 2.0 - result, x < 0.0);
}

// erf(x): a series near 0, where 1 - erfc(x) would cancel.
fn error_function(x: f32) -> f32 {
    if (abs(x) < 0.5) {
        let s = x * x;
        return x * (1.1283792 - s * (0.37612638 - s * (0.11283791 - s * (0.026866170 - s * (0.0052239776 - s * 0.00085483272)))));
    }
    return 1.0 - error_function_complement(x);
}

// x^exponent; the built-in is undefined for negative bases.
fn power_of(x: f32, exponent: f32) -> f32 {
    if (exponent == 0.0) { return 1.0; }
    if (is_nan(x)) { return x; }
    if (x == 0.0) { return select(0.0, 1.0 / abs(x), exponent < 0.0); }
    let magnitude = pow(abs(x), exponent);
    if (x > 0.0) { return magnitude; }
    if (floor(exponent) != exponent) { return quiet_nan(); }
    let even = floor(exponent * 0.5) * 2.0 == exponent;
    return select(-magnitude, magnitude, even);
}

// sin(x + quadrant * pi/2): built-ins may be off by 2^-11. Polynomials on the rest of x by pi/2, which is taken off in
// three parts of few bits (Cody and Waite; Cephes, sinf.c); as accurate as f32 up to |x| of 10,000.
fn sine(x: f32, quadrant: f32) -> f32 {
    let turns = round(x * 0.63661977);
    let rest = ((x - turns * 1.5703125) - turns * 4.8375130e-4) - turns * 7.5497900e-8;
    let s = rest * rest;
    let odd = rest + rest * s * (-0.16666655 + s * (8.3321609e-3 - s * 1.9515296e-4));
    let even = 1.0 - 0.5 * s + s * s * (4.1666646e-2 + s * (-1.3887316e-3 + s * 2.4433157e-5));
    let quarter = turns + quadrant;
    let phase = quarter - 4.0 * floor(quarter * 0.25);
    let value = select(odd, even, phase == 1.0 || phase == 3.0);
    return select(value, -value, phase >= 2.0);
}
