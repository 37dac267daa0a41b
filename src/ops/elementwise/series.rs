//! Functions of `f32` without branches or calls, so that a loop over them vectorises: the CPU device's.
//!
//! Errors are at most 2 units in the last place, 4 for the error functions, 9 for `erfc` between 0 and 1. Infinities, NaN,
//! zeros with their sign and numbers below the normal ones come out as from the standard library. Nothing is contracted,
//! so the bits are those of every width of vectors.
//!
//! Sources: Moshier, Cephes Mathematical Library 2.2, single precision (`expf.c`, `logf.c`, `tanhf.c`, `ndtrf.c`: ranges
//! and coefficients); Muller, "Elementary Functions", 3rd edition, 2016 (the argument of `exp` less multiples of ln 2 in
//! two parts; what `1 + x` loses put back in `ln_1p`); Cody, CALERF, 1990 (exp(-x²) by the rounded x, whose square is
//! exact, and the rest).

use std::f32::consts::{FRAC_2_SQRT_PI, LOG2_E};

// Cephes rounds ln 2 to ten bits, so that its products with the exponents of floats are exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Added to a small number it leaves an integer in the lowest bits: 1.5·2^23.
const WHOLE: f32 = 12_582_912.0;

#[inline(always)]
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits((exponent.wrapping_add(127) as u32) << 23)
}

/// The polynomial with `coefficients`, that of the highest power first.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[0];
    for &coefficient in &coefficients[1..] {
        sum = sum * x + coefficient;
    }
    sum
}

/// For x = n·ln 2 + r: n, r and exp(r) - 1 - r.
#[inline(always)]
fn reduced(x: f32) -> (i32, f32, f32) {
    let shifted = x * LOG2_E + WHOLE;
    let n = shifted - WHOLE;
    let rest = (x - n * LN2_HIGH) - n * LN2_LOW;
    let coefficients = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];
    let series = polynomial(rest, coefficients) * (rest * rest);
    (shifted.to_bits().wrapping_sub(WHOLE.to_bits()) as i32, rest, series)
}

/// NaN stays NaN.
#[inline(always)]
fn between(low: f32, high: f32, x: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// `e^x`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond, it is 0 or infinite.
    let (n, rest, series) = reduced(between(-104.0, 89.0, x));
    // Two factors, since 2^n may be no normal number; the second rounds.
    let half = n >> 1;
    ((series + rest) + 1.0) * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// `e^x - 1`.
#[inline(always)]
pub fn exp_m1(x: f32) -> f32 {
    // Below, it is -1.
    let (n, rest, series) = reduced(between(-30.0, 60.0, x));
    let scale = power_of_two(n);
    let result = scale * (series + rest) + (scale - 1.0);
    let result = if x > 60.0 { exp(x) } else { result };
    if x == 0.0 { x } else { result }
}

/// The natural logarithm.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    let below_normal = x < f32::MIN_POSITIVE;
    let bits = (if below_normal { x * 8_388_608.0 } else { x }).to_bits();
    // x = 2^n·(1 + m) with 1 + m from √½, whose bits these are, to √2.
    let n = (bits.wrapping_sub(0x3f35_04f3) as i32) >> 23;
    let m = f32::from_bits(bits.wrapping_sub((n as u32) << 23)) - 1.0;
    let n = n as f32 - if below_normal { 23.0 } else { 0.0 };
    let coefficients = [
        7.037_683_6e-2,
        -0.115_146_1,
        0.116_769_99,
        -0.124_201_41,
        0.142_493_23,
        -0.166_680_58,
        0.200_007_15,
        -0.249_999_94,
        0.333_333_3,
    ];
    let square = m * m;
    let series = polynomial(m, coefficients) * m * square;
    let result = (m + ((series + n * LN2_LOW) - 0.5 * square)) + n * LN2_HIGH;
    let result = if x == f32::INFINITY { x } else { result };
    let result = if x == 0.0 { f32::NEG_INFINITY } else { result };
    if x >= 0.0 { result } else { f32::NAN }
}

/// The natural logarithm of `1 + x`.
#[inline(always)]
pub fn ln_1p(x: f32) -> f32 {
    let sum = 1.0 + x;
    let logarithm = ln(sum);
    let lost = (x - (sum - 1.0)) / sum;
    let result = if sum > 0.0 && sum < f32::INFINITY { logarithm + lost } else { logarithm };
    if x == 0.0 { x } else { result }
}

/// The hyperbolic tangent.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let (size, square) = (x.abs(), x * x);
    let coefficients = [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 0.133_314_42, -0.333_332_8];
    let near = polynomial(square, coefficients) * square * x + x;
    let far = (1.0 - 2.0 / (exp(2.0 * size) + 1.0)).copysign(x);
    let result = if size < 0.625 { near } else { far };
    if x == 0.0 { x } else { result }
}

