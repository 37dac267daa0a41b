//! Gradients against central differences, in `f64`.
//!
//! A gradient is a claim about how a function changes. Here the function, under a loss that gives every output an upstream
//! gradient of its own, is moved a little along random directions, and the change of the loss is compared with what the
//! gradient says. Works for the operations of the crate ([`sample`]) and for any function on a graph ([`function`]); with
//! the `second_order` forms the function is the gradient itself.
//!
//! The difference quotient `D(h) = (L(x + h·d) - L(x - h·d)) / 2h` is taken at two steps; `(4·D(h/2) - D(h)) / 3` cancels
//! the error of order h² (Richardson), and `D(h/2) - D(h)` bounds what is left. Where the two do not agree, or the slopes to
//! the two sides do not meet as the step shrinks (a kink), the step is made smaller; where no step helps, the function is
//! not smooth there, which is an error of the check and no verdict on the gradient.

use crate::array::Array;
use crate::check::probe::Probe;
use crate::check::reference::{self, Leaves};
use crate::check::sides;
use crate::dtype::DType;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::graph::{Expect, Graph, Sample, Value};
use crate::random::Stream;

/// The largest [`GradientError::relative`] of a right gradient. Rounding shows up at 1e-9, a wrong rule far above 1e-3.
pub const TOLERANCE: f64 = 1e-6;

/// Random directions an input.
const DIRECTIONS: usize = 3;

/// Steps that are tried, as fractions of the input's magnitude.
const STEPS: [f64; 3] = [1e-5, 1e-6, 1e-7];

/// How far the gradient of one input is from the central difference, along the worst direction.
#[derive(Clone, Debug)]
pub struct GradientError {
    /// Which input.
    pub input: usize,
    /// What it is called.
    pub name: String,
    /// The change of the loss that the gradient promises.
    pub analytic: f64,
    /// The change by central differences.
    pub numeric: f64,
    /// Their distance relative to the size of the change, or to a ten-thousandth of the outputs where it does not change.
    pub relative: f64,
}

impl GradientError {
    /// Whether the gradient is right.
    pub fn is_right(&self) -> bool {
        self.relative <= TOLERANCE
    }
}

/// What a gradient check found.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Compared: one entry for each float input with elements.
    Checked(Vec<GradientError>),
    /// Not compared, for this reason.
    Skipped(String),
}

impl Outcome {
    /// Nothing, unless a gradient is wrong.
    ///
    /// # Errors
    /// [`ErrorKind::Parity`] with the input and both values.
    pub fn verdict(&self) -> Result<()> {
        let Outcome::Checked(errors) = self else { return Ok(()) };
        match errors.iter().find(|error| !error.is_right()) {
            None => Ok(()),
            Some(GradientError { name, analytic, numeric, relative, .. }) => {
                let what = format!("the gradient of {name} says {analytic:e} where the loss changes by {numeric:e}");
                Err(Error::new(ErrorKind::Parity, format!("{what}: {relative:.1e} apart, {TOLERANCE:.0e} is allowed")))
            }
        }
    }
}

/// Checks the gradient rule of an operation at a sample.
///
/// Where a sample is not smooth, the gradient must lie between the slopes of the two sides: see [`sides`]. Skipped are samples
/// that must fail, that have no floats to differentiate or no slopes, and operations that say they have no gradient.
///
/// # Errors
/// What inference and references report, and a function that turns out not to be smooth at the point.
pub fn sample(sample: &Sample) -> Result<Outcome> {
    of_sample(sample, false)
}

/// Checks the gradient of the gradient of an operation at a sample: the function is `x ↦ ∂loss/∂x`, all inputs together.
/// Samples that are not smooth are skipped: where the slope jumps it has no slope.
///
/// # Errors
/// As [`sample`].
pub fn second_order(sample: &Sample) -> Result<Outcome> {
    of_sample(sample, true)
}

