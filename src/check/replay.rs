//! A run that was recorded step by step, replayed on the reference: which operation went wrong first.
//!
//! Every value that the device stored is compared with what the reference makes, in `f64`, of the values that the device
//! stored before it. So each comparison is about the few operations since then, errors do not add up along the network,
//! and the first value that is wrong names the fault: operation, layer, element. This judges fusion, scheduling and
//! kernels together, on the user's own data, in the middle of a run.
//!
//! The error allowed is derived at the point: what `f32` does to the same operations on the reference, and a few roundings.
//! Where an operation jumps (a comparison, a maximum) and rounding may have decided otherwise, an element is right if the
//! reference gives the same once the stored values are moved by a few roundings.
//!
//! Before: [`crate::program::Program::record`]. After: [`crate::train::Trainer::verify`].

use std::collections::HashMap;
use std::fmt;

use super::rounding::derived;
use super::{Comparison, compare};
use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::graph::{Graph, Leaf, Node, NodeId, NodeKind, Tolerance, Value};
use crate::program::Recording;
use crate::random::Stream;

/// A value that is not what the reference gives, the first of a run.
#[derive(Clone, Debug)]
pub struct Divergence {
    /// Which operation of which layer computed it.
    pub place: Place,
    /// The worst element.
    pub comparison: Comparison,
}

/// The first value of a run that is NaN or infinite although nothing it was made of is.
#[derive(Clone, Debug)]
pub struct NonFinite {
    /// Which operation of which layer computed it; `None` for a leaf, which was so before the run.
    pub place: Option<Place>,
    /// What it is: the leaf's kind and name, or the value in the graph.
    pub what: String,
    /// The first such element.
    pub index: Vec<usize>,
    /// NaN or an infinity.
    pub element: f64,
    /// How many there are, of how many.
    pub count: (usize, usize),
    /// Whether one of them is NaN.
    pub has_nan: bool,
}

/// An operation in a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path of the layer (`stage1.conv2`), empty at the top.
    pub layer: String,
    /// The operation's name.
    pub op: String,
    /// The line of code that asked for it, where that is known.
    pub location: Option<String>,
}

impl Place {
    fn of(node: &Node) -> Self {
        Place {
            layer: node.scope.to_string(),
            op: node.op().map_or("leaf", |op| op.name()).to_owned(),
            location: node.location.map(|location| format!("{}:{}", location.file(), location.line())),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer.as_str() {
            "" => write!(f, "the operation {}", self.op)?,
            layer => write!(f, "the operation {} of the layer {layer}", self.op)?,
        }
        self.location.as_ref().map_or(Ok(()), |location| write!(f, ", from {location}"))
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} differs from the reference: {}", self.place, self.comparison)
    }
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NonFinite { place, what, index, element, count: (count, len), .. } = self;
        match place {
            Some(place) => write!(f, "{place} gives the first value that is not finite: ")?,
            None => write!(f, "what is not finite comes from outside: ")?,
        }
        write!(f, "{what}{index:?} is {element}; {count} of {len} elements are not finite")
    }
}

/// The first value of a recorded run of `graph` that is not what the reference gives, or `None` if all are right.
///
/// # Errors
/// What a reference reports.
pub fn divergence(graph: &Graph, recording: &Recording) -> Result<Option<Divergence>> {
    let live = graph.live();
    let mut uses = uses(graph, &live);
    let mut values: HashMap<Value, Both> = HashMap::new();
    let mut updated: HashMap<Value, &str> = HashMap::new();
    for (_, name, value) in &graph.updates {
        updated.entry(*value).or_insert(name);
    }
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.0]) {
        let computed = match &node.kind {
            NodeKind::Leaf(leaf, name) => vec![Both::of(leaf_of(recording, *leaf, name)?)],
            NodeKind::Op(_) => Both::compute(node, |input| &values[&input])?,
        };
        for (output, both) in computed.into_iter().enumerate() {
            let value = Value { node: id, output };
            let stored = recording.written.get(&value);
            let stored = stored.or_else(|| updated.get(&value).map(|&name| &recording.updates[name]));
            let stored = stored.filter(|_| node.op().is_some());
            if let Some(stored) = stored {
                let name = updated.get(&value).map_or_else(|| value.to_string(), |name| format!("the new {name:?}"));
                let comparison = compare(&name, stored, &both.double, both.tolerance(stored.dtype()))?;
                if !comparison.is_right() {
                    let comparison = beyond_jumps(graph, recording, value, stored, &both, comparison)?;
                    if !comparison.is_right() {
                        return Ok(Some(Divergence { place: Place::of(node), comparison }));
                    }
                }
            }
            values.insert(value, stored.map_or(both, Both::of));
        }
        // What nothing needs any more is given back.
        for input in &node.inputs {
            let left = uses.get_mut(input).expect("every input is used");
            *left -= 1;
            if *left == 0 {
                values.remove(input);
            }
        }
    }
    Ok(None)
}

