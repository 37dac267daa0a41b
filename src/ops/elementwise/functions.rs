//! Makes the Rust forms of a row from one generic text.

use std::marker::PhantomData;

use crate::vector::{Kernel, Lanes, widest};

/// A number that a row without float functions takes: floats, and integers that wrap.
pub trait Number: Copy + PartialOrd {
    /// Sum.
    fn plus(self, other: Self) -> Self;
    /// Difference.
    fn minus(self, other: Self) -> Self;
    /// Product.
    fn times(self, other: Self) -> Self;
}

macro_rules! float_number {
    ($($type:ty),+) => {$(
        impl Number for $type {
            #[inline(always)]
            fn plus(self, other: Self) -> Self { self + other }
            #[inline(always)]
            fn minus(self, other: Self) -> Self { self - other }
            #[inline(always)]
            fn times(self, other: Self) -> Self { self * other }
        }
    )+};
}
macro_rules! integer_number {
    ($($type:ty),+) => {$(
        impl Number for $type {
            #[inline(always)]
            fn plus(self, other: Self) -> Self { self.wrapping_add(other) }
            #[inline(always)]
            fn minus(self, other: Self) -> Self { self.wrapping_sub(other) }
            #[inline(always)]
            fn times(self, other: Self) -> Self { self.wrapping_mul(other) }
        }
    )+};
}
float_number!(f32, f64);
integer_number!(u32, i32);

/// The words of a block as numbers.
pub trait Word: Copy {
    /// From its bits.
    fn from_word(word: u32) -> Self;
    /// To its bits.
    fn to_word(self) -> u32;
}
impl Word for f32 {
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        f32::from_bits(word)
    }
    #[inline(always)]
    fn to_word(self) -> u32 {
        self.to_bits()
    }
}
impl Word for u32 {
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        word
    }
    #[inline(always)]
    fn to_word(self) -> u32 {
        self
    }
}
impl Word for i32 {
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        word as i32
    }
    #[inline(always)]
    fn to_word(self) -> u32 {
        self as u32
    }
}

/// `out[i] = f(arguments[0][i], …)`, by the widest vectors of the machine.
pub fn map_block<T: Word, R: Word, const N: usize>(arguments: &[&[u32]], out: &mut [u32], f: impl Fn([T; N]) -> R) {
    let arguments = std::array::from_fn(|i| arguments[i]);
    widest(Map { arguments, out, f, types: PhantomData::<fn(T) -> R> });
}

/// A block to be computed.
struct Map<'a, T, R, F, const N: usize> {
    arguments: [&'a [u32]; N],
    out: &'a mut [u32],
    f: F,
    types: PhantomData<fn(T) -> R>,
}

impl<T: Word, R: Word, F: Fn([T; N]) -> R, const N: usize> Kernel for Map<'_, T, R, F, N> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let len = self.out.len();
        let arguments: [&[u32]; N] = std::array::from_fn(|i| &self.arguments[i][..len]);
        for (i, word) in self.out.iter_mut().enumerate() {
            *word = (self.f)(std::array::from_fn(|argument| T::from_word(arguments[argument][i]))).to_word();
        }
    }
}

/// The three Rust forms of a function of floats: `(block, eval64, eval32)`.
macro_rules! float_function {
    ($T:ident, [$($argument:ident),+], $body:expr) => {{
        #[inline(always)]
        fn eval<$T: $crate::ops::elementwise::real::Real>([$($argument),+]: [$T; float_function!(@count $($argument)+)]) -> $T {
            $body
        }
        const COUNT: usize = float_function!(@count $($argument)+);
        fn block(_: $crate::dtype::DType, arguments: &[&[u32]], out: &mut [u32]) {
            use $crate::ops::elementwise::{functions::map_block, real::Lane};
            map_block::<Lane, Lane, COUNT>(arguments, out, eval::<Lane>)
        }
        fn eval64(arguments: &[f64]) -> f64 {
            eval(std::array::from_fn::<f64, COUNT, _>(|i| arguments[i]))
        }
        fn eval32(arguments: &[f32]) -> f32 {
            eval(std::array::from_fn::<f32, COUNT, _>(|i| arguments[i]))
        }
        (block as _, eval64 as _, eval32 as _)
    }};
    (@count $($x:ident)+) => { [$(float_function!(@unit $x)),+].len() };
    (@unit $x:ident) => { () };
}

/// The forms of a function of two numbers of any type.
macro_rules! number_function {
    ($T:ident, [$a:ident, $b:ident], $body:expr) => {{
        #[inline(always)]
        fn eval<$T: $crate::ops::elementwise::functions::Number>([$a, $b]: [$T; 2]) -> $T {
            $body
        }
        fn block(dtype: $crate::dtype::DType, arguments: &[&[u32]], out: &mut [u32]) {
            use $crate::dtype::DType;
            use $crate::ops::elementwise::functions::map_block;
            match dtype {
                DType::U32 => map_block::<u32, u32, 2>(arguments, out, eval::<u32>),
                DType::I32 => map_block::<i32, i32, 2>(arguments, out, eval::<i32>),
                _ => map_block::<f32, f32, 2>(arguments, out, eval::<f32>),
            }
        }
        fn eval64(arguments: &[f64]) -> f64 {
            eval([arguments[0], arguments[1]])
        }
        fn eval32(arguments: &[f32]) -> f32 {
            eval([arguments[0], arguments[1]])
        }
        (block as _, eval64 as _, eval32 as _)
    }};
}

