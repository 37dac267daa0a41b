//! Numbers with the error that a device may make: every function moves its arguments by their errors and sees what comes
//! of it, so cancellation, steep functions and decisions near a jump are all allowed what they must be, and no more.
//!
//! A comparison that could go either way has an error of 1, a choice by it the distance of the alternatives. An error that
//! is infinite says that nothing can be known. What is read from memory has none: it is what the device reads.

use crate::dtype::DType;
use crate::graph::Tolerance;
use crate::ops::elementwise::{Row, Signature};

/// Half of the distance between 1 and the next `f32`: what one rounding does at most, relative to the result.
pub(super) const ROUNDING: f64 = 1.0 / (1 << 24) as f64;
/// What one rounding to `f16` does at most.
const HALF_ROUNDING: f64 = 1.0 / (1 << 11) as f64;
/// The largest `f32`; what is nearly as large may overflow on one device and not on another.
pub(super) const LARGEST: f64 = f32::MAX as f64;
/// The smallest normal `f32` and `f16`: drivers may take what is below for zero.
pub(super) const SMALLEST: f64 = f32::MIN_POSITIVE as f64;
const SMALLEST_HALF: f64 = 1.0 / (1 << 14) as f64;

/// A number in `f64`, and how far from it a device may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    pub value: f64,
    /// Infinite where the device may give anything.
    pub error: f64,
}

impl Number {
    /// What every device has alike.
    pub fn exact(value: f64) -> Self {
        Number { value, error: 0.0 }
    }

    /// An element in memory, by its bits: exact, unless a driver may take it for zero.
    pub fn stored(value: f64, dtype: DType) -> Self {
        let smallest = match dtype {
            DType::F32 => SMALLEST,
            DType::F16 => SMALLEST_HALF,
            _ => 0.0,
        };
        Number { value, error: if value.abs() < smallest { value.abs() } else { 0.0 } }
    }

    /// A result of arithmetic in `f32`: infinite beyond its range, unknown near the ends of it.
    pub fn in_f32(self) -> Self {
        let Number { value, error } = self;
        if !value.is_finite() {
            return Number { value, error: if error.is_nan() { f64::INFINITY } else { error } };
        }
        let (magnitude, doubt) = (value.abs(), error + 1e-5 * LARGEST);
        if magnitude + doubt < LARGEST {
            return self;
        }
        if magnitude - doubt > LARGEST {
            return Number::exact(f64::INFINITY.copysign(value));
        }
        Number { value, error: if error.is_nan() || magnitude + error > LARGEST { f64::INFINITY } else { error } }
    }

    /// After it was rounded to memory of `dtype`.
    pub fn rounded(self, dtype: DType) -> Self {
        let Number { value, error } = self;
        if !value.is_finite() || error.is_infinite() {
            return self;
        }
        match dtype {
            DType::F32 if f64::from(value as f32) == value => self,
            DType::F32 => Number { value, error: error + ROUNDING * value.abs() + SMALLEST },
            DType::F16 => {
                let nearest = |value: f64| half::f16::from_f64(value).to_f64();
                let ends = [nearest(value - error), nearest(value + error)];
                if ends[0].is_infinite() && ends[0] == ends[1] {
                    return Number::exact(ends[0]);
                }
                if ends.iter().any(|end| end.is_infinite()) {
                    return Number { value, error: f64::INFINITY };
                }
                if nearest(value) == value && error == 0.0 {
                    return Number::stored(value, dtype);
                }
                // The device rounds a number that is off by the error already.
                let rounding = HALF_ROUNDING * (value.abs() + error) + 1.0 / (1 << 25) as f64;
                let flushed = if value.abs() - error < SMALLEST_HALF { SMALLEST_HALF } else { 0.0 };
                Number { value, error: error + rounding + flushed }
            }
            _ => self,
        }
    }
}

/// How far `moved` is from `center`: zero for two NaN or equal infinities, infinite where one is no finite number.
pub(super) fn deviation(center: f64, moved: f64) -> f64 {
    if center == moved || center.is_nan() && moved.is_nan() {
        return 0.0;
    }
    let distance = (center - moved).abs();
    if distance.is_nan() { f64::INFINITY } else { distance }
}

/// The number of arguments that a function may have.
pub(super) const ARGUMENTS: usize = 8;

/// What long sums are mostly made of, whose errors are known without trying.
#[derive(Clone, Copy)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
}

impl Arithmetic {
    /// `None` for other functions, and for integers.
    pub fn of(row: &Row, dtype: DType) -> Option<Self> {
        match row.function.name {
            _ if !dtype.is_float() => None,
            "add" => Some(Arithmetic::Add),
            "sub" => Some(Arithmetic::Sub),
            "mul" => Some(Arithmetic::Mul),
            _ => None,
        }
    }