/// The first value of a recorded run of `graph` that is NaN or infinite although its operands are finite; if there is none,
/// the first NaN that no operand had, or else the first infinity. `None` if all outputs and updates are finite: infinities
/// that serve as masks on the way do no harm.
///
/// # Errors
/// What a reference reports.
pub fn non_finite(graph: &Graph, recording: &Recording) -> Result<Option<NonFinite>> {
    let results = graph.outputs.iter().map(|(_, value)| recording.written.get(value));
    let mut results = results.flatten().chain(recording.updates.values());
    if results.all(|array| first_non_finite(array).is_none()) {
        return Ok(None);
    }
    let live = graph.live();
    let mut values: HashMap<Value, Array> = HashMap::new();
    // What is less telling counts where nothing more telling is found: an infinity may be meant, as in a mask.
    let (mut first_nan, mut first) = (None, None);
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.0]) {
        let (computed, place) = match &node.kind {
            NodeKind::Leaf(leaf, name) => (vec![leaf_of(recording, *leaf, name)?.clone()], None),
            NodeKind::Op(op) => {
                let inputs: Vec<Array> = node.inputs.iter().map(|input| single(&values[input])).collect();
                (op.reference(&inputs).context(|| Place::of(node).to_string())?, Some(Place::of(node)))
            }
        };
        for (output, array) in computed.into_iter().enumerate() {
            let value = Value { node: id, output };
            // The steps' results say where it began; the reference is asked for what was fused away.
            let array = recording.written.get(&value).cloned().unwrap_or(array);
            if let Some(found) = first_non_finite(&array) {
                let what = match &node.kind {
                    NodeKind::Leaf(leaf, name) => format!("the {} {name:?}", format!("{leaf:?}").to_lowercase()),
                    NodeKind::Op(_) => value.to_string(),
                };
                let found = NonFinite { what, place: place.clone(), ..found };
                let operands = || node.inputs.iter().map(|input| &values[input]);
                let begins_here = match &node.kind {
                    NodeKind::Leaf(Leaf::Input, _) => found.has_nan,
                    NodeKind::Leaf(..) => true,
                    // What has no operands is a constant that somebody wrote.
                    NodeKind::Op(_) => {
                        !node.inputs.is_empty() && operands().all(|operand| first_non_finite(operand).is_none())
                    }
                };
                if begins_here {
                    return Ok(Some(found));
                }
                if found.has_nan && !operands().any(has_nan) {
                    first_nan.get_or_insert(found.clone());
                }
                first.get_or_insert(found);
            }
            values.insert(value, array);
        }
    }
    Ok(first_nan.or(first))
}

fn first_non_finite(array: &Array) -> Option<NonFinite> {
    if !array.dtype().is_float() {
        return None;
    }
    let elements = array.to_f64_vec();
    let first = elements.iter().position(|x| !x.is_finite())?;
    let count = elements.iter().filter(|x| !x.is_finite()).count();
    Some(NonFinite {
        place: None,
        what: String::new(),
        index: crate::shape::unravel(first, array.shape()),
        element: elements[first],
        count: (count, elements.len()),
        has_nan: has_nan(array),
    })
}

fn has_nan(array: &Array) -> bool {
    array.dtype().is_float() && array.to_f64_vec().iter().any(|x| x.is_nan())
}

/// What a leaf held before the run.
fn leaf_of<'a>(recording: &'a Recording, leaf: Leaf, name: &str) -> Result<&'a Array> {
    let found = recording.leaves.get(&(leaf, name.to_owned()));
    found
        .ok_or_else(|| Error::new(ErrorKind::Graph, format!("the recording is of another graph: no {leaf:?} {name:?}")))
}

/// A value in both precisions.
struct Both {
    double: Array,
    single: Array,
}

impl Both {
    fn of(array: &Array) -> Self {
        Both { double: in_precision(array, DType::F64), single: single(array) }
    }

    /// The outputs of a node.
    fn compute<'a>(node: &Node, input: impl Fn(Value) -> &'a Both) -> Result<Vec<Self>> {
        let Some(op) = node.op() else { return Ok(Vec::new()) };
        let operands: Vec<&Both> = node.inputs.iter().map(|&value| input(value)).collect();
        let run = |pick: fn(&Both) -> &Array, precision: DType| -> Result<Vec<Array>> {
            let inputs: Vec<Array> = operands.iter().map(|both| pick(both).clone()).collect();
            let outputs = op.reference(&inputs).context(|| Place::of(node).to_string())?;
            Ok(outputs.iter().map(|array| in_precision(array, precision)).collect())
        };
        let (doubles, singles) =
            rayon::join(|| run(|both| &both.double, DType::F64), || run(|both| &both.single, DType::F32));
        Ok(doubles?.into_iter().zip(singles?).map(|(double, single)| Both { double, single }).collect())
    }

    /// The error that a device may show which stores the value as `dtype`.
    fn tolerance(&self, dtype: DType) -> Tolerance {
        let reason = "replay: what rounding and the device's functions do since the last stored value";
        derived(&self.double, &[&self.single], FUNCTIONS, dtype == DType::F16, reason)
    }
}