/// Checks the gradient of the function that `build` adds to a graph, at `inputs`.
///
/// The inputs become leaves in order, floats as `f32` (the check computes them in `f64`). The function must be smooth
/// around the point.
///
/// ```
/// use neuropil::{Array, check::gradients};
///
/// let x = Array::new(&[3], vec![0.5f32, 1.0, 2.0])?;
/// let outcome = gradients::function(&[x], |graph, inputs| graph.unary("exp", inputs[0]))?;
/// outcome.verdict()?;
/// # Ok::<(), neuropil::Error>(())
/// ```
///
/// # Errors
/// What `build`, inference and references report, and a function that turns out not to be smooth at the point.
pub fn function(inputs: &[Array], build: impl Fn(&mut Graph, &[Value]) -> Result<Value>) -> Result<Outcome> {
    check(inputs, |graph, values| Ok(vec![build(graph, values)?]), false)
}

/// Checks the gradient of the gradient of the function that `build` adds to a graph, at `inputs`.
///
/// # Errors
/// As [`function`].
pub fn second_order_function(
    inputs: &[Array],
    build: impl Fn(&mut Graph, &[Value]) -> Result<Value>,
) -> Result<Outcome> {
    check(inputs, |graph, values| Ok(vec![build(graph, values)?]), true)
}

fn of_sample(sample: &Sample, second: bool) -> Result<Outcome> {
    if matches!(sample.expect, Expect::Error(..)) {
        return Ok(Outcome::Skipped("the sample is an error".to_owned()));
    }
    if !sample.smooth {
        return if second { Ok(Outcome::Skipped("the sample is not smooth".to_owned())) } else { rough(sample) };
    }
    check(&sample.inputs, |graph, values| graph.apply(sample.op.clone(), values), second)
}

/// A sample that is not smooth: each element against the slopes of its two sides.
fn rough(sample: &Sample) -> Result<Outcome> {
    if let Some(reason) = sample.convention {
        return Ok(Outcome::Skipped(format!("by convention: {reason}")));
    }
    Ok(match sides::of_sample(sample)? {
        None => Outcome::Skipped("nothing to differentiate, or no gradient".to_owned()),
        Some(sides) if sides.errors.is_empty() => {
            Outcome::Skipped(format!("no element has a slope to either side: {}", sides.reasons()))
        }
        Some(sides) => Outcome::Checked(sides.errors),
    })
}

fn check(
    inputs: &[Array],
    build: impl Fn(&mut Graph, &[Value]) -> Result<Vec<Value>>,
    second: bool,
) -> Result<Outcome> {
    of_probe(&mut Probe::new(inputs, build)?, second)
}

/// Checks the gradient of a probe's outputs, or of their gradient.
pub(super) fn of_probe(probe: &mut Probe, second: bool) -> Result<Outcome> {
    let skipped = |reason: &str| Ok(Outcome::Skipped(reason.to_owned()));
    let differentiable = probe.differentiable();
    if differentiable.iter().all(|(_, value)| probe.graph.type_of(*value).is_empty()) {
        return skipped("no elements of floats among the inputs");
    }
    // At second order the outputs are the gradients of a first loss.
    for order in 0..2 {
        let Some(loss) = probe.loss()? else { return skipped("no float outputs") };
        let gradients = match probe.gradients(loss) {
            Err(error) if error.kind() == ErrorKind::Gradient => return skipped(&error.to_string()),
            gradients => gradients?,
        };
        if order == usize::from(second) {
            return compare(probe, loss, &gradients).map(Outcome::Checked);
        }
        probe.outputs = gradients;
    }
    unreachable!("one of the two orders was asked for")
}

