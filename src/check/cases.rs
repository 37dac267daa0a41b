//! From a sample, the graphs that a device must get right: forward, through views, between neighbours, and gradient.
//!
//! A [`Case`] is complete: graph, data, and for every output what the `f64` reference gives with the error that is allowed.
//!
//! What is one sum is allowed what [`error_model`] says of each element. Otherwise forward outputs have the sample's own
//! tolerance, and a gradient, which runs through other formulas than the operation, a derived one: [`gradient_tolerance`].

use std::collections::BTreeMap;
use std::fmt;

use crate::array::Array;
use crate::check::compare::{Comparison, compare_each};
use crate::check::probe::Probe;
use crate::check::{error_model, neighbours, rounding};
use crate::dtype::DType;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::graph::{Expect, Gradient, Graph, Sample, TensorType, Tolerance, Value};
use crate::ops::movement::Slice;
use crate::random::stream_id;
use crate::shape::element_count;

/// What a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// The operation.
    Forward,
    /// The operation on inputs that are views: permuted from a transposed tensor, or strided slices of a larger one.
    Views,
    /// The operation between elementwise functions, which may become a part of its kernels.
    Neighbours,
    /// The gradients of its float inputs.
    Gradient,
}

impl Direction {
    /// All of them, in the order in which they run.
    pub const ALL: [Direction; 4] = [Direction::Forward, Direction::Views, Direction::Neighbours, Direction::Gradient];
}

impl Case {
    /// Whether it stores `f16`, which not every device does.
    pub fn needs_f16(&self) -> bool {
        self.graph.uses(DType::F16)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Forward => "forward",
            Direction::Views => "views",
            Direction::Neighbours => "neighbours",
            Direction::Gradient => "gradient",
        })
    }
}

/// What one output must be.
#[derive(Clone, Debug)]
pub struct Want {
    /// The output's name.
    pub name: String,
    /// By the reference in `f64`.
    pub array: Array,
    /// The allowed error.
    pub tolerance: Tolerance,
    /// The allowed error of each element by [`error_model`], where that says more than the tolerance: not finite where it
    /// does not.
    pub bounds: Option<Vec<f64>>,
}

impl Want {
    /// Compares a result with this.
    ///
    /// # Errors
    /// As [`compare`](super::compare()).
    pub fn compare(&self, got: &Array) -> Result<Comparison> {
        let allowed = |i: usize| {
            let bound =
                self.bounds.as_ref().and_then(|bounds| bounds.get(i).copied()).filter(|bound| bound.is_finite());
            bound.map_or(self.tolerance, |absolute| Tolerance { absolute, relative: 0.0, reason: error_model::REASON })
        };
        compare_each(&self.name, got, &self.array, &allowed)
    }

    /// Allows so many more roundings to `f16`, unless nothing is rounded.
    pub(super) fn allow_halves(&mut self, roundings: usize) {
        let more = |absolute: f64, y: f64| {
            absolute + roundings as f64 * (Tolerance::HALF.absolute + Tolerance::HALF.relative * y.abs())
        };
        if let Some(bounds) = &mut self.bounds {
            bounds.iter_mut().zip(self.array.to_f64_vec()).for_each(|(bound, y)| *bound = more(*bound, y));
        }
        if self.tolerance.absolute > 0.0 {
            self.tolerance.absolute = more(self.tolerance.absolute, 0.0);
            self.tolerance.relative += roundings as f64 * Tolerance::HALF.relative;
        }
    }
}

/// A graph that a device must get right.
#[derive(Clone, Debug)]
pub struct Case {
    /// The sample's name.
    pub name: String,
    /// What the graph runs.
    pub direction: Direction,
    /// Reads inputs by name; its outputs are those of `wants`, in the same order.
    pub graph: Graph,
    /// The data of the inputs: `in0`, …; for gradients also `weight0`, … and `curvature0`, ….
    pub leaves: BTreeMap<String, Array>,
    /// `out0`, … for every output of the operation, or `grad_in0`, … for every float input.
    pub wants: Vec<Want>,
}

/// The cases of a sample; none for one that must fail.
///
/// # Errors
/// What inference and the references report.
pub fn cases(sample: &Sample) -> Result<Vec<Case>> {
    Direction::ALL.into_iter().filter_map(|direction| case_of(sample, direction).transpose()).collect()
}

