//! Gradients where a function is not smooth: between the slopes of its two sides.
//!
//! At a kink there is no derivative, but the gradient that an operation gives there is no free choice either: along an axis
//! it must lie between the slope to the left and the slope to the right (the subdifferential of Clarke). Each element of
//! each float input is moved by itself, to either side, in `f64`; the outputs have upstream gradients of one sign, so that
//! the kinks of several outputs do not mask each other. Outputs that are not finite get the upstream gradient 0.
//!
//! Where a side has no slope there is nothing to compare with; [`Sides::left_out`] says how often, and why.

use std::collections::BTreeMap;

use super::gradients::GradientError;
use super::probe::Probe;
use super::reference::{self, Evaluation, Leaves};
use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, Sample, Value};

/// The largest relative distance to the nearer slope, and between two estimates of one slope.
const TOLERANCE: f64 = super::gradients::TOLERANCE;

/// Slopes that are as near as this to each other are one: more comes of formulas that cancel.
const NO_KINK: f64 = 1e-4;

/// Steps that are tried, as fractions of the element's magnitude.
const STEPS: [f64; 4] = [1e-4, 1e-5, 1e-6, 1e-7];

/// Elements of an input that are moved; of a larger one every so many-th.
const ELEMENTS: usize = 256;

/// What the slopes of the two sides say of a gradient.
#[derive(Clone, Debug, Default)]
pub struct Sides {
    /// Elements at which both sides have one slope, which the gradient is.
    pub smooth: usize,
    /// Elements at which the sides have different slopes, and the gradient lies between them.
    pub kinks: usize,
    /// Elements that were not compared, by reason.
    pub left_out: BTreeMap<&'static str, usize>,
    /// The worst element of each input: `numeric` is the nearer slope, `relative` the distance beyond it.
    pub errors: Vec<GradientError>,
}

/// A jump: what the value changes by does not shrink with the step.
pub const JUMP: &str = "the value jumps";
/// An infinite slope, as of the root at 0.
pub const STEEP: &str = "the slope of one side is infinite";
/// A side on which an output is not finite.
pub const UNDEFINED: &str = "one side is undefined";
/// Neither of these, and no slope.
pub const UNSETTLED: &str = "the slope of one side does not settle";
/// Infinities and NaN among the inputs, which do not move.
pub const NOT_FINITE: &str = "the input is not finite";
/// A gradient that is no number since an output beside it is none.
pub const BESIDE: &str = "the gradient is no number beside an input or output that is not finite";
/// Elements of large inputs.
pub const SAMPLED: &str = "one of many";

impl Sides {
    /// The reasons for which elements were not compared, with their numbers.
    pub fn reasons(&self) -> String {
        let reasons = self.left_out.iter().map(|(reason, count)| format!("{reason} ({count})"));
        reasons.collect::<Vec<_>>().join(", ")
    }
}