    /// As [`apply`] does; `None` near what is no finite number.
    pub fn apply(self, a: Number, b: Number) -> Option<Number> {
        let (value, error) = match self {
            Arithmetic::Add => (a.value + b.value, a.error + b.error),
            Arithmetic::Sub => (a.value - b.value, a.error + b.error),
            Arithmetic::Mul => (a.value * b.value, a.value.abs() * b.error + b.value.abs() * a.error),
        };
        let Tolerance { absolute, relative, .. } = Tolerance::ROUNDED;
        let number = Number { value, error: error + absolute + relative * value.abs() };
        (number.value.abs() + number.error < 0.5 * LARGEST).then_some(number)
    }
}

/// A function of the table, applied to numbers; `dtype` is the type of its last argument.
pub(super) fn apply(row: &Row, dtype: DType, arguments: &[Number]) -> Number {
    let mut values = [0.0; ARGUMENTS];
    values.iter_mut().zip(arguments).for_each(|(value, argument)| *value = argument.value);
    let values = &mut values[..arguments.len()];
    let function =
        |values: &[f64]| if dtype.is_float() { (row.eval64)(values) } else { of_integers(row, dtype, values) };
    let value = function(values);
    let mut error = if dtype.is_float() { accuracy(row, values, value) } else { rounding_of_integer(row, value) };
    for (i, argument) in arguments.iter().enumerate().filter(|(_, argument)| argument.error > 0.0) {
        if argument.error.is_infinite() {
            // Anything: found out by what is largest, smallest, and no number.
            for extreme in [f64::INFINITY, -f64::INFINITY, f64::NAN, 0.0] {
                values[i] = extreme;
                error = error.max(deviation(value, function(values)));
            }
        } else {
            let mut largest: f64 = 0.0;
            for moved in [argument.value + argument.error, argument.value - argument.error] {
                values[i] = moved;
                largest = largest.max(deviation(value, function(values)));
            }
            error += largest;
        }
        values[i] = argument.value;
    }
    let number = Number { value, error };
    match row.signature {
        Signature::Compare | Signature::Classify => number,
        Signature::Cast(target) if !target.is_float() => number,
        Signature::Cast(DType::F16) => overflow_of_half(number),
        _ if dtype.is_float() => number.in_f32(),
        _ => number,
    }
}

/// How far a device's function may be from the exact one at exact arguments.
fn accuracy(row: &Row, values: &[f64], value: f64) -> f64 {
    let Tolerance { absolute, relative, .. } = row.samples.tolerance;
    let size = if value.is_finite() { value.abs() } else { 0.0 };
    match row.function.name {
        // WGSL allows 3 + 2|x| units in the last place, at any size of the result.
        "exp" => return (relative + 2.0 * ROUNDING * 2.0 * values[0].abs().min(1e3)) * size + SMALLEST,
        // exp2(y·log2(x)): the logarithm's error grows with the exponent.
        "pow" | "power" if size > 0.0 => {
            let logarithm = values[0].abs().log2().abs();
            let logarithm = if logarithm.is_finite() { logarithm } else { 0.0 };
            return (relative + values[1].abs().min(1e6) * (5e-7 + 4e-7 * logarithm)) * size + absolute;
        }
        _ => {}
    }
    let mut error = absolute + relative * size;
    let plain = Tolerance::ROUNDED;
    if absolute > plain.absolute || relative > plain.relative {
        // What rounding does within the function, far from where it is tested too.
        let mut rounded = [0f32; ARGUMENTS];
        rounded.iter_mut().zip(values).for_each(|(rounded, &value)| *rounded = value as f32);
        let single = &rounded[..values.len()];
        let mut double = [0.0; ARGUMENTS];
        double.iter_mut().zip(single).for_each(|(double, &single)| *double = f64::from(single));
        // Infinite where something overflows on the way to a result that does not.
        error += 4.0 * deviation((row.eval64)(&double[..values.len()]), f64::from((row.eval32)(single)));
    }
    error
}

/// The CPU device's form works on words and so wraps as integers do.
fn of_integers(row: &Row, dtype: DType, values: &[f64]) -> f64 {
    let mut words = [[0u32]; ARGUMENTS];
    words.iter_mut().zip(values).for_each(|(word, &value)| word[0] = integer_word(value, dtype));
    let mut arguments: [&[u32]; ARGUMENTS] = [&[]; ARGUMENTS];
    arguments.iter_mut().zip(&words).for_each(|(argument, word)| *argument = word);
    let mut result = [0u32];
    (row.function.block)(dtype, &arguments[..values.len()], &mut result);
    let result_type = match row.signature {
        Signature::Cast(target) => target,
        Signature::Compare | Signature::Classify => DType::U32,
        _ => dtype,
    };
    word_value(result[0], result_type)
}

