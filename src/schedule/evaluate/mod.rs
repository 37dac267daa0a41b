//! What a step must give: some elements of its results in `f64`, from operands as they are stored, with the error that a
//! device may make.
//!
//! This is the judge of fused kernels on the user's own data ([`crate::program`] asks on first use). It follows the
//! definition of each [`Work`], one element at a time, and shares nothing with the devices. Errors follow the terms:
//! [`number`] says how. An operation with a shader of its own is judged by its reference, on whole operands.

mod expression;
mod fold;
mod number;
mod product;
mod reduce;
mod window;
mod winograd;

use std::collections::BTreeSet;

use half::f16;

use super::{Epilogue, Schedule, Step, Work};
use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Op, TensorType};
use crate::random::Stream;
use crate::shape::{element_count, unravel};
use expression::Evaluator;
use number::Number;

/// Elements that are evaluated of a result at most.
const MOST: usize = 512;
/// Terms and functions evaluated in a step, unless [`LEAST`] elements take more.
const BUDGET: usize = 1 << 19;
/// Elements that are evaluated at least, if there are as many; and where one of them takes more than [`BUDGET`].
const LEAST: usize = 8;
const LEAST_LONG: usize = 2;

/// One element of a result, as it must be.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    /// Which of the step's results.
    pub write: usize,
    /// The row-major place in it.
    pub index: usize,
    /// The value.
    pub value: f64,
    /// How far from it a device may be; infinite where that cannot be said, as near a jump.
    pub error: f64,
}

impl Element {
    /// The error of `got`, in units of what is allowed: right up to 1. `None` where it cannot be judged.
    pub fn units(&self, got: f64) -> Option<f64> {
        if !self.error.is_finite() {
            return None;
        }
        let distance = number::deviation(self.value, got);
        Some(if distance == 0.0 { 0.0 } else { distance / self.error })
    }
}

/// Which elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// All.
    All,
    /// All of small results; of large ones corners, edges, and some drawn by the step's label.
    Some,
}

/// How a device computes products: what it may be off by depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Products {
    /// Every element as a sum of its own terms, in any order.
    #[default]
    Direct,
    /// Convolutions by Winograd's minimal filtering F(2×2, 3×3), where they can be ([`crate::graph::Gemm::filtering`]).
    Winograd,
}

/// Evaluates elements of what `step` writes when its operands have the words `operands`, in the order of its reads; for a
/// device that adds the terms of products.
///
/// # Errors
/// When the step is malformed, its operands are too small, or the reference of its operation fails.
pub fn evaluate(schedule: &Schedule, step: &Step, operands: &[Vec<u32>], choice: Choice) -> Result<Vec<Element>> {
    evaluate_as(schedule, step, operands, choice, Products::Direct)
}

/// As [`evaluate`], for a device that computes products so.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_as(
    schedule: &Schedule,
    step: &Step,
    operands: &[Vec<u32>],
    choice: Choice,
    products: Products,
) -> Result<Vec<Element>> {
    if operands.len() != step.reads.len() {
        let text = format!("{}: {} operands for {} reads", step.label, operands.len(), step.reads.len());
        return Err(Error::new(ErrorKind::Graph, text));
    }
    let types: Vec<&TensorType> = step.reads.iter().map(|&slot| &schedule.slot(slot).ty).collect();
    let stored: Vec<Stored<'_>> = types
        .iter()
        .zip(operands)
        .map(|(ty, words)| Stored { dtype: ty.dtype, len: ty.len().min(ty.dtype.elements(words.len())), words })
        .collect();
    let chosen = |shape: &[usize], cost: usize| choose(&step.label, shape, cost, choice);
    let mut found = Found { schedule, step, elements: Vec::new() };
    match &step.work {
        Work::Elementwise { shape, expression } => {
            let mut evaluator = Evaluator::new(expression, shape, &stored, false)?;
            for index in chosen(shape, expression::cost(expression, shape)) {
                evaluator.at(index, None)?;
                found.add(index, evaluator.results());
            }
        }
        Work::Reduce(work) => {
            let kept = reduce::kept_shape(work);
            let reduced = element_count(&work.shape) / element_count(&kept).max(1);
            let outputs = chosen(&kept, reduced * expression::cost(&work.expression, &work.shape));
            for (&index, numbers) in outputs.iter().zip(reduce::elements(work, &stored, &outputs)?) {
                found.add(index, numbers.into_iter());
            }
        }
        Work::Gemm { gemm, epilogue } => {
            let [a, b, ..] = &stored[..] else {
                return Err(Error::new(ErrorKind::Graph, format!("{}: a product of one operand", step.label)));
            };
            let mut after = after(epilogue.as_ref(), &stored[1..])?;
            let shape = [gemm.groups, gemm.m, gemm.n];
            let filtering = if products == Products::Winograd { gemm.filtering() } else { None };
            // The transforms take twice as long as the sum.
            let cost = if filtering.is_some() { 6 * gemm.k } else { 2 * gemm.k };
            for place in chosen(&shape, cost) {
                let at = unravel(place, &shape);
                let number = match &filtering {
                    Some(filtering) => winograd::element(gemm, filtering, [a, b], at[1], at[2])?,
                    None => product::element(gemm, [a, b], at[0], at[1], at[2])?,
                };
                let number = number.in_f32();
                let index = at[0] * gemm.output.group + at[1] * gemm.output.row + at[2] * gemm.output.column;
                found.add_after(index, vec![number], after.as_mut())?;
            }
        }
        Work::Window { pooling, epilogue } => {
            let mut after = after(epilogue.as_ref(), &stored[pooling.kind.operands() - 1..])?;
            for index in chosen(&window::result_shape(pooling), 2 * pooling.window.taps()) {
                found.add_after(index, window::element(pooling, &stored, index)?, after.as_mut())?;
            }
        }
        Work::Opaque { op, inputs, .. } => found.opaque(op.as_ref(), inputs, operands, &chosen)?,
    }
    Ok(found.elements)
}