/// The case of a sample in one direction; none for a sample that must fail.
///
/// There is no gradient case where no input or no output is of floats, where the gradient is zero by definition, or where
/// the operation says that it has none; no case of views where there are no inputs; none of neighbours without floats.
///
/// # Errors
/// What inference and the references report.
pub fn case_of(sample: &Sample, direction: Direction) -> Result<Option<Case>> {
    if matches!(sample.expect, Expect::Error(..)) {
        return Ok(None);
    }
    let probe = || Probe::new(&sample.inputs, |graph, values| graph.apply(sample.op.clone(), values));
    match direction {
        Direction::Forward => forward(sample, direction, &probe()?).map(Some),
        Direction::Views if sample.inputs.is_empty() => Ok(None),
        Direction::Views => views(sample).map(Some),
        Direction::Neighbours => neighbours::case(sample),
        Direction::Gradient => gradient(sample, &mut probe()?),
    }
}

/// Checks that a sample that must fail is refused by `infer` with the kind and the words it says; others are right.
///
/// # Errors
/// [`ErrorKind::Parity`] when it is accepted, or refused otherwise.
pub fn check_error(sample: &Sample) -> Result<()> {
    let Expect::Error(kind, words) = sample.expect else { return Ok(()) };
    let types: Vec<TensorType> = sample.inputs.iter().map(|a| TensorType::new(a.dtype(), a.shape())).collect();
    let wanted = format!("a {kind:?} error with {words:?}");
    match sample.op.infer(&types) {
        Err(error) if error.kind() == kind && error.to_string().contains(words) => Ok(()),
        Err(error) => Err(Error::new(ErrorKind::Parity, format!("{:?} gives {error:?}, not {wanted}", sample.op))),
        Ok(types) => Err(Error::new(ErrorKind::Parity, format!("{:?} gives {types:?}, not {wanted}", sample.op))),
    }
}

/// The case of what a probe gives, with the sample's own tolerance.
pub(super) fn forward(sample: &Sample, direction: Direction, probe: &Probe) -> Result<Case> {
    let results = probe.outputs.iter().enumerate().map(|(i, value)| (format!("out{i}"), *value)).collect();
    case(sample, direction, probe, results, |_, _| sample.tolerance)
}

/// The forward pass with every input stored otherwise than the operation reads it.
fn views(sample: &Sample) -> Result<Case> {
    // Which kind of view comes first depends on the name, so that both meet operations of one input.
    let flip = stream_id(&sample.name) as usize % 2;
    let stored = sample.inputs.iter().enumerate().map(|(i, array)| match (i + flip) % 2 {
        0 if array.shape().iter().filter(|&&extent| extent > 1).count() > 1 => transposed(array),
        _ => inside_larger(array),
    });
    let (arrays, views): (Vec<Array>, Vec<View>) = stored.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let probe = Probe::new(&arrays, |graph, values| {
        let inputs = values.iter().zip(&views).map(|(value, view)| view.apply(graph, *value));
        let inputs = inputs.collect::<Result<Vec<Value>>>()?;
        graph.apply(sample.op.clone(), &inputs)
    })?;
    forward(sample, Direction::Views, &probe)
}

/// How an input is read from how it is stored.
enum View {
    Permute(Vec<usize>),
    Slice(Slice, Vec<usize>),
}

impl View {
    fn apply(&self, graph: &mut Graph, stored: Value) -> Result<Value> {
        match self {
            View::Permute(axes) => graph.permute(stored, axes),
            View::Slice(slice, shape) => {
                let taken = graph.emit(slice.clone(), &[stored])?;
                graph.reshape(taken, shape)
            }
        }
    }
}

/// The array with its axes in reverse order, and the view that puts them back.
fn transposed(array: &Array) -> Result<(Array, View)> {
    let axes: Vec<usize> = (0..array.shape().len()).rev().collect();
    let mut graph =
        Probe::new(std::slice::from_ref(array), |graph, values| Ok(vec![graph.permute(values[0], &axes)?]))?;
    let stored = std::mem::take(&mut graph.outputs)[0];
    let evaluation = graph.evaluate(&[stored], if array.dtype() == DType::F64 { DType::F64 } else { DType::F32 })?;
    Ok((evaluation.output("0")?.cast(array.dtype()), View::Permute(axes)))
}