/// Integers of more than 24 bits are rounded where they become floats.
fn rounding_of_integer(row: &Row, value: f64) -> f64 {
    let to_float = matches!(row.signature, Signature::Cast(target) if target.is_float());
    if to_float && value.abs() > (1 << 24) as f64 { 2.0 * ROUNDING * value.abs() } else { 0.0 }
}

fn overflow_of_half(number: Number) -> Number {
    let Number { value, error } = number;
    let nearest = |value: f64| half::f16::from_f64(value).to_f64();
    let (low, high) = (nearest(value - error), nearest(value + error));
    match (low.is_infinite(), high.is_infinite()) {
        (true, true) if low == high => Number::exact(low),
        (false, false) => number,
        _ if value.is_infinite() => number,
        _ => Number { value, error: f64::INFINITY },
    }
}

fn integer_word(value: f64, dtype: DType) -> u32 {
    if dtype == DType::I32 { value as i32 as u32 } else { value as u32 }
}

/// A 32-bit word as a number of `dtype`.
pub(super) fn word_value(word: u32, dtype: DType) -> f64 {
    match dtype {
        DType::U32 => f64::from(word),
        DType::I32 => f64::from(word as i32),
        _ => f64::from(f32::from_bits(word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::elementwise::row_named;

    impl Number {
        /// Whether a device may have this value.
        pub fn allows(&self, value: f64) -> bool {
            deviation(self.value, value) <= self.error
        }
    }

    fn of(name: &str, arguments: &[(f64, f64)]) -> Number {
        let arguments: Vec<Number> = arguments.iter().map(|&(value, error)| Number { value, error }).collect();
        apply(row_named(name).unwrap(), DType::F32, &arguments)
    }

    #[test]
    fn errors_follow_the_function() {
        let difference = of("sub", &[(1.0, 1e-3), (1.0, 2e-3)]);
        assert!((difference.error - 3e-3).abs() < 1e-6, "{difference:?}");
        // Steep, flat, and cut off.
        assert!(of("exp", &[(5.0, 1e-3)]).error > 0.14);
        assert!(of("relu", &[(-1.0, 1e-3)]).error == 0.0);
        assert!(of("relu", &[(-1e-4, 1e-3)]).allows(9e-4));
    }

    #[test]
    fn arithmetic_is_what_the_function_is() {
        let (a, b) = (Number { value: 1.5, error: 1e-3 }, Number { value: -2.0, error: 1e-4 });
        for name in ["add", "sub", "mul"] {
            let row = row_named(name).unwrap();
            let quick = Arithmetic::of(row, DType::F32).unwrap();
            let (quick, slow) = (quick.apply(a, b).unwrap(), apply(row, DType::F32, &[a, b]));
            assert!(quick.value == slow.value && (quick.error - slow.error).abs() < 1e-12, "{quick:?} {slow:?}");
        }
        let largest = Number::exact(3e38);
        assert_eq!(Arithmetic::Add.apply(largest, largest), None);
        assert!(Arithmetic::of(row_named("add").unwrap(), DType::U32).is_none());
    }

    #[test]
    fn decisions_that_could_go_either_way_allow_both() {
        assert_eq!(of("gt", &[(1.0, 0.0), (1.0, 0.0)]), Number::exact(0.0));
        let close = of("gt", &[(1.0, 1e-6), (1.0, 0.0)]);
        assert!(close.allows(0.0) && close.allows(1.0));
        let chosen = of("select", &[(close.value, close.error), (7.0, 0.0), (3.0, 0.0)]);
        assert!(chosen.allows(7.0) && chosen.allows(3.0));
        assert!(!of("select", &[(1.0, 0.0), (7.0, 0.0), (3.0, 0.0)]).allows(3.0));
    }

    #[test]
    fn numbers_beyond_the_range_are_infinite_and_near_its_end_unknown() {
        assert_eq!(of("mul", &[(1e30, 0.0), (1e30, 0.0)]).value, f64::INFINITY);
        assert!(of("mul", &[(3.402e38, 1e36), (1.0, 0.0)]).error.is_infinite());
        assert!(Number { value: 65519.0, error: 2.0 }.rounded(DType::F16).error.is_infinite());
        assert_eq!(Number { value: 7e4, error: 2.0 }.rounded(DType::F16).value, f64::INFINITY);
    }

    #[test]
    fn integers_wrap() {
        let most = Number::exact(f64::from(u32::MAX));
        let row = row_named("mul").unwrap();
        assert_eq!(apply(row, DType::U32, &[most, most]), Number::exact(1.0));
        assert_eq!(
            apply(row_named("sub").unwrap(), DType::I32, &[Number::exact(-1.0), Number::exact(1.0)]).value,
            -2.0
        );
    }
}