/// What evaluates an epilogue; operand `i` of it is `operands[i]`, the first of which is not looked at.
fn after<'a>(epilogue: Option<&'a Epilogue>, operands: &'a [Stored<'a>]) -> Result<Option<Evaluator<'a>>> {
    epilogue.map(|(shape, expression)| Evaluator::new(expression, shape, operands, true)).transpose()
}

/// The value of element `index` of a tensor of `dtype`; `None` outside of its words.
pub fn element(words: &[u32], dtype: DType, index: usize) -> Option<f64> {
    Some(match dtype {
        DType::F16 => f16::from_bits((words.get(index / 2)? >> (16 * (index % 2))) as u16).to_f64(),
        _ => number::word_value(*words.get(index)?, dtype),
    })
}

/// A tensor in words.
struct Stored<'a> {
    dtype: DType,
    len: usize,
    words: &'a [u32],
}

impl Stored<'_> {
    fn outside(&self, index: usize) -> Error {
        Error::new(ErrorKind::Graph, format!("element {index} is read of a tensor of {}", self.len))
    }

    fn get(&self, index: usize) -> Result<Number> {
        let value = element(self.words, self.dtype, index).filter(|_| index < self.len);
        value.map(|value| Number::stored(value, self.dtype)).ok_or_else(|| self.outside(index))
    }

    fn word(&self, index: usize) -> Result<u32> {
        self.words.get(index).copied().ok_or_else(|| self.outside(index))
    }
}

/// Elements as they are found.
struct Found<'a> {
    schedule: &'a Schedule,
    step: &'a Step,
    elements: Vec<Element>,
}

impl Found<'_> {
    /// The results at one place, rounded to memory.
    fn add(&mut self, index: usize, numbers: impl Iterator<Item = Number>) {
        for (write, (number, &slot)) in numbers.zip(&self.step.writes).enumerate() {
            let Number { value, error } = number.rounded(self.schedule.slot(slot).ty.dtype);
            self.elements.push(Element { write, index, value, error });
        }
    }

    /// The results of a product or of pooling at one place, or what its epilogue makes of the only one.
    fn add_after(&mut self, index: usize, numbers: Vec<Number>, after: Option<&mut Evaluator<'_>>) -> Result<()> {
        match (after, &numbers[..]) {
            (Some(evaluator), [number]) => {
                evaluator.at(index, Some(number.in_f32()))?;
                self.add(index, evaluator.results());
            }
            _ => self.add(index, numbers.into_iter()),
        }
        Ok(())
    }

    /// By the operation's reference. What rounding does is seen by running that in `f32` too.
    fn opaque(
        &mut self,
        op: &dyn Op,
        inputs: &[TensorType],
        operands: &[Vec<u32>],
        chosen: &dyn Fn(&[usize], usize) -> Vec<usize>,
    ) -> Result<()> {
        let outputs = |precision: DType| {
            let inputs = inputs.iter().zip(operands).map(|(ty, words)| {
                let array = Array::from_words(&ty.shape, ty.dtype, words)?;
                Ok(if ty.dtype.is_float() { array.cast(precision) } else { array })
            });
            op.reference(&inputs.collect::<Result<Vec<Array>>>()?)
        };
        let (double, single) = (outputs(DType::F64)?, outputs(DType::F32)?);
        for (write, (double, single)) in double.iter().zip(&single).enumerate().take(self.step.writes.len()) {
            let (values, rounded) = (double.to_f64_vec(), single.to_f64_vec());
            let slot = &self.schedule.slot(self.step.writes[write]).ty;
            if values.len() != slot.len() || rounded.len() != slot.len() {
                let text = format!("the reference of {op:?} gives {:?}, the graph says {slot}", double.shape());
                return Err(Error::new(ErrorKind::Graph, text));
            }
            let finite = |x: f64| if x.is_finite() { x.abs() } else { 0.0 };
            let largest = values.iter().map(|&x| finite(x)).fold(0.0, f64::max);
            let distance = |i: usize| number::deviation(values[i], rounded[i]);
            let worst = (0..values.len()).map(|i| finite(distance(i))).fold(0.0, f64::max);
            for index in chosen(&slot.shape, 1) {
                let (value, distance) = (values[index], distance(index));
                let error = if slot.dtype.is_float() {
                    // Of the functions and sums that a shader may use.
                    8.0 * distance + 4.0 * worst + 1e-5 * largest + 2e-5 * finite(value)
                } else if distance > 0.0 {
                    f64::INFINITY
                } else {
                    0.0
                };
                let Number { value, error } = Number { value, error }.in_f32().rounded(slot.dtype);
                self.elements.push(Element { write, index, value, error });
            }
        }
        Ok(())
    }
}