/// Compares `gradients`, those of the differentiable inputs, with central differences of `loss`.
fn compare(probe: &Probe, loss: Value, gradients: &[Value]) -> Result<Vec<GradientError>> {
    let evaluation = probe.evaluate(gradients, DType::F64)?;
    let graph = probe.graph_of(&[loss]);
    let at = |leaves: &Leaves| reference::run(&graph, leaves, DType::F64)?.output("0")?.item();
    let base = at(&probe.leaves)?;
    if !base.is_finite() {
        let message = "the function is not finite at this point, so there is nothing to differentiate";
        return Err(Error::new(ErrorKind::Parity, message));
    }
    let mut errors = Vec::new();
    for ((input, _), gradient) in probe.differentiable().into_iter().zip(gradients) {
        let key = probe.key(input);
        let name = &probe.names[input];
        let point = probe.leaves[&key].cast(DType::F64);
        let gradient = evaluation.computed(*gradient)?.to_f64_vec();
        if gradient.len() != point.len() {
            let text = format!("the gradient of {name} has {} elements, not {}", gradient.len(), point.len());
            return Err(Error::new(ErrorKind::Gradient, text));
        }
        if point.is_empty() {
            continue;
        }
        let mut worst: Option<GradientError> = None;
        for direction in 0..DIRECTIONS {
            let direction = self::direction(&point, (DIRECTIONS * input + direction) as u64);
            let promised: Vec<f64> = gradient.iter().zip(&direction).map(|(g, d)| g * d).collect();
            let analytic: f64 = promised.iter().sum();
            // The change along a typical direction, so that one in which the terms cancel is not held to more.
            let typical = promised.iter().map(|p| p * p).sum::<f64>().sqrt().max(1e-4 * probe.size);
            let along = |step: f64| {
                let moved = point.to_f64_vec().into_iter().zip(&direction).map(|(x, d)| x + step * d).collect();
                let mut leaves = probe.leaves.clone();
                leaves.insert(key.clone(), Array::new(point.shape(), moved)?);
                at(&leaves)
            };
            let numeric = central_difference(along, base, typical).context(|| name.clone())?;
            let scale = typical.max(analytic.abs()).max(numeric.abs());
            // Where the loss is 0 and does not change there is nothing to divide by.
            let relative = if analytic == numeric { 0.0 } else { (analytic - numeric).abs() / scale };
            let relative = if relative.is_nan() { f64::INFINITY } else { relative };
            if worst.as_ref().is_none_or(|known| relative > known.relative) {
                worst = Some(GradientError { input, name: name.clone(), analytic, numeric, relative });
            }
        }
        errors.extend(worst);
    }
    Ok(errors)
}

/// A direction through `point`: elements of either sign, of the size of the point's elements.
fn direction(point: &Array, seed: u64) -> Vec<f64> {
    let elements = point.to_f64_vec();
    let size = (elements.iter().map(|x| x * x).sum::<f64>() / elements.len() as f64).sqrt();
    let size = if size > 0.0 && size.is_finite() { size } else { 1.0 };
    let mut stream = Stream::new(seed, "check.direction");
    let mut element = || {
        let sign = if stream.next_u32() & 1 == 0 { size } else { -size };
        sign * f64::from(0.5 + stream.uniform())
    };
    elements.iter().map(|_| element()).collect()
}

