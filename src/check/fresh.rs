//! Inputs drawn anew, in the domain of a sample.
//!
//! An operation may take positive numbers only, or indices of rows. So a fresh input is made from the sample's own: every
//! finite float becomes a random mixture of two finite elements of the same input, and so stays between the smallest and
//! the largest; what is not finite stays where it is; integers are drawn from those that occur. An input whose values
//! belong together (indices that the operation itself gave, say) is left as it is where the reference refuses the new one.
//!
//! A sample's tolerance was judged at its own inputs, and a random point may be a worse one: a quotient of which the divisor
//! nearly vanishes, a logarithm near 1. [`widened`] adds what the point itself makes of rounding.

use crate::array::Array;
use crate::check::cases::{Case, Direction, Want, case_of};
use crate::check::reference::{self, Leaves};
use crate::check::rounding::distance;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Expect, Leaf, Sample, TensorType};
use crate::random::Stream;

/// Half the distance of neighbouring `f32` relative to their size: what one rounding does.
const ROUNDING: f64 = 1.0 / (1 << 24) as f64;

/// The sample at inputs drawn from `seed`, the same for equal arguments; `None` where nothing can be drawn: a sample that
/// must fail, or whose inputs have no two different elements.
pub fn sample(sample: &Sample, seed: u64) -> Option<Sample> {
    if matches!(sample.expect, Expect::Error(..)) {
        return None;
    }
    let drawn: Vec<Array> = sample.inputs.iter().enumerate().map(|(i, array)| draw(sample, i, array, seed)).collect();
    let accepted = |inputs: &[Array]| {
        let fresh = Sample { inputs: inputs.to_vec(), ..sample.clone() };
        case_of(&fresh, Direction::Forward).is_ok().then_some(fresh)
    };
    let fresh = accepted(&drawn).or_else(|| {
        let mut kept = sample.clone();
        for (i, array) in drawn.iter().enumerate() {
            let mut inputs = kept.inputs.clone();
            inputs[i] = array.clone();
            kept = accepted(&inputs).unwrap_or(kept);
        }
        Some(kept)
    })?;
    let same = fresh.inputs.iter().zip(&sample.inputs).all(|(new, old)| new.to_words() == old.to_words());
    (!same).then_some(fresh)
}

/// Input `i` of a sample, drawn anew.
fn draw(sample: &Sample, i: usize, array: &Array, seed: u64) -> Array {
    let mut stream = Stream::new(seed, &format!("check.fresh {} {} {i}", sample.op.name(), sample.name));
    let elements = array.to_f64_vec();
    let finite: Vec<f64> = elements.iter().copied().filter(|x| x.is_finite()).collect();
    let mut element = |old: &f64| {
        if !old.is_finite() {
            return *old;
        }
        let mut any = || finite[stream.below(finite.len() as u64) as usize];
        let (a, b) = (any(), any());
        if array.dtype().is_float() { a + (b - a) * f64::from(stream.uniform()) } else { a }
    };
    let drawn: Vec<f64> = elements.iter().map(&mut element).collect();
    Array::new(array.shape(), drawn).expect("as many as before").cast(array.dtype())
}

/// The case with more room where its point needs it.
///
/// The inputs are exact, but an operation computes from them numbers that are rounded. What a rounding does to the result
/// at this point is seen in two ways: the reference in `f32` against that in `f64`, and the reference in `f64` when every
/// input is moved by one rounding up or down at random. Four times the larger of the two, where it is worst, is added; it
/// is far below what a wrong kernel does unless the result cannot be told from rounding anyway. A tolerance of zero stays
/// where all results are numbers that `f32` has: what moves or compares gives no others. Sums need none of this, their
/// bounds are those of the point.
///
/// # Errors
/// What the references report.
pub fn widened(mut case: Case, seed: u64) -> Result<Case> {
    let rounds = |want: &Want| {
        let inexact = || want.array.to_f64_vec().into_iter().any(|y| !in_f32(y));
        want.bounds.is_none() && (want.tolerance.absolute > 0.0 || inexact())
    };
    if !case.wants.iter().any(rounds) {
        return Ok(case);
    }
    let moved = |name: &str, array: &Array| {
        if !array.dtype().is_float() || !name.starts_with("in") {
            return array.clone();
        }
        let mut stream = Stream::new(seed, &format!("check.moved {name}"));
        let signed = |x: f64| if stream.next_u32() & 1 == 0 { x * (1.0 + ROUNDING) } else { x * (1.0 - ROUNDING) };
        let elements = array.to_f64_vec().into_iter().map(signed).collect();
        Array::new::<f64>(array.shape(), elements).expect("as many as before")
    };
    let leaves = |change: &mut dyn FnMut(&str, &Array) -> Array| -> Leaves {
        case.leaves.iter().map(|(name, array)| ((Leaf::Input, name.clone()), change(name, array))).collect()
    };
    let single = reference::run(&case.graph, &leaves(&mut |_, array| array.clone()), DType::F32)?;
    let nearby = reference::run(&case.graph, &leaves(&mut |name, array| moved(name, array)), DType::F64)?;
    for want in case.wants.iter_mut().filter(|want| rounds(want)) {
        let distances =
            [single.output(&want.name)?, nearby.output(&want.name)?].map(|other| distance(&want.array, other));
        let rounding = distances[0].max(distances[1]);
        want.tolerance.absolute += 4.0 * rounding;
    }
    Ok(case)
}