/// Compares the gradient of an operation at a sample with the slopes of the two sides of every element. `None` where there
/// is no gradient, or nothing of floats.
///
/// # Errors
/// What inference and references report. A wrong gradient is among [`Sides::errors`].
pub fn of_sample(sample: &Sample) -> Result<Option<Sides>> {
    let mut probe = Probe::new(&sample.inputs, |graph, values| graph.apply(sample.op.clone(), values))?;
    let forward = probe.evaluate(&probe.outputs, DType::F64)?;
    let outputs: Vec<Value> = probe.outputs.clone();
    let floats = outputs.into_iter().filter(|y| probe.graph.type_of(*y).dtype.is_float());
    let mut weighed = Vec::new();
    for y in floats {
        weighed.push(Weighed::new(y, forward.computed(y)?));
    }
    let Some(loss) = weighted_sum(&mut probe, &weighed)? else { return Ok(None) };
    let gradients = match probe.gradients(loss) {
        Err(error) if error.kind() == ErrorKind::Gradient => return Ok(None),
        gradients => gradients?,
    };
    let evaluation = probe.evaluate(&gradients, DType::F64)?;
    let finite_outputs = weighed.iter().all(|y| y.base.iter().all(|y| y.is_finite()));
    let finite = finite_outputs && sample.inputs.iter().all(|a| a.to_f64_vec().iter().all(|x| x.is_finite()));
    let graph = probe.graph_of(&weighed.iter().map(|y| y.value).collect::<Vec<_>>());
    let mut sides = Sides::default();
    for ((input, _), gradient) in probe.differentiable().into_iter().zip(gradients) {
        let gradient = evaluation.computed(gradient)?.to_f64_vec();
        let mut moving =
            Moving { graph: &graph, leaves: probe.leaves.clone(), key: probe.key(input), outputs: &weighed };
        let point = moving.leaves[&moving.key].cast(DType::F64);
        let elements = point.to_f64_vec();
        let stride = elements.len().div_ceil(ELEMENTS).max(1);
        let mut worst: Option<GradientError> = None;
        for (i, (&x, &analytic)) in elements.iter().zip(&gradient).enumerate() {
            let found = if i % stride != 0 {
                Err(SAMPLED)
            } else if !x.is_finite() {
                Err(NOT_FINITE)
            } else if !analytic.is_finite() && !finite {
                Err(BESIDE)
            } else {
                moving.slopes(&elements, point.shape(), i)?
            };
            let [left, right] = match found {
                Ok(slopes) => slopes,
                Err(reason) => {
                    *sides.left_out.entry(reason).or_default() += 1;
                    continue;
                }
            };
            let (low, high) = (left.slope.min(right.slope), left.slope.max(right.slope));
            let numeric = if analytic.is_nan() { low } else { analytic.clamp(low, high) };
            let uncertain = left.uncertain.max(right.uncertain);
            let scale = low.abs().max(high.abs()).max(analytic.abs());
            let one = high - low <= NO_KINK * scale + 2.0 * uncertain;
            *(if one { &mut sides.smooth } else { &mut sides.kinks }) += 1;
            let beyond = ((analytic - numeric).abs() - 10.0 * uncertain).max(0.0);
            let relative = if beyond == 0.0 { 0.0 } else { beyond / scale };
            let relative = if analytic.is_finite() { relative } else { f64::INFINITY };
            if worst.as_ref().is_none_or(|known| relative > known.relative) {
                let name = format!("{}, element {:?}", probe.names[input], crate::shape::unravel(i, point.shape()));
                worst = Some(GradientError { input, name, analytic, numeric, relative });
            }
        }
        sides.errors.extend(worst);
    }
    Ok(Some(sides))
}

/// An output with its values at the point, and the upstream gradient of each element.
struct Weighed {
    value: Value,
    base: Vec<f64>,
    weights: Array,
    finite: Array,
}

impl Weighed {
    /// Weights near 1 for elements that are finite. They rise from the first element to the last: an element of a sorted
    /// axis that changes places passes all those in between, and so must its slope.
    fn new(value: Value, array: &Array) -> Self {
        let base = array.to_f64_vec();
        let finite: Vec<bool> = base.iter().map(|y| y.is_finite()).collect();
        let rise = 0.5 / base.len().max(1) as f32;
        let weights = finite.iter().enumerate();
        let weights = weights.map(|(i, finite)| if *finite { 0.75 + rise * i as f32 } else { 0.0 });
        let of_shape = "as many as the output has";
        Weighed {
            value,
            weights: Array::new(array.shape(), weights.collect::<Vec<f32>>()).expect(of_shape),
            finite: Array::new(array.shape(), finite.iter().map(|&finite| u32::from(finite)).collect())
                .expect(of_shape),
            base,
        }
    }
}

/// Adds the sum of all finite output elements with their weights.
fn weighted_sum(probe: &mut Probe, outputs: &[Weighed]) -> Result<Option<Value>> {
    let mut loss = None;
    for (i, output) in outputs.iter().enumerate() {
        let finite = probe.leaf(format!("finite{i}"), output.finite.clone())?;
        let weights = probe.leaf(format!("weight{i}"), output.weights.clone())?;
        let graph = &mut probe.graph;
        let y = graph.cast(output.value, DType::F32)?;
        let zeros = graph.full(output.weights.shape(), 0.0, DType::F32)?;
        let y = graph.elementwise("select", &[finite, y, zeros], &[])?;
        let y = graph.mul(y, weights)?;
        let axes: Vec<usize> = (0..output.weights.shape().len()).collect();
        let sum = graph.sum(y, &axes)?;
        let sum = graph.reshape(sum, &[])?;
        loss = Some(loss.map_or(Ok(sum), |total| graph.add(total, sum))?);
    }
    Ok(loss)
}

