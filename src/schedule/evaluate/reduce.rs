//! Elements of reductions: every reduced element of the expression, in one pass or, for moments, two.

use super::Stored;
use super::expression::Evaluator;
use super::fold::{Largest, Product, Sum, length};
use super::number::{Number, ROUNDING, word_value};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Accumulator, Reduce};
use crate::shape::{strides, unravel};

/// The results at `outputs`, row-major over the axes that are kept: one number a result.
///
/// # Errors
/// When the expression is malformed or reads outside of an operand.
pub(super) fn elements(reduce: &Reduce, operands: &[Stored<'_>], outputs: &[usize]) -> Result<Vec<Vec<Number>>> {
    let Reduce { expression, shape, axes, accumulator } = reduce;
    let [result] = expression.results[..] else {
        return Err(Error::new(ErrorKind::Graph, "a reduction is of one expression"));
    };
    let is_integer = !expression.terms[result].dtype().is_float();
    let mut evaluator = Evaluator::new(expression, shape, operands, false)?;
    let (kept, reduced) = spaces(reduce);
    let steps = strides(shape);
    let step_of = |space: &Space| -> Vec<usize> { space.axes.iter().map(|&axis| steps[axis]).collect() };
    let (kept_steps, reduced_steps) = (step_of(&kept), step_of(&reduced));
    let flat = |index: usize, space: &Space, steps: &[usize]| -> usize {
        unravel(index, &space.extents).iter().zip(steps).map(|(coordinate, step)| coordinate * step).sum()
    };
    let count: usize = axes.iter().map(|&axis| shape[axis]).product();
    let inner: Vec<usize> = (0..count).map(|index| flat(index, &reduced, &reduced_steps)).collect();
    let mut found = Vec::with_capacity(outputs.len());
    for &output in outputs {
        let origin = flat(output, &kept, &kept_steps);
        let mut numbers = Vec::with_capacity(count);
        for &offset in &inner {
            evaluator.at(origin + offset, None)?;
            numbers.extend(evaluator.results());
        }
        found.push(match accumulator {
            Accumulator::Sum if is_integer => vec![wrapping_sum(&numbers, expression.terms[result].dtype())],
            Accumulator::Sum => vec![sum(&numbers)],
            Accumulator::Product => vec![product(&numbers)],
            Accumulator::Max => vec![largest(&numbers)[0]],
            Accumulator::ArgMax => vec![largest(&numbers)[1]],
            Accumulator::Moments => moments(&numbers).to_vec(),
        });
    }
    Ok(found)
}

/// Some axes of an iteration space.
struct Space {
    axes: Vec<usize>,
    extents: Vec<usize>,
}

/// The axes that are kept, and those that are combined.
fn spaces(reduce: &Reduce) -> (Space, Space) {
    let (reduced, kept): (Vec<usize>, Vec<usize>) =
        (0..reduce.shape.len()).partition(|axis| reduce.axes.contains(axis));
    let space = |axes: Vec<usize>| Space { extents: axes.iter().map(|&axis| reduce.shape[axis]).collect(), axes };
    (space(kept), space(reduced))
}

/// The extents of the results.
pub(super) fn kept_shape(reduce: &Reduce) -> Vec<usize> {
    spaces(reduce).0.extents
}

fn sum(numbers: &[Number]) -> Number {
    let mut sum = Sum::default();
    numbers.iter().for_each(|&number| sum.add(number));
    sum.finish()
}

fn wrapping_sum(numbers: &[Number], dtype: crate::DType) -> Number {
    let exact = numbers.iter().all(|number| number.error < 0.5);
    let words = numbers.iter().map(|number| number.value as i64 as u32);
    let value = word_value(words.fold(0, u32::wrapping_add), dtype);
    Number { value, error: if exact { 0.0 } else { f64::INFINITY } }
}

fn product(numbers: &[Number]) -> Number {
    let mut product = Product::new();
    numbers.iter().for_each(|&number| product.multiply(number));
    product.finish()
}

fn largest(numbers: &[Number]) -> [Number; 2] {
    let mut largest = Largest::default();
    for (position, &number) in (0..).zip(numbers) {
        largest.offer(number, position);
    }
    if largest.is_empty() {
        return [Number::exact(f64::NEG_INFINITY), Number { value: 0.0, error: f64::INFINITY }];
    }
    largest.finish()
}

/// Mean and biased variance, of which the device's are those of running updates in `f32`.
fn moments(numbers: &[Number]) -> [Number; 2] {
    if numbers.is_empty() {
        return [Number::exact(f64::NAN); 2];
    }
    let count = numbers.len() as f64;
    let mut total = Sum::default();
    numbers.iter().for_each(|&number| total.add(number));
    let (sum, roughness) = (total.finish(), total.roughness() + 2.0 * ROUNDING);
    let magnitude = total.magnitudes() / count;
    let mean = Number { value: sum.value / count, error: sum.error / count + 2.0 * ROUNDING * magnitude };
    if !mean.value.is_finite() || !mean.error.is_finite() {
        // Infinite elements leave no variance; by which way a device gets there is not said.
        let error = if mean.value.is_nan() && mean.error == 0.0 { 0.0 } else { f64::INFINITY };
        return [Number { error, ..mean }, Number { value: f64::NAN, error }];
    }
    let (mut variance, mut error) = (0.0, 0.0);
    for number in numbers {
        let distance = number.value - mean.value;
        // The distance from a mean that is on its way, of numbers as large as they are.
        let doubt = number.error + 4.0 * ROUNDING * number.value.abs() + roughness * mean.value.abs() + mean.error;
        variance += distance * distance / count;
        error += (2.0 * distance.abs() * doubt + doubt * doubt) / count;
    }
    if variance * count > f64::from(f32::MAX) {
        // Squares that overflow may meet as infinities of both signs.
        return [mean.in_f32(), Number { value: variance, error: f64::INFINITY }];
    }
    let variance = Number { value: variance, error: error + (length(numbers.len()) + 8.0 * ROUNDING) * variance };
    [mean.in_f32(), variance.in_f32()]
}