/// A larger array that holds the given one at every second place of the last axis and one further on the others, filled
/// with a number that no sample uses; and the view that takes it out.
fn inside_larger(array: &Array) -> Result<(Array, View)> {
    const FILLER: f64 = 7777.0;
    let shape = array.shape().to_vec();
    let flat = if shape.is_empty() { vec![1] } else { shape.clone() };
    let last = flat.len() - 1;
    let step: Vec<usize> = (0..flat.len()).map(|axis| if axis == last { 2 } else { 1 }).collect();
    let begin = vec![1; flat.len()];
    let end: Vec<usize> = flat.iter().zip(&step).map(|(n, step)| 1 + n * step).collect();
    let stored: Vec<usize> = end.iter().map(|end| end + 1).collect();
    let elements = array.to_f64_vec();
    let inner = crate::shape::strides(&flat);
    let filled = (0..element_count(&stored)).map(|position| {
        let index = crate::shape::unravel(position, &stored);
        let mut element = 0;
        for axis in 0..index.len() {
            let from_begin = index[axis].wrapping_sub(begin[axis]);
            if from_begin % step[axis] != 0 || from_begin / step[axis] >= flat[axis] {
                return FILLER;
            }
            element += from_begin / step[axis] * inner[axis];
        }
        elements[element]
    });
    let larger = Array::new(&stored, filled.collect::<Vec<f64>>())?.cast(array.dtype());
    Ok((larger, View::Slice(Slice { begin, end, step }, shape)))
}

fn gradient(sample: &Sample, probe: &mut Probe) -> Result<Option<Case>> {
    let differentiable = probe.differentiable();
    if differentiable.is_empty() || matches!(sample.op.gradient(), Gradient::Zero) {
        return Ok(None);
    }
    let forward = probe.evaluate(&probe.outputs, DType::F64)?;
    let forward: Vec<Array> = forward.outputs().map(|(_, array)| array.clone()).collect();
    let Some(loss) = probe.loss()? else { return Ok(None) };
    let gradients = match probe.gradients(loss) {
        Err(error) if error.kind() == ErrorKind::Gradient => return Ok(None),
        gradients => gradients?,
    };
    let names = differentiable.iter().map(|(input, _)| format!("grad_in{input}"));
    let results = names.zip(gradients).collect();
    let tolerance = |double: &Array, single: &Array| gradient_tolerance(sample, &forward, double, single);
    case(sample, Direction::Gradient, probe, results, tolerance).map(Some)
}

/// The case that computes `results`, with what the reference gives in `f64` and a tolerance from that and from `f32`.
fn case(
    sample: &Sample,
    direction: Direction,
    probe: &Probe,
    results: Vec<(String, Value)>,
    tolerance: impl Fn(&Array, &Array) -> Tolerance,
) -> Result<Case> {
    let values: Vec<Value> = results.iter().map(|(_, value)| *value).collect();
    let evaluate = |precision| {
        let evaluation = probe.evaluate(&values, precision);
        evaluation.context(|| format!("sample {:?} of {:?}, {direction}", sample.name, sample.op))
    };
    let (double, single) = (evaluate(DType::F64)?, evaluate(DType::F32)?);
    let wants = results.iter().zip(double.outputs().zip(single.outputs()));
    let wants = wants.map(|((name, _), ((_, double), (_, single)))| Want {
        name: name.clone(),
        array: double.clone(),
        tolerance: tolerance(double, single),
        bounds: None,
    });
    let mut wants: Vec<Want> = wants.collect();
    // Only what the results need: a graph without the loss that the gradients came from.
    let mut graph = probe.graph.clone();
    graph.outputs = results;
    let (graph, _) = graph.rewrite(|graph, id, inputs| {
        let op = probe.graph.node(id).op().expect("rewrite asks for operations alone");
        graph.apply(op.clone(), inputs)
    })?;
    let leaves = probe.leaves.iter().map(|((_, name), array)| (name.clone(), array.clone())).collect();
    let bounded = |wants: &mut Vec<Want>| -> Result<()> {
        let bounds = error_model::bounds(&graph, &leaves)?;
        for want in wants {
            let of_want = bounds.get(&want.name).map(|bounds| error_model::errors(&want.name, bounds, &want.array));
            want.bounds = of_want.transpose()?;
        }
        Ok(())
    };
    bounded(&mut wants).context(|| format!("sample {:?} of {:?}, {direction}", sample.name, sample.op))?;
    Ok(Case { name: sample.name.clone(), direction, graph, leaves, wants })
}