/// The forms of a comparison of two numbers of any type; the result is 0 or 1.
macro_rules! compare_function {
    ([$a:ident, $b:ident], $body:expr) => {{
        #[inline(always)]
        fn eval<T: PartialOrd + Copy>([$a, $b]: [T; 2]) -> u32 {
            u32::from($body)
        }
        fn block(dtype: $crate::dtype::DType, arguments: &[&[u32]], out: &mut [u32]) {
            use $crate::dtype::DType;
            use $crate::ops::elementwise::functions::map_block;
            match dtype {
                DType::U32 => map_block::<u32, u32, 2>(arguments, out, eval::<u32>),
                DType::I32 => map_block::<i32, u32, 2>(arguments, out, eval::<i32>),
                _ => map_block::<f32, u32, 2>(arguments, out, eval::<f32>),
            }
        }
        fn eval64(arguments: &[f64]) -> f64 {
            f64::from(eval([arguments[0], arguments[1]]))
        }
        fn eval32(arguments: &[f32]) -> f32 {
            eval([arguments[0], arguments[1]]) as f32
        }
        (block as _, eval64 as _, eval32 as _)
    }};
}

/// The forms of the question whether a float is a number and not infinite; the result is 0 or 1.
macro_rules! finite_function {
    () => {{
        fn block(_: $crate::dtype::DType, arguments: &[&[u32]], out: &mut [u32]) {
            $crate::ops::elementwise::functions::map_block::<f32, u32, 1>(arguments, out, |[x]| {
                u32::from(x.is_finite())
            })
        }
        fn eval64(arguments: &[f64]) -> f64 {
            f64::from(u8::from(arguments[0].is_finite()))
        }
        fn eval32(arguments: &[f32]) -> f32 {
            f32::from(u8::from(arguments[0].is_finite()))
        }
        (block as _, eval64 as _, eval32 as _)
    }};
}

/// The forms of a conversion to `$target`.
macro_rules! cast_function {
    ($target:ty) => {{
        fn block(dtype: $crate::dtype::DType, arguments: &[&[u32]], out: &mut [u32]) {
            use $crate::dtype::DType;
            use $crate::ops::elementwise::functions::map_block;
            match dtype {
                DType::U32 => map_block::<u32, $target, 1>(arguments, out, |[x]| x as $target),
                DType::I32 => map_block::<i32, $target, 1>(arguments, out, |[x]| x as $target),
                _ => map_block::<f32, $target, 1>(arguments, out, |[x]| x as $target),
            }
        }
        fn eval64(arguments: &[f64]) -> f64 {
            // A cast to f32 keeps the reference's precision.
            if stringify!($target) == "f32" { arguments[0] } else { arguments[0] as $target as f64 }
        }
        fn eval32(arguments: &[f32]) -> f32 {
            arguments[0] as $target as f32
        }
        (block as _, eval64 as _, eval32 as _)
    }};
}

/// The forms of the conversion to the nearest `f16`. The reference keeps its precision: one rounding is the tolerance.
macro_rules! half_function {
    () => {{
        fn block(_: $crate::dtype::DType, arguments: &[&[u32]], out: &mut [u32]) {
            let nearest = |[x]: [f32; 1]| half::f16::from_f32(x).to_f32();
            $crate::ops::elementwise::functions::map_block::<f32, f32, 1>(arguments, out, nearest)
        }
        fn eval64(arguments: &[f64]) -> f64 {
            arguments[0]
        }
        fn eval32(arguments: &[f32]) -> f32 {
            arguments[0]
        }
        (block as _, eval64 as _, eval32 as _)
    }};
}

/// The forms of `condition ? a : b`.
macro_rules! select_function {
    () => {{
        fn block(_: $crate::dtype::DType, arguments: &[&[u32]], out: &mut [u32]) {
            $crate::ops::elementwise::functions::map_block::<u32, u32, 3>(arguments, out, |[condition, a, b]| {
                if condition != 0 { a } else { b }
            })
        }
        fn eval64(arguments: &[f64]) -> f64 {
            if arguments[0] != 0.0 { arguments[1] } else { arguments[2] }
        }
        fn eval32(arguments: &[f32]) -> f32 {
            if arguments[0] != 0.0 { arguments[1] } else { arguments[2] }
        }
        (block as _, eval64 as _, eval32 as _)
    }};
}

pub(super) use {
    cast_function, compare_function, finite_function, float_function, half_function, number_function, select_function,
};
