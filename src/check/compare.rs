//! How far an array is from what it should be.

use std::fmt;

use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Tolerance;
use crate::shape::unravel;

/// The worst element of an array, judged by a tolerance.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What was compared.
    pub name: String,
    /// The error of the worst element in units of what is allowed: right up to 1. Infinite where nothing is allowed.
    pub worst: f64,
    /// Where the worst element is.
    pub index: Vec<usize>,
    /// What was found there.
    pub got: f64,
    /// What should be there.
    pub want: f64,
    /// What was allowed.
    pub tolerance: Tolerance,
}

impl Comparison {
    /// Whether every element is within the tolerance.
    pub fn is_right(&self) -> bool {
        self.worst <= 1.0
    }

    /// Nothing, when every element is within the tolerance.
    ///
    /// # Errors
    /// [`ErrorKind::Parity`] with the worst element otherwise.
    pub fn verdict(&self) -> Result<()> {
        if self.is_right() { Ok(()) } else { Err(Error::new(ErrorKind::Parity, self.to_string())) }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { name, worst, index, got, want, tolerance } = self;
        let Tolerance { absolute, relative, reason } = tolerance;
        write!(f, "{name}{index:?} is {got:e}, should be {want:e}: {worst:.3} of the allowed ")?;
        write!(f, "{absolute:.1e} + {relative:.1e}·|{want:.3e}| ({reason})")
    }
}

/// Compares `got` with `want`, element by element: `|got - want| <= absolute + relative · |want|`.
///
/// A NaN must meet a NaN, an infinity an infinity of the same sign; what the type of `got` cannot hold counts as infinite. Integers must be equal. Zeros of both signs are equal. No elements are all right, with `worst` 0.
///
/// # Errors
/// [`ErrorKind::Parity`] when the shapes differ, or one is of floats and the other is not.
pub fn compare(name: &str, got: &Array, want: &Array, tolerance: Tolerance) -> Result<Comparison> {
    compare_each(name, got, want, &|_| tolerance)
}

/// As [`compare`], with a tolerance of its own for each element, by its row-major place.
///
/// # Errors
/// As [`compare`].
pub(super) fn compare_each(
    name: &str,
    got: &Array,
    want: &Array,
    tolerance: &dyn Fn(usize) -> Tolerance,
) -> Result<Comparison> {
    let alike = got.dtype() == want.dtype() || got.dtype().is_float() && want.dtype().is_float();
    if got.shape() != want.shape() || !alike {
        let (got_type, want_type) = (got.dtype(), want.dtype());
        let message = format!("{name} is {got_type}{:?}, should be {want_type}{:?}", got.shape(), want.shape());
        return Err(Error::new(ErrorKind::Parity, message));
    }
    let exact = !got.dtype().is_float();
    let dtype = got.dtype();
    let mut worst = (0.0, 0);
    let (got_elements, want_elements) = (got.to_f64_vec(), want.to_f64_vec());
    for (i, (&got, &want)) in got_elements.iter().zip(&want_elements).enumerate() {
        let error = if exact && got != want { f64::INFINITY } else { units(got, want, dtype, tolerance(i)) };
        if i == 0 || error > worst.0 {
            worst = (error, i);
        }
    }
    let element = |elements: &[f64]| elements.get(worst.1).copied().unwrap_or(0.0);
    Ok(Comparison {
        name: name.to_owned(),
        worst: worst.0,
        index: if got.is_empty() { Vec::new() } else { unravel(worst.1, got.shape()) },
        got: element(&got_elements),
        want: element(&want_elements),
        tolerance: tolerance(worst.1),
    })
}

/// The error of one element in units of what is allowed.
fn units(got: f64, want: f64, dtype: DType, tolerance: Tolerance) -> f64 {
    let nearest = match dtype {
        DType::F32 => f64::from(want as f32),
        DType::F16 => half::f16::from_f64(want).to_f64(),
        _ => want,
    };
    let want = if nearest.is_infinite() { nearest } else { want };
    if got == want || got.is_nan() && want.is_nan() {
        return 0.0;
    }
    let error = (got - want).abs();
    let allowed = tolerance.absolute + tolerance.relative * want.abs();
    // Where one of the two is no finite number, nothing is near; 0/0 cannot happen here.
    if error.is_finite() && want.is_finite() { error / allowed } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;
    const INFINITY: f64 = f64::INFINITY;
    const TOLERANCE: Tolerance = Tolerance { absolute: 0.5, relative: 0.25, reason: "test" };

    fn worst(got: f64, want: f64) -> f64 {
        compare("x", &Array::scalar(got as f32), &Array::scalar(want), TOLERANCE).unwrap().worst
    }

    #[test]
    fn errors_count_in_units_of_the_tolerance() {
        assert_eq!((worst(3.0, 2.0), worst(-2.0, -2.0), worst(0.0, -0.0), worst(0.25, 0.0)), (1.0, 0.0, 0.0, 0.5));
        let (got, want) = (Array::new(&[2, 2], vec![1f32, 1.0, 2.5, 1.0]), Array::full(&[2, 2], 1.0));
        let comparison = compare("out0", &got.unwrap(), &want, TOLERANCE).unwrap();
        assert_eq!((comparison.index.clone(), comparison.got, comparison.want), (vec![1, 0], 2.5, 1.0));
        let text = comparison.verdict().unwrap_err().to_string();
        assert!(text.starts_with("out0[1, 0] is 2.5e0, should be 1e0: 2.000 of the allowed"), "{text}");
        let exact = compare("x", &Array::scalar(1f32), &Array::scalar(1.0 + 1e-9), Tolerance::EXACT).unwrap();
        assert_eq!(exact.worst, INFINITY);
    }

    #[test]
    fn what_is_not_finite_must_be_equal() {
        assert_eq!((worst(NAN, NAN), worst(INFINITY, INFINITY), worst(-INFINITY, -INFINITY)), (0.0, 0.0, 0.0));
        // Too large for f32, so an infinity is right, and the largest float is not.
        assert_eq!((worst(INFINITY, 1e39), worst(f64::from(f32::MAX), 1e39)), (0.0, INFINITY));
        for (got, want) in [(NAN, 1.0), (1.0, NAN), (INFINITY, 1.0), (1.0, INFINITY), (INFINITY, -INFINITY)] {
            assert_eq!(worst(got, want), INFINITY, "{got} {want}");
        }
        // A NaN behind a smaller error is still found.
        let (got, want) = (Array::new(&[3], vec![1.1f32, f32::NAN, 1.1]).unwrap(), Array::full(&[3], 1.0));
        assert_eq!(compare("x", &got, &want, TOLERANCE).unwrap().index, [1]);
    }

    #[test]
    fn integers_shapes_and_types_are_exact() {
        let integers = |value: u32| Array::full(&[2], value);
        assert_eq!(compare("x", &integers(7), &integers(7), Tolerance::EXACT).unwrap().worst, 0.0);
        assert_eq!(compare("x", &integers(7), &integers(8), TOLERANCE).unwrap().worst, INFINITY);
        assert!(compare("x", &integers(7), &Array::full(&[2], 7.0), TOLERANCE).is_err());
        assert!(compare("x", &Array::full(&[2], 7f32), &Array::full(&[3], 7.0), TOLERANCE).is_err());
        assert!(
            compare("x", &Array::zeros(&[0, 2], crate::DType::F32), &Array::full(&[0, 2], 7.0), TOLERANCE)
                .unwrap()
                .is_right()
        );
    }
}