/// A slope to one side, and how far two estimates of it are apart.
#[derive(Clone, Copy)]
struct Slope {
    slope: f64,
    uncertain: f64,
}

/// An input of which one element at a time moves.
struct Moving<'a> {
    graph: &'a Graph,
    leaves: Leaves,
    key: (crate::graph::Leaf, String),
    outputs: &'a [Weighed],
}

impl Moving<'_> {
    /// The slopes to the left and to the right of element `i`, or why one of them has none.
    fn slopes(
        &mut self,
        elements: &[f64],
        shape: &[usize],
        i: usize,
    ) -> Result<std::result::Result<[Slope; 2], &'static str>> {
        let mut slopes = [Slope { slope: 0.0, uncertain: 0.0 }; 2];
        for (slope, sign) in slopes.iter_mut().zip([-1.0, 1.0]) {
            match self.slope(elements, shape, i, sign)? {
                Ok(found) => *slope = found,
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Ok(Ok(slopes))
    }

    fn slope(
        &mut self,
        elements: &[f64],
        shape: &[usize],
        i: usize,
        sign: f64,
    ) -> Result<std::result::Result<Slope, &'static str>> {
        let size = elements[i].abs().max(1e-2);
        let reached = self.reached(elements, shape, i, size)?;
        let mut best: Option<Slope> = None;
        let mut changes = Vec::new();
        // Whole numbers that are large make stairs at steps in proportion to them.
        let stairs = (1e3..1e12).contains(&size).then_some(0.25 / size);
        for step in STEPS.into_iter().chain(stairs) {
            // The change of the weighted sum by the step that was really made, and the slope of that.
            let mut at = |step: f64| {
                let moved = elements[i] + sign * step;
                let change = self.change(elements, shape, i, moved)?;
                Ok::<_, Error>(change.map(|change| (change, change / (moved - elements[i]))))
            };
            let estimates = [at(size * step)?, at(size * step / 2.0)?, at(size * step / 4.0)?];
            let [Some((change, whole)), Some((_, half)), Some((_, quarter))] = estimates else {
                return Ok(Err(UNDEFINED));
            };
            changes.push((change, whole));
            // One-sided quotients are off in proportion to the step; that cancels. What is left is rounding.
            let (first, second) = (2.0 * half - whole, 2.0 * quarter - half);
            let rounding = 16.0 * f64::EPSILON * (reached / (size * step) + second.abs());
            let slope = Slope { slope: second, uncertain: (first - second).abs() + rounding };
            match best {
                // A smaller step that says otherwise is believed: what looked like a slope was a mean over many jumps.
                Some(known) if (known.slope - slope.slope).abs() > 10.0 * (known.uncertain + slope.uncertain) => {
                    best = Some(Slope { uncertain: f64::INFINITY, ..known });
                }
                Some(known) if known.uncertain <= slope.uncertain => {}
                _ => best = Some(slope),
            }
        }
        let best = best.expect("there are steps");
        if best.uncertain <= TOLERANCE * best.slope.abs().max(reached / size) {
            return Ok(Ok(best));
        }
        let ((largest, gentle), (smallest, steep)) = (changes[0], changes[STEPS.len() - 1]);
        Ok(Err(match () {
            () if smallest.abs() > 0.5 * largest.abs() => JUMP,
            () if steep.abs() > 2.0 * gentle.abs() => STEEP,
            () => UNSETTLED,
        }))
    }

    /// The sum of the magnitudes, weighted, of the outputs that element `i` reaches, the largest nearby.
    fn reached(&mut self, elements: &[f64], shape: &[usize], i: usize, size: f64) -> Result<f64> {
        let mut largest: Vec<Vec<f64>> = self.outputs.iter().map(|output| vec![0.0; output.base.len()]).collect();
        for moved in [elements[i] - 0.5 * size, elements[i] + 0.5 * size] {
            let evaluation = self.evaluate(elements, shape, i, moved)?;
            for (output, largest) in self.outputs.iter().zip(&mut largest) {
                let now = evaluation.computed(output.value)?.to_f64_vec();
                for ((now, base), largest) in now.iter().zip(&output.base).zip(largest) {
                    if base.is_finite() && now.is_finite() && now != base {
                        *largest = largest.max(now.abs()).max(base.abs());
                    }
                }
            }
        }
        let weighted = self.outputs.iter().zip(&largest).flat_map(|(output, largest)| {
            largest.iter().zip(output.weights.to_f64_vec()).map(|(y, weight)| y * weight)
        });
        Ok(weighted.sum())
    }

    /// The change of the weighted sum of the finite outputs when element `i` is `moved`; `None` if one becomes infinite or NaN.
    fn change(&mut self, elements: &[f64], shape: &[usize], i: usize, moved: f64) -> Result<Option<f64>> {
        let evaluation = self.evaluate(elements, shape, i, moved)?;
        let mut change = 0.0;
        for output in self.outputs {
            let now = evaluation.computed(output.value)?.to_f64_vec();
            let weights = output.weights.to_f64_vec();
            for ((now, base), weight) in now.iter().zip(&output.base).zip(weights).filter(|((_, y), _)| y.is_finite()) {
                if !now.is_finite() {
                    return Ok(None);
                }
                change += weight * (now - base);
            }
        }
        Ok(Some(change))
    }

    fn evaluate(&mut self, elements: &[f64], shape: &[usize], i: usize, moved: f64) -> Result<Evaluation> {
        let mut elements = elements.to_vec();
        elements[i] = moved;
        self.leaves.insert(self.key.clone(), Array::new(shape, elements)?);
        reference::run(self.graph, &self.leaves, DType::F64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Gradient, Lowering, Op, TensorType, Tolerance};

    /// `|x|` with the gradient `slope` at 0, or `√x`, or the sign.
    #[derive(Debug)]
    struct Rough(fn(f64) -> f64, f64);

    impl Op for Rough {
        fn name(&self) -> &'static str {
            "rough"
        }
        fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
            Ok(inputs.to_vec())
        }
        fn gradient(&self) -> Gradient<'_> {
            Gradient::rule(|cx| {
                let (x, g) = (cx.input(0), cx.gradient(0).expect("one output"));
                let zero = cx.graph.constant(0.0, DType::F32)?;
                let slope = cx.graph.constant(self.1, DType::F32)?;
                let (at_zero, sign) = (cx.graph.elementwise("eq", &[x, zero], &[])?, cx.graph.unary("sign", x)?);
                let factor = cx.graph.elementwise("select", &[at_zero, slope, sign], &[])?;
                let gradient = cx.graph.mul(g, factor)?;
                cx.give(0, gradient);
                Ok(())
            })
        }
        fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
            let elements = inputs[0].to_f64_vec().into_iter().map(self.0).collect();
            Ok(vec![Array::new(inputs[0].shape(), elements)?.cast(inputs[0].dtype())])
        }
        fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
            Lowering::Decompose
        }
    }

    fn sides(function: fn(f64) -> f64, slope: f64) -> Sides {
        let point = Array::new(&[3], vec![-2.0f32, 0.0, 3.0]).unwrap();
        let sample = Sample::new("rough", Rough(function, slope), vec![point], Tolerance::ROUNDED);
        of_sample(&sample.not_smooth()).unwrap().unwrap()
    }

    #[test]
    fn at_a_kink_all_between_the_slopes_is_right_and_nothing_else() {
        for slope in [-1.0, 0.0, 0.3, 1.0] {
            let sides = sides(f64::abs, slope);
            assert_eq!((sides.smooth, sides.kinks), (2, 1), "{sides:?}");
            assert!(sides.errors.iter().all(GradientError::is_right), "{sides:?}");
        }
        for slope in [-1.001, 1.001, f64::NAN] {
            let sides = sides(f64::abs, slope);
            assert!(
                sides.errors.iter().any(|error| !error.is_right() && error.name.contains("element [1]")),
                "{sides:?}"
            );
        }
        // Smooth, and the gradient is that of another function.
        assert!(sides(|x| 2.0 * x.abs(), 0.0).errors.iter().any(|error| !error.is_right()));
    }

    #[test]
    fn what_has_no_slope_is_left_out_for_a_reason() {
        let reason = |function: fn(f64) -> f64| sides(function, 0.0).reasons();
        assert!(reason(|x| if x < 0.0 { -x } else { x + 1.0 }).contains(JUMP));
        assert!(reason(|x| if x < 0.5 { x.abs().sqrt() } else { x }).contains(STEEP));
        assert!(reason(|x| if x < 0.0 && x > -1.0 { f64::NAN } else { x.abs() }).contains(UNDEFINED));
    }
}
