//! Samples: the inputs on which every operation is tested, with the error they may show and why.

use std::sync::Arc;

use super::Op;
use crate::array::Array;
use crate::dtype::DType;
use crate::error::ErrorKind;

/// One test of one operation; devices, gradients and the command `check` all run it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What is special about it.
    pub name: String,
    /// The operation.
    pub op: Arc<dyn Op>,
    /// What it is applied to.
    pub inputs: Vec<Array>,
    /// How far an f32 device may be from the f64 reference.
    pub tolerance: Tolerance,
    /// What must happen.
    pub expect: Expect,
    /// Whether the gradient is compared with central differences; where the function is not smooth, with the slopes of its
    /// two sides.
    pub smooth: bool,
    /// Why the gradient is no slope at all, if so.
    pub convention: Option<&'static str>,
}

/// What a sample must give.
#[derive(Clone, Debug)]
pub enum Expect {
    /// What the reference computes.
    Reference,
    /// An error of this kind from `infer`, whose text contains these words.
    Error(ErrorKind, &'static str),
}

/// `|device - reference| <= absolute + relative * |reference|`.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Allowed anywhere.
    pub absolute: f64,
    /// Allowed in proportion to the reference.
    pub relative: f64,
    /// Why these numbers.
    pub reason: &'static str,
}

impl Tolerance {
    /// Bit for bit.
    pub const EXACT: Tolerance = Tolerance { absolute: 0.0, relative: 0.0, reason: "moves or compares, never rounds" };

    /// For a handful of correctly rounded operations.
    pub const ROUNDED: Tolerance = Tolerance {
        absolute: 1e-30,
        relative: 4e-7,
        reason: "a few roundings of 6e-8 each; some drivers flush denormals",
    };

    /// For one rounding to `f16`.
    pub const HALF: Tolerance = Tolerance {
        absolute: 6.2e-5,
        relative: 4.9e-4,
        reason: "one rounding to f16: 2^-11 of the value; some drivers flush what is below 2^-14",
    };

    /// For sums of `count` terms, or products of two factors, up to 1 in magnitude. Each addition rounds in proportion to the
    /// partial sum, which grows like `√count`; so the error of a plain loop grows like `count`: its standard deviation is
    /// 1.1e-8 of it, measured on even terms. This is six of them. A missing term (about 0.3) is a thousand times larger at 5,000.
    pub fn sum(count: usize) -> Tolerance {
        let absolute = 6e-8 * (8.0 + count as f64);
        Tolerance { absolute, relative: 1e-6, reason: "f32 sum in any order: six standard deviations of its rounding" }
    }
}

impl Sample {
    /// A smooth sample that must give what the reference computes.
    pub fn new(name: impl Into<String>, op: impl Op, inputs: Vec<Array>, tolerance: Tolerance) -> Self {
        let (expect, smooth, convention) = (Expect::Reference, true, None);
        Sample { name: name.into(), op: Arc::new(op), inputs, tolerance, expect, smooth, convention }
    }

    /// A sample that `infer` must refuse with these words.
    pub fn error(
        name: impl Into<String>,
        op: impl Op,
        inputs: Vec<Array>,
        kind: ErrorKind,
        words: &'static str,
    ) -> Self {
        Sample { expect: Expect::Error(kind, words), ..Sample::new(name, op, inputs, Tolerance::EXACT) }
    }

    /// The same with floats stored as `f16`. The reference is that of the rounded inputs, so all that is added to the tolerance
    /// is one rounding of the result; nothing where the result is one of the inputs.
    #[must_use]
    pub fn in_half(mut self) -> Self {
        self.name += ", f16";
        for input in self.inputs.iter_mut().filter(|input| input.dtype().is_float()) {
            *input = input.cast(DType::F16);
        }
        if self.tolerance.absolute > 0.0 {
            self.tolerance.absolute += Tolerance::HALF.absolute;
            self.tolerance.relative += Tolerance::HALF.relative;
            self.tolerance.reason = "as in f32, and one rounding to f16: 2^-11 of the value";
        }
        self
    }

    /// Compares the gradient with the slopes of the two sides, where the function has no derivative: it must lie between them.
    #[must_use]
    pub fn not_smooth(mut self) -> Self {
        self.smooth = false;
        self
    }

    /// Compares the gradient with no slope: it is what PyTorch has agreed on, for this reason.
    #[must_use]
    pub fn by_convention(mut self, reason: &'static str) -> Self {
        (self.smooth, self.convention) = (false, Some(reason));
        self
    }
}

impl Sample {
    /// Test data: `f32` drawn evenly from `low..high`, the same for equal arguments.
    pub fn uniform(shape: &[usize], low: f64, high: f64, seed: u64) -> Array {
        let mut stream = crate::random::Stream::new(seed, "sample");
        Array::from_fn(shape, |_| (low + (high - low) * f64::from(stream.uniform())) as f32)
    }
}
