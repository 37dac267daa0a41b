//! The operation between neighbours that can join its kernels.
//!
//! A float input arrives through an elementwise function, a float output leaves through one: so what a scheduler fuses
//! before and after the operation runs too. The functions are exact, negation and doubling, so that the sample's tolerance
//! holds as it is. Inputs alternate between the two and an output is doubled: a kernel that leaves out one or more of them
//! cannot be right by accident, as it could if signs cancelled.

use crate::array::Array;
use crate::check::cases::{Case, Direction, forward};
use crate::check::probe::Probe;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Graph, Sample, Value};

/// An exact function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exact {
    Same,
    Negated,
    Doubled,
}

impl Exact {
    fn apply(self, graph: &mut Graph, value: Value) -> Result<Value> {
        match self {
            Exact::Same => Ok(value),
            Exact::Negated => graph.unary("neg", value),
            Exact::Doubled => graph.scale(value, 2.0),
        }
    }

    fn factor(self) -> f64 {
        match self {
            Exact::Same => 1.0,
            Exact::Negated => -1.0,
            Exact::Doubled => 2.0,
        }
    }
}

/// The smallest normal number and the largest one of what a device stores as `dtype`.
fn range(dtype: DType) -> (f64, f64) {
    match dtype {
        DType::F16 => (half::f16::MIN_POSITIVE.to_f64(), half::f16::MAX.to_f64()),
        _ => (f32::MIN_POSITIVE.into(), f32::MAX.into()),
    }
}

/// How input `i` is stored, and the function that gives the input back.
fn before(i: usize, array: &Array) -> Result<(Array, Exact)> {
    let dtype = array.dtype();
    if !dtype.is_float() {
        return Ok((array.clone(), Exact::Same));
    }
    // Where a half is not normal it may be rounded or flushed.
    let (smallest, _) = range(dtype);
    let elements = array.to_f64_vec();
    let halves = elements.iter().all(|x| *x == 0.0 || x.is_nan() || x.abs() >= 2.0 * smallest);
    let function = if i % 2 == 1 && halves { Exact::Doubled } else { Exact::Negated };
    let stored = elements.into_iter().map(|x| x / function.factor()).collect();
    Ok((Array::new::<f64>(array.shape(), stored)?.cast(dtype), function))
}

/// The function that an output leaves through: doubling, unless that is too large.
fn after(dtype: DType, output: &Array) -> Exact {
    let largest = output.to_f64_vec().into_iter().map(f64::abs).filter(|y| y.is_finite()).fold(0.0, f64::max);
    match dtype.is_float() {
        false => Exact::Same,
        true if 2.0 * largest <= range(dtype).1 => Exact::Doubled,
        true => Exact::Negated,
    }
}

/// The case of a sample between neighbours; `None` where nothing is of floats.
pub(super) fn case(sample: &Sample) -> Result<Option<Case>> {
    let stored = sample.inputs.iter().enumerate().map(|(i, array)| before(i, array));
    let (arrays, functions): (Vec<Array>, Vec<Exact>) = stored.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let mut probe = Probe::new(&arrays, |graph, values| {
        let inputs = values.iter().zip(&functions).map(|(value, function)| function.apply(graph, *value));
        let inputs = inputs.collect::<Result<Vec<Value>>>()?;
        graph.apply(sample.op.clone(), &inputs)
    })?;
    let evaluation = probe.evaluate(&probe.outputs, DType::F64)?;
    let outputs = probe.outputs.iter().zip(evaluation.outputs());
    let leaving: Vec<Exact> =
        outputs.map(|(value, (_, array))| after(probe.graph.type_of(*value).dtype, array)).collect();
    if functions.iter().chain(&leaving).all(|function| *function == Exact::Same) {
        return Ok(None);
    }
    for (output, function) in probe.outputs.iter_mut().zip(&leaving) {
        *output = function.apply(&mut probe.graph, *output)?;
    }
    let mut case = forward(sample, Direction::Neighbours, &probe)?;
    for (want, function) in case.wants.iter_mut().zip(leaving) {
        want.tolerance.absolute *= function.factor().abs();
    }
    Ok(Some(case))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_gives_the_input_back() {
        let values = vec![0.0f32, -0.0, 1.5, -3.0, f32::INFINITY, f32::NAN, f32::MAX];
        for (i, wanted) in [(0, Exact::Negated), (1, Exact::Doubled)] {
            let array = Array::new(&[values.len()], values.clone()).unwrap();
            let (stored, function) = before(i, &array).unwrap();
            assert_eq!(function, wanted);
            let mut probe = Probe::new(&[stored], |graph, v| Ok(vec![function.apply(graph, v[0])?])).unwrap();
            let output = std::mem::take(&mut probe.outputs);
            let evaluation = probe.evaluate(&output, DType::F32).unwrap();
            let bits = |array: &Array| array.to_words();
            let back = evaluation.output("0").unwrap();
            assert!(back.to_f64_vec()[5].is_nan() && bits(back)[..5] == bits(&array)[..5], "{back:?}");
        }
    }

    #[test]
    fn what_cannot_be_halved_or_doubled_is_negated() {
        let tiny = Array::new(&[2], vec![1.0, 1e-4]).unwrap().cast(DType::F16);
        assert_eq!(before(1, &tiny).unwrap().1, Exact::Negated);
        assert_eq!(before(1, &tiny.cast(DType::F32)).unwrap().1, Exact::Doubled);
        let large = Array::new(&[2], vec![f64::INFINITY, 4e4]).unwrap();
        assert_eq!((after(DType::F16, &large), after(DType::F32, &large)), (Exact::Negated, Exact::Doubled));
        assert_eq!(after(DType::U32, &large), Exact::Same);
        let indices = Array::full(&[2], 3u32);
        assert_eq!(before(1, &indices).unwrap(), (indices, Exact::Same));
    }
}