/// Row-major indices of `shape`, ascending: all, or corners, edges and others, each at a `cost`.
fn choose(label: &str, shape: &[usize], cost: usize, choice: Choice) -> Vec<usize> {
    let total = element_count(shape);
    let limit = (BUDGET / cost.max(1)).clamp(if cost > BUDGET { LEAST_LONG } else { LEAST }, MOST);
    if choice == Choice::All || total <= limit {
        return (0..total).collect();
    }
    let mut stream = Stream::new(0, label);
    let mut chosen = BTreeSet::new();
    let steps = crate::shape::strides(shape);
    let wide: Vec<usize> = (0..shape.len()).filter(|&axis| shape[axis] > 1).collect();
    // The corners: the first and last of everything, then those between.
    let corners = 1usize << wide.len().min(12);
    for corner in [0, corners - 1].into_iter().chain(1..corners - 1).take((limit / 2).max(2)) {
        let last = wide.iter().enumerate().filter(|(bit, _)| corner >> (bit % 12) & 1 == 1);
        chosen.insert(last.map(|(_, &axis)| (shape[axis] - 1) * steps[axis]).sum::<usize>());
    }
    // Half of the rest at one end of an axis, of which there are few elements.
    let mut drawn = 0;
    while chosen.len() < limit && drawn < 4 * limit {
        let mut index = stream.below(total as u64) as usize;
        if drawn % 2 == 0 && !wide.is_empty() {
            let axis = wide[drawn / 2 % wide.len()];
            let end = if stream.next_u32() & 1 == 0 { 0 } else { shape[axis] - 1 };
            let at = index / steps[axis] % shape[axis];
            index = index + end * steps[axis] - at * steps[axis];
        }
        chosen.insert(index);
        drawn += 1;
    }
    chosen.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_and_edges_are_among_the_chosen() {
        let shape = [64, 28, 28, 32];
        let chosen = choose("conv", &shape, 1, Choice::Some);
        assert_eq!(chosen.len(), MOST);
        let last = element_count(&shape) - 1;
        assert!(chosen.contains(&0) && chosen.contains(&last) && chosen.contains(&31));
        assert_eq!(chosen, choose("conv", &shape, 1, Choice::Some));
        assert_eq!(choose("conv", &shape, BUDGET, Choice::Some).len(), LEAST);
        assert_eq!(choose("conv", &shape, 2 * BUDGET, Choice::Some), [0, last]);
        assert_eq!(choose("conv", &[3, 5], 1, Choice::Some).len(), 15);
        assert_eq!(choose("conv", &[3, 0], 1, Choice::Some).len(), 0);
        assert_eq!(choose("conv", &[100, 100], 1, Choice::All).len(), 10_000);
    }

    #[test]
    fn an_element_is_judged_by_its_own_error() {
        let element = |value, error| Element { write: 0, index: 0, value, error };
        assert_eq!(element(1.0, 0.5).units(1.25), Some(0.5));
        assert_eq!(element(1.0, 0.0).units(1.0), Some(0.0));
        assert_eq!(element(1.0, 0.0).units(1.1), Some(f64::INFINITY));
        assert_eq!(element(1.0, f64::INFINITY).units(7.0), None);
        assert_eq!(element(f64::NAN, 0.0).units(f64::NAN), Some(0.0));
        assert_eq!(element(f64::INFINITY, 1.0).units(3.0), Some(f64::INFINITY));
        assert_eq!(element(3.0, 1.0).units(f64::NAN), Some(f64::INFINITY));
    }
}