/// Whether `f32` has this number, or it is none.
fn in_f32(y: f64) -> bool {
    y.is_nan() || f64::from(y as f32) == y
}

/// The types of arrays, as a graph sees them: doubles are `f32` there.
pub(super) fn types(inputs: &[Array]) -> Vec<TensorType> {
    let stored = |dtype| if dtype == DType::F64 { DType::F32 } else { dtype };
    inputs.iter().map(|array| TensorType::new(stored(array.dtype()), array.shape())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Tolerance;
    use crate::ops::elementwise::{Elementwise, row_named};

    fn sample_of(name: &str, inputs: Vec<Array>) -> Sample {
        Sample::new("x", Elementwise { row: row_named(name).unwrap(), parameters: vec![] }, inputs, Tolerance::ROUNDED)
    }

    #[test]
    fn fresh_inputs_stay_in_the_domain_and_depend_on_the_seed_alone() {
        let values = vec![0.5f32, f32::NAN, 2.0, f32::INFINITY, 0.75, 8.0];
        let fixed = sample_of("log", vec![Array::new(&[2, 3], values).unwrap()]);
        let elements = |seed| sample(&fixed, seed).unwrap().inputs[0].to_f64_vec();
        let drawn = elements(1);
        assert!(drawn[1].is_nan() && drawn[3] == f64::INFINITY);
        assert!(drawn.iter().filter(|x| x.is_finite()).all(|x| (0.5..=8.0).contains(x)), "{drawn:?}");
        assert_eq!(format!("{drawn:?}"), format!("{:?}", elements(1)));
        assert_ne!(format!("{drawn:?}"), format!("{:?}", elements(2)));
    }

    #[test]
    fn where_nothing_can_be_drawn_there_is_nothing() {
        assert!(sample(&sample_of("log", vec![Array::full(&[3], 0.3f32)]), 1).is_none());
        assert!(sample(&sample_of("log", vec![Array::full(&[0], 0.3f32)]), 1).is_none());
    }

    #[test]
    fn indices_are_drawn_from_those_that_occur() {
        let embedding = crate::ops::REGISTRY.iter().find(|family| family.name == "embedding").unwrap();
        for fixed in (embedding.samples)() {
            let Some(drawn) = sample(&fixed, 4) else { continue };
            for (new, old) in drawn.inputs.iter().zip(&fixed.inputs).filter(|(_, old)| !old.dtype().is_float()) {
                assert!(new.to_f64_vec().iter().all(|index| old.to_f64_vec().contains(index)), "{}", fixed.name);
            }
        }
    }

    #[test]
    fn there_is_more_room_where_rounding_is_worse() {
        let room = |divisor: f32| {
            let inputs = vec![Array::full(&[1], 1f32), Array::new(&[1], vec![divisor]).unwrap()];
            let quotient = sample_of("sub", inputs);
            let case = case_of(&quotient, Direction::Forward).unwrap().unwrap();
            let (before, want) = (case.wants[0].tolerance, widened(case, 1).unwrap().wants.remove(0));
            let allowed = |t: Tolerance| t.absolute + t.relative * want.array.to_f64_vec()[0].abs();
            allowed(want.tolerance) / allowed(before)
        };
        // 1 - 0.999999 keeps nothing of what a rounding of either takes; 1 + 1 nearly all.
        assert!(room(0.999_999) > 1e4 && room(-1.0) < 3.0, "{} {}", room(0.999_999), room(-1.0));
        let moved = Sample { tolerance: Tolerance::EXACT, ..sample_of("neg", vec![Array::full(&[1], 0.3f32)]) };
        let case = case_of(&moved, Direction::Forward).unwrap().unwrap();
        assert_eq!(widened(case, 1).unwrap().wants[0].tolerance.absolute, 0.0);
    }
}