/// The derivative at 0 of `f`, whose value there is `base` and whose derivative is of about the size `typical`.
fn central_difference(f: impl Fn(f64) -> Result<f64>, base: f64, typical: f64) -> Result<f64> {
    // The mean of the slopes on the two sides, and their difference.
    let slopes = |step: f64| {
        let (after, before) = (f(step)?, f(-step)?);
        Ok::<_, Error>(((after - before) / (2.0 * step), (after - 2.0 * base + before) / step))
    };
    let mut unsettled = f64::INFINITY;
    for step in STEPS {
        let ((whole, bend), (half, half_bend)) = (slopes(step)?, slopes(0.5 * step)?);
        // Of a smooth function the two sides differ in proportion to the step; at a kink they differ by as much at any.
        let (truncation, kink) = ((whole - half).abs(), (2.0 * half_bend - bend).abs());
        let size = typical.max(whole.abs());
        if truncation.max(kink) <= TOLERANCE * size {
            return Ok((4.0 * half - whole) / 3.0);
        }
        unsettled = unsettled.min(truncation.max(kink) / size);
    }
    let message = format!(
        "central differences do not settle (they are {unsettled:.1e} apart): the function is not smooth around this \
         point; choose another point, or mark the sample of an operation as not smooth"
    );
    Err(Error::new(ErrorKind::Parity, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Gradient, Lowering, Op, TensorType, Tolerance};

    /// x³ with a gradient of the user's choice.
    #[derive(Debug)]
    struct Cube(fn(&mut Graph, Value, Value) -> Result<Value>);

    impl Op for Cube {
        fn name(&self) -> &'static str {
            "cube"
        }
        fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
            Ok(inputs.to_vec())
        }
        fn gradient(&self) -> Gradient<'_> {
            Gradient::rule(|cx| {
                let (x, g) = (cx.input(0), cx.gradient(0).expect("one output"));
                let gradient = (self.0)(cx.graph, x, g)?;
                cx.give(0, gradient);
                Ok(())
            })
        }
        fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
            let cubes = inputs[0].to_f64_vec().into_iter().map(|x| x * x * x).collect();
            Ok(vec![Array::new(inputs[0].shape(), cubes)?.cast(inputs[0].dtype())])
        }
        fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
            Lowering::Decompose
        }
    }

    fn cube(gradient: fn(&mut Graph, Value, Value) -> Result<Value>) -> Sample {
        Sample::new("dense", Cube(gradient), vec![Sample::uniform(&[4, 5], -2.0, 2.0, 1)], Tolerance::ROUNDED)
    }

    fn right(graph: &mut Graph, x: Value, g: Value) -> Result<Value> {
        let square = graph.unary("square", x)?;
        let slope = graph.scale(square, 3.0)?;
        graph.mul(slope, g)
    }

    #[test]
    fn right_rules_pass_and_wrong_ones_do_not() {
        let outcome = sample(&cube(right)).unwrap();
        let Outcome::Checked(errors) = &outcome else { panic!("{outcome:?}") };
        assert!(errors.len() == 1 && errors[0].relative < 1e-8, "{errors:?}");
        assert!(matches!(second_order(&cube(right)).unwrap(), Outcome::Checked(errors) if errors[0].relative < 1e-8));

        let wrong_factor = sample(&cube(|graph, x, g| {
            let right = right(graph, x, g)?;
            graph.scale(right, 1.0001)
        }));
        let text = wrong_factor.unwrap().verdict().unwrap_err().to_string();
        assert!(text.contains("the gradient of input 0 says"), "{text}");
        let upstream_forgotten = sample(&cube(|graph, x, _| {
            let square = graph.unary("square", x)?;
            graph.scale(square, 3.0)
        }));
        assert!(upstream_forgotten.unwrap().verdict().is_err());
        let zero = sample(&cube(|graph, _, g| graph.scale(g, 0.0)));
        assert!(matches!(zero.unwrap(), Outcome::Checked(errors) if errors[0].relative == 1.0));
        let not_a_number = sample(&cube(|graph, _, g| graph.scale(g, f64::NAN)));
        assert!(not_a_number.unwrap().verdict().is_err());
    }

    #[test]
    fn a_function_of_the_user_is_checked_at_both_orders() {
        let inputs = [Sample::uniform(&[3, 4], 0.5, 2.0, 1), Sample::uniform(&[4], 0.5, 2.0, 2)];
        let build = |graph: &mut Graph, values: &[Value]| {
            let quotient = graph.div(values[0], values[1])?;
            let log = graph.unary("log", quotient)?;
            graph.sum(log, &[1])
        };
        for outcome in [function(&inputs, build).unwrap(), second_order_function(&inputs, build).unwrap()] {
            outcome.verdict().unwrap();
            assert!(matches!(&outcome, Outcome::Checked(errors) if errors.len() == 2), "{outcome:?}");
        }
    }

    #[test]
    fn kinks_are_an_error_of_the_check() {
        let x = [Array::new(&[2], vec![0.0f32, 1.0]).unwrap()];
        let error = function(&x, |graph, values| graph.unary("relu", values[0])).unwrap_err().to_string();
        assert!(error.contains("not smooth"), "{error}");
    }

    #[test]
    fn skipped_for_a_reason() {
        let reason = |inputs: &[Array], name: &'static str| {
            let outcome = function(inputs, |graph, values| graph.elementwise(name, &values[..1], &[])).unwrap();
            let Outcome::Skipped(reason) = outcome else { panic!("{outcome:?}") };
            reason
        };
        assert_eq!(reason(&[Array::full(&[2], 1u32)], "cast_f32"), "no elements of floats among the inputs");
        assert_eq!(reason(&[Array::full(&[0], 1f32)], "exp"), "no elements of floats among the inputs");
        assert_eq!(reason(&[Array::full(&[2], 1f32)], "cast_u32"), "no float outputs");
        let agreed = sample(&cube(right).by_convention("everyone does it")).unwrap();
        assert!(matches!(agreed, Outcome::Skipped(reason) if reason == "by convention: everyone does it"));
        let rough = second_order(&cube(right).not_smooth()).unwrap();
        assert!(matches!(rough, Outcome::Skipped(reason) if reason.contains("not smooth")));
    }
}