/// `erf(x)` for x between -1 and 1.
#[inline(always)]
fn erf_near(x: f32) -> f32 {
    let coefficients =
        [7.853_861e-5, -8.010_194e-4, 5.188_327_6e-3, -2.685_381_2e-2, 0.112_835_85, -0.376_126_26, FRAC_2_SQRT_PI];
    x * polynomial(x * x, coefficients)
}

/// `erfc(x)` for x from 1 on.
#[inline(always)]
fn erfc_far(x: f32) -> f32 {
    // Beyond, it is 0.
    let x = if x > 11.0 { 11.0 } else { x };
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let below_2 = [
        2.326_819_9e-2,
        -0.138_703_94,
        0.368_742_47,
        -0.582_473_3,
        0.621_000_46,
        -0.494_451_53,
        0.340_488,
        -0.274_112_7,
        0.563_825_94,
    ];
    let from_2 =
        [-10.477_664, 12.977_2, -7.495_518_7, 2.921_019, -1.015_265_3, 0.421_846_34, -0.282_076_74, 0.564_189_5];
    let (below_2, from_2) = (polynomial(square, below_2), polynomial(square, from_2));
    // exp(-x²) = exp(-h²)·exp((h - x)(h + x)) for h of twelve bits, whose square is exact.
    let high = f32::from_bits(x.to_bits() & 0xffff_f000);
    let rest = (high - x) * (high + x);
    let factor = polynomial(rest, [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0]);
    exp(-(high * high)) * factor * inverse * if x < 2.0 { below_2 } else { from_2 }
}

/// The error function.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let size = x.abs();
    let far = (1.0 - erfc_far(size)).copysign(x);
    if size < 1.0 { erf_near(x) } else { far }
}

/// `1 - erf(x)`.
#[inline(always)]
pub fn erfc(x: f32) -> f32 {
    let far = erfc_far(x.abs());
    let far = if x < 0.0 { 2.0 - far } else { far };
    if x.abs() < 1.0 { 1.0 - erf_near(x) } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, function, what it must be, and so many steps it may be off, within 0 and 1 and elsewhere.
    type Case = (&'static str, fn(f32) -> f32, fn(f64) -> f64, [f64; 2]);
    const CASES: &[Case] = &[
        ("exp", exp, f64::exp, [1.0; 2]),
        ("exp_m1", exp_m1, f64::exp_m1, [2.0; 2]),
        ("ln", ln, f64::ln, [1.0; 2]),
        ("ln_1p", ln_1p, f64::ln_1p, [2.0; 2]),
        ("tanh", tanh, f64::tanh, [2.0; 2]),
        ("erf", erf, libm::erf, [4.0; 2]),
        ("erfc", erfc, libm::erfc, [9.0, 4.0]),
    ];

    fn most(of: &[f64; 2], x: f32) -> f64 {
        of[usize::from(!(0.0..=1.0).contains(&x))]
    }

    /// How many steps of floats of the size of `wanted` lie between the two.
    fn steps(found: f32, wanted: f64) -> f64 {
        let rounded = (wanted as f32).abs();
        if found == wanted as f32 || (found.is_nan() && wanted.is_nan()) {
            return 0.0;
        }
        let next = f32::from_bits(rounded.to_bits() + 1);
        (f64::from(found) - wanted).abs() / f64::from(next - rounded)
    }

    #[test]
    fn errors_are_what_they_are_said_to_be() {
        for (name, function, exact, most) in CASES {
            for bits in (0..u32::MAX - 40_009).step_by(40_009) {
                let x = f32::from_bits(bits);
                let (found, wanted) = (function(x), exact(f64::from(x)));
                let error = steps(found, wanted);
                assert!(error <= self::most(most, x), "{name}({x:e}) = {found:e}, {error} steps from {wanted:e}");
            }
        }
    }

    #[test]
    fn special_numbers_are_exact() {
        let special = [0.0, f32::INFINITY, f32::NAN, 1e-45, 1e-39, f32::MIN_POSITIVE, f32::MAX, 1.0, 89.0, 104.5];
        for x in special.into_iter().flat_map(|x| [x, -x]) {
            for (name, function, exact, most) in CASES {
                let (found, wanted) = (function(x), exact(f64::from(x)) as f32);
                let same = found.to_bits() == wanted.to_bits() || (found.is_nan() && wanted.is_nan());
                let ordinary = wanted.is_finite() && wanted != 0.0 && x.is_finite();
                let close = ordinary && steps(found, exact(f64::from(x))) <= self::most(most, x);
                assert!(same || close, "{name}({x:e}) = {found:e}, not {wanted:e}");
            }
        }
    }
}