/// The error allowed in a gradient whose reference is `double` in `f64` and `single` in `f32`: [`rounding::derived`] with
/// the sample's own tolerance, taken relative to the operation's largest output, as what the device's functions may be off
/// by.
pub fn gradient_tolerance(sample: &Sample, forward: &[Array], double: &Array, single: &Array) -> Tolerance {
    let half = sample.inputs.iter().any(|array| array.dtype() == DType::F16);
    let floats = forward.iter().filter(|array| array.dtype().is_float());
    let output = floats.map(rounding::largest).fold(0.0, f64::max);
    let of_sample =
        sample.tolerance.relative + if output > 0.0 { (sample.tolerance.absolute / output).min(1e-4) } else { 0.0 };
    let reason =
        "gradient: 4 times the sample's tolerance and the f32 reference's error, scaled to the largest element";
    rounding::derived(double, &[single], of_sample, half, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Dimension;

    use crate::check::reference;
    use crate::graph::Leaf;
    use crate::ops::elementwise::{Elementwise, row_named};

    fn sample() -> Sample {
        let op = Elementwise { row: row_named("mul").unwrap(), parameters: vec![] };
        let inputs = vec![Sample::uniform(&[3, 4], -1.0, 1.0, 1), Sample::uniform(&[4], -1.0, 1.0, 2)];
        Sample::new("row", op, inputs, Tolerance::ROUNDED)
    }

    #[test]
    fn every_case_is_complete_and_the_f32_reference_passes_it() {
        let cases = cases(&sample()).unwrap();
        let directions: Vec<Direction> = cases.iter().map(|case| case.direction).collect();
        assert_eq!(directions, Direction::ALL);
        for case in cases {
            case.graph.verify().unwrap();
            let leaves = case.leaves.iter().map(|(name, array)| ((Leaf::Input, name.clone()), array.clone())).collect();
            let evaluation = reference::run(&case.graph, &leaves, DType::F32).unwrap();
            assert_eq!(case.graph.outputs.len(), case.wants.len());
            for want in &case.wants {
                let got = evaluation.output(&want.name).unwrap();
                want.compare(got).unwrap().verdict().unwrap();
            }
        }
    }

    #[test]
    fn views_store_otherwise_and_read_the_same() {
        let sample = sample();
        let cases = cases(&sample).unwrap();
        assert_eq!(cases[0].wants[0].array, cases[1].wants[0].array);
        let stored: Vec<&[usize]> = cases[1].leaves.values().map(Array::shape).collect();
        assert!(stored == [&[4, 3][..], &[10]] || stored == [&[5, 10][..], &[10]], "{stored:?}");
        for shape in [&[][..], &[1], &[0, 3], &[2, 1], &[2, 3, 4]] {
            let array = Array::from_fn(shape, |index| index.slice().iter().fold(1, |sum, i| 10 * sum + *i as u32));
            for (stored, view) in [transposed(&array).unwrap(), inside_larger(&array).unwrap()] {
                let probe = Probe::new(&[stored], |graph, values| Ok(vec![view.apply(graph, values[0])?])).unwrap();
                let evaluation = probe.evaluate(&probe.outputs, DType::F64).unwrap();
                assert_eq!(*evaluation.output("0").unwrap(), array);
            }
        }
    }

    #[test]
    fn gradients_have_room_for_rounding_and_not_for_a_missing_term() {
        let case = cases(&sample()).unwrap().pop().unwrap();
        assert_eq!(case.leaves.keys().map(String::as_str).collect::<Vec<_>>(), ["curvature0", "in0", "in1", "weight0"]);
        assert_eq!(case.wants.iter().map(|want| want.name.as_str()).collect::<Vec<_>>(), ["grad_in0", "grad_in1"]);
        for want in case.wants {
            assert!(want.tolerance.absolute < 1e-5 && want.tolerance.relative < 1e-5, "{:?}", want.tolerance);
        }
    }

    #[test]
    fn samples_that_must_fail_have_no_cases_and_are_checked() {
        let op = Elementwise { row: row_named("exp").unwrap(), parameters: vec![] };
        let error = |inputs: Vec<Array>, words| Sample::error("wrong", op.clone(), inputs, ErrorKind::DType, words);
        let integers = vec![Array::full(&[2], 1u32)];
        let right = error(integers.clone(), "takes floats");
        assert!(cases(&right).unwrap().is_empty());
        check_error(&right).unwrap();
        assert!(check_error(&error(integers, "other words")).unwrap_err().to_string().contains("other words"));
        let accepted = check_error(&error(vec![Array::full(&[2], 1f32)], "takes floats")).unwrap_err().to_string();
        assert!(accepted.contains("not a DType error"), "{accepted}");
        check_error(&sample()).unwrap();
    }
}
