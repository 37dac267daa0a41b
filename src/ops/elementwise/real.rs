//! What the text of a row is generic over: [`Real`] numbers.
//!
//! `f64` is the reference. `f32` is what rounding makes of it, which bounds of errors are measured with. [`Lane`] is an
//! `f32` whose functions are those of [`super::series`]: the CPU device's, in a form that vectorises.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::functions::Word;
use super::series;
use crate::array::Float;

/// A number of a row of floats.
pub trait Real:
    Copy
    + PartialOrd
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    /// The constant `value`.
    fn c(value: f64) -> Self;
    /// Whether it is NaN.
    fn is_nan(self) -> bool;
    /// The larger one; the number where the other is NaN.
    fn max(self, other: Self) -> Self;
    /// The power.
    fn powf(self, exponent: Self) -> Self;
    /// Without its sign.
    fn abs(self) -> Self;
    /// The next integer that is not larger.
    fn floor(self) -> Self;
    /// The next integer that is not smaller.
    fn ceil(self) -> Self;
    /// The nearest integer, halves away from 0.
    fn round(self) -> Self;
    /// The next integer towards 0.
    fn trunc(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The sine.
    fn sin(self) -> Self;
    /// The cosine.
    fn cos(self) -> Self;
    /// `e^x`.
    fn exp(self) -> Self;
    /// `e^x - 1`.
    fn exp_m1(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// That of `1 + x`.
    fn ln_1p(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// `1 - erf(x)`.
    fn erfc(self) -> Self;
}

/// Functions of the standard library that take nothing but the number.
macro_rules! of_the_library {
    ($type:ty: $($function:ident),+) => {$(
        #[inline(always)]
        fn $function(self) -> Self {
            <$type>::$function(self)
        }
    )+};
}

macro_rules! library_real {
    ($($type:ty),+) => {$(
        impl Real for $type {
            #[inline(always)]
            fn c(value: f64) -> Self {
                value as $type
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                <$type>::is_nan(self)
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                <$type>::max(self, other)
            }
            #[inline(always)]
            fn powf(self, exponent: Self) -> Self {
                <$type>::powf(self, exponent)
            }
            #[inline(always)]
            fn erf(self) -> Self {
                Float::erf(self)
            }
            #[inline(always)]
            fn erfc(self) -> Self {
                Float::erfc(self)
            }
            of_the_library!($type: abs, floor, ceil, round, trunc, sqrt, sin, cos, exp, exp_m1, ln, ln_1p, tanh);
        }
    )+};
}
library_real!(f32, f64);

/// An `f32` of the CPU device.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub struct Lane(pub f32);

impl Word for Lane {
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        Lane(f32::from_bits(word))
    }
    #[inline(always)]
    fn to_word(self) -> u32 {
        self.0.to_bits()
    }
}

macro_rules! lane_arithmetic {
    ($($operation:ident $function:ident $symbol:tt),+) => {$(
        impl $operation for Lane {
            type Output = Lane;
            #[inline(always)]
            fn $function(self, other: Lane) -> Lane {
                Lane(self.0 $symbol other.0)
            }
        }
    )+};
}
lane_arithmetic!(Add add +, Sub sub -, Mul mul *, Div div /);

impl Neg for Lane {
    type Output = Lane;
    #[inline(always)]
    fn neg(self) -> Lane {
        Lane(-self.0)
    }
}

/// Functions by those of a module or type.
macro_rules! lane_functions {
    ($home:ident: $($function:ident),+) => {$(
        #[inline(always)]
        fn $function(self) -> Self {
            Lane($home::$function(self.0))
        }
    )+};
}

impl Real for Lane {
    #[inline(always)]
    fn c(value: f64) -> Self {
        Lane(value as f32)
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        self.0.is_nan()
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Lane(self.0.max(other.0))
    }
    #[inline(always)]
    fn powf(self, exponent: Self) -> Self {
        Lane(self.0.powf(exponent.0))
    }
    lane_functions!(f32: abs, floor, ceil, round, trunc, sqrt, sin, cos);
    lane_functions!(series: exp, exp_m1, ln, ln_1p, tanh, erf, erfc);
}
