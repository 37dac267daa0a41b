//! How far sums may be off, element by element: the error model of products, convolutions, reductions and means.
//!
//! A tolerance that one number says for a whole result is too wide for most of its elements. Where a case is one step
//! that sums, [`evaluate`](crate::schedule::evaluate) follows its definition term by term in `f64`, and says of every element what roundings to `f32`
//! may do: in proportion to the sum of the absolute terms and to the root of their number, so that what cancels has its
//! room and no more. Cases of several steps keep the tolerance of their sample.
//!
//! Before: [`mod@super::cases`]. After: [`Want::compare`](super::Want::compare).
//! Source: Higham and Mary, "A new approach to probabilistic rounding error analysis", 2019.

use std::collections::BTreeMap;

use crate::array::Array;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Accumulator, Graph, WindowKind};
use crate::schedule::evaluate::{Choice, Products, evaluate_as};
use crate::schedule::{Capabilities, Schedule, StoreLayout, Work, schedule};
use crate::simplify::simplify;

/// Why these bounds, for people.
pub const REASON: &str = "roundings of a sum, by the absolute terms of this element";

/// An element of a result, as the model sees it.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// The sum.
    pub value: f64,
    /// What it may be off by; infinite where the model cannot say.
    pub error: f64,
}

/// The bound of every element of the outputs, by output; empty where the graph is not one step that sums.
///
/// # Errors
/// When the graph cannot be scheduled, or a leaf is missing.
pub fn bounds(graph: &Graph, leaves: &BTreeMap<String, Array>) -> Result<BTreeMap<String, Vec<Bound>>> {
    bounds_as(graph, leaves, Products::Direct)
}

/// As [`bounds`], for a device that computes products so.
///
/// # Errors
/// As [`bounds`].
pub fn bounds_as(
    graph: &Graph,
    leaves: &BTreeMap<String, Array>,
    products: Products,
) -> Result<BTreeMap<String, Vec<Bound>>> {
    let schedule = portable(graph)?;
    let [step] = &schedule.steps[..] else { return Ok(BTreeMap::new()) };
    if !sums(&step.work) {
        return Ok(BTreeMap::new());
    }
    let operands = step.reads.iter().map(|slot| {
        let (name, _) = schedule
            .inputs
            .iter()
            .find(|(_, input)| input == slot)
            .ok_or_else(|| Error::new(ErrorKind::Graph, format!("{}: an operand that is no input", step.label)))?;
        let array = leaves.get(name).ok_or_else(|| Error::new(ErrorKind::Graph, format!("no data for {name:?}")))?;
        Ok(array.cast(schedule.slot(*slot).ty.dtype).to_words())
    });
    let operands = operands.collect::<Result<Vec<_>>>()?;
    let elements = evaluate_as(&schedule, step, &operands, Choice::All, products)?;
    let mut bounds = BTreeMap::new();
    for (name, slot, ty) in schedule.outputs.iter().filter(|(_, _, ty)| ty.dtype.is_float()) {
        let Some(write) = step.writes.iter().position(|write| write == slot) else { continue };
        let mut of_output = vec![Bound { value: f64::NAN, error: f64::INFINITY }; ty.len()];
        for element in elements.iter().filter(|element| element.write == write) {
            of_output[element.index] = Bound { value: element.value, error: element.error };
        }
        bounds.insert(name.clone(), of_output);
    }
    Ok(bounds)
}

/// The errors of `bounds`, after a look at whether the model has followed the sums of the reference at all: a bound of
/// something else would be worth nothing.
///
/// # Errors
/// [`ErrorKind::Parity`] with the first element at which the two differ.
pub fn errors(name: &str, bounds: &[Bound], reference: &Array) -> Result<Vec<f64>> {
    let wanted = reference.to_f64_vec();
    for (i, (bound, want)) in bounds.iter().zip(&wanted).enumerate() {
        let Bound { value, error } = *bound;
        if error.is_finite() && want.is_finite() && (value - want).abs() > error.max(1e-12 * want.abs()) {
            let text =
                format!("the error model of {name}, element {i}, sums up to {value:e}, the reference to {want:e}");
            return Err(Error::new(ErrorKind::Parity, text));
        }
    }
    Ok(bounds.iter().map(|bound| bound.error).collect())
}

/// The graph's schedule for a device without limits.
pub(super) fn portable(graph: &Graph) -> Result<Schedule> {
    let capabilities = Capabilities {
        operands: usize::MAX,
        binding_words: usize::MAX,
        buffer_words: usize::MAX,
        workspace: &|_| 0,
        guards: false,
        unfused: false,
    };
    schedule(&simplify(graph)?, &StoreLayout::default(), &capabilities)
}

/// Whether work adds floats.
fn sums(work: &Work) -> bool {
    match work {
        Work::Gemm { .. } => true,
        Work::Reduce(reduce) => reduce.accumulator == Accumulator::Sum,
        Work::Window { pooling, .. } => {
            matches!(pooling.kind, WindowKind::Mean { .. } | WindowKind::MeanScatter { .. })
        }
        Work::Elementwise { .. } | Work::Opaque { .. } => false,
    }
}