fn in_precision(array: &Array, precision: DType) -> Array {
    if array.dtype().is_float() { array.cast(precision) } else { array.clone() }
}

fn single(array: &Array) -> Array {
    in_precision(array, DType::F32)
}

fn uses(graph: &Graph, live: &[bool]) -> HashMap<Value, usize> {
    let mut uses = HashMap::new();
    for (_, node) in graph.nodes().filter(|(id, _)| live[id.0]) {
        node.inputs.iter().for_each(|&input| *uses.entry(input).or_default() += 1);
    }
    uses
}

/// What the functions of a device may be off by between two stored values, relative: a few units in the last place.
const FUNCTIONS: f64 = 5e-7;

/// How often the stored values are moved, and by how many roundings at most.
const DRAWS: u64 = 8;
const ROUNDINGS: f64 = 8.0;

/// The comparison of what is left when every element counts as right that the reference gives as well, once the stored
/// values which it comes from are moved by a few roundings: there the function jumps, and either side is right.
fn beyond_jumps(
    graph: &Graph,
    recording: &Recording,
    value: Value,
    stored: &Array,
    both: &Both,
    comparison: Comparison,
) -> Result<Comparison> {
    let tolerance = comparison.tolerance;
    let mut accepted = both.double.to_f64_vec();
    let got = stored.to_f64_vec();
    for draw in 0..DRAWS {
        let moved = moved(graph, recording, value, &mut Stream::new(draw, "replay.move"))?;
        for ((accepted, moved), got) in accepted.iter_mut().zip(moved.to_f64_vec()).zip(&got) {
            if (got - moved).abs() < (got - *accepted).abs() {
                *accepted = moved;
            }
        }
    }
    let accepted = Array::new(both.double.shape(), accepted)?;
    let accepted = if both.double.dtype().is_float() { accepted } else { accepted.cast(both.double.dtype()) };
    compare(&comparison.name, stored, &accepted, tolerance)
}

/// `value` as the reference gives it, in `f64`, from stored values and leaves that are moved by a few roundings.
fn moved(graph: &Graph, recording: &Recording, value: Value, stream: &mut Stream) -> Result<Array> {
    // Nodes between the stored values and this one; a graph's nodes come before those that read them.
    let mut needed = vec![false; value.node.0 + 1];
    needed[value.node.0] = true;
    let known = |input: Value| recording.written.contains_key(&input) || graph.node(input.node).op().is_none();
    for node in (0..=value.node.0).rev().filter(|&node| graph.node(NodeId(node)).op().is_some()) {
        if needed[node] {
            let inputs = &graph.node(NodeId(node)).inputs;
            inputs.iter().filter(|&&input| !known(input)).for_each(|input| needed[input.node.0] = true);
        }
    }
    let mut values: HashMap<Value, Array> = HashMap::new();
    for (id, node) in graph.nodes().filter(|(id, _)| needed.get(id.0).copied().unwrap_or(false)) {
        let Some(op) = node.op() else { continue };
        for &input in &node.inputs {
            if values.contains_key(&input) {
                continue;
            }
            let array = match &graph.node(input.node).kind {
                NodeKind::Leaf(leaf, name) => leaf_of(recording, *leaf, name)?,
                NodeKind::Op(_) => &recording.written[&input],
            };
            values.insert(input, shaken(array, stream)?);
        }
        let inputs: Vec<Array> = node.inputs.iter().map(|input| values[input].clone()).collect();
        for (output, array) in op.reference(&inputs)?.into_iter().enumerate() {
            values.insert(Value { node: id, output }, in_precision(&array, DType::F64));
        }
    }
    Ok(values.remove(&value).expect("the value's own node is needed"))
}

/// Floats moved by up to [`ROUNDINGS`] units in the last place.
fn shaken(array: &Array, stream: &mut Stream) -> Result<Array> {
    if !array.dtype().is_float() {
        return Ok(array.clone());
    }
    let mut shake =
        |x: f64| x * (1.0 + ROUNDINGS * f64::from(f32::EPSILON) * (2.0 * f64::from(stream.uniform()) - 1.0));
    Array::new(array.shape(), array.to_f64_vec().into_iter().map(&mut shake).collect::<Vec<f64>>())
}
