//! Reductions as dispatches of `shaders/reduce.wgsl`.
//!
//! Few outputs and many elements: lanes of a workgroup share an output, and several workgroups take a stretch each, whose
//! partial results a second dispatch combines in order. Many outputs: a lane an output. Four neighbouring outputs are one
//! where operands allow it ([`Vectors`]); then sums and moments are of vectors. The choice depends on the shape alone, so a
//! result does not depend on the device.

use super::lower::{Bindings, Dispatch, WORKGROUP};
use super::source::{self, Element, Source};
use super::vectors::Vectors;
use crate::dtype::DType;
use crate::graph::{Access, Accumulator, Expression, Reduce};
use crate::schedule::{Schedule, SlotId, Step};

/// How a reduction is spread over workgroups.
struct ReducePlan {
    /// Outputs, or vectors of four of them.
    outputs: usize,
    reduced: usize,
    lanes_x: usize,
    lanes_y: usize,
    splits: usize,
    per_split: usize,
}

impl ReducePlan {
    fn new(reduce: &Reduce, shape: &[usize]) -> Self {
        let rank = shape.len();
        let is_reduced = |axis: &usize| reduce.axes.contains(axis);
        let reduced: usize = (0..rank).filter(is_reduced).map(|axis| shape[axis]).product();
        let outputs: usize = (0..rank).filter(|axis| !is_reduced(axis)).map(|axis| shape[axis]).product();
        // Neighbouring lanes read neighbouring elements: along the kept axes if those are the last.
        let kept_last: usize = (0..rank).rev().take_while(|axis| !is_reduced(axis)).map(|axis| shape[axis]).product();
        let lanes_x = if kept_last > 1 {
            kept_last.next_power_of_two().min(WORKGROUP)
        } else if reduced <= 32 && !reduce.axes.contains(&0) {
            // A few elements each: one lane an output. Not where the count depends on the batch size.
            WORKGROUP
        } else {
            1
        };
        let lanes_y = WORKGROUP / lanes_x;
        let groups = outputs.div_ceil(lanes_x).max(1);
        let most = reduced.div_ceil(lanes_y * 16).max(1);
        // Enough workgroups to fill a GPU, and no invocation near 65,535 iterations, where some drivers stop a loop.
        let splits = (64 / groups).clamp(1, most.min(64)).max(reduced.div_ceil(lanes_y * 16384));
        ReducePlan { outputs, reduced, lanes_x, lanes_y, splits, per_split: reduced.div_ceil(splits) }
    }

    /// A lane an output, which takes the elements one after the other.
    fn in_order(outputs: usize, reduced: usize) -> Self {
        ReducePlan { outputs, reduced, lanes_x: WORKGROUP, lanes_y: 1, splits: 1, per_split: reduced }
    }
}

/// The work by vectors of outputs, where operands allow it and what is accumulated can be vectors.
fn by_four(reduce: &Reduce, reads: &[SlotId], writes: &[SlotId]) -> Option<Vectors> {
    let adds = matches!(reduce.accumulator, Accumulator::Sum | Accumulator::Moments);
    let kept = reduce.shape.last().is_some_and(|&extent| extent.is_multiple_of(4))
        && !reduce.axes.contains(&(reduce.shape.len() - 1));
    if adds && kept { Vectors::new(reads, writes, &reduce.shape, &reduce.expression) } else { None }
}

/// The dispatches of a reduction.
pub(super) fn lower(schedule: &Schedule, step: &Step, reduce: &Reduce) -> Vec<Dispatch> {
    let vectors = by_four(reduce, &step.reads, &step.writes);
    let plan = ReducePlan::new(reduce, vectors.as_ref().map_or(&reduce.shape, |vectors| &vectors.shape));
    let stage = |kind, plan: &ReducePlan, reads: &[SlotId], writes: &[SlotId]| {
        let stage = Stage { kind, label: &step.label, reads, writes, vectors: vectors.as_ref() };
        stage.dispatch(schedule, reduce, plan)
    };
    let Some(partials) = step.workspace.filter(|_| plan.splits > 1) else {
        return vec![stage(Kind::Whole, &plan, &step.reads, &step.writes)];
    };
    let last = ReducePlan::in_order(plan.outputs, plan.splits);
    vec![stage(Kind::Partial, &plan, &step.reads, &[partials]), stage(Kind::Finish, &last, &[partials], &step.writes)]
}

/// Words of scratch memory for the partial results.
pub(super) fn workspace(reduce: &Reduce) -> usize {
    // A step reads each operand from a slot of its own, whichever that is.
    let operands: Vec<SlotId> = (0..reduce.expression.operand_count()).map(SlotId).collect();
    let vectors = by_four(reduce, &operands, &[]);
    let plan = ReducePlan::new(reduce, vectors.as_ref().map_or(&reduce.shape, |vectors| &vectors.shape));
    let words = match reduce.accumulator {
        Accumulator::Sum | Accumulator::Product => 1,
        Accumulator::Max | Accumulator::ArgMax => 2,
        // The count of four takes as much as four counts.
        Accumulator::Moments => 3,
    };
    let width = if vectors.is_some() { 4 } else { 1 };
    if plan.splits > 1 { plan.outputs * plan.splits * words * width } else { 0 }
}

/// The sum of `parts` tensors of `len` elements that lie one after the other in `from`, in order; rows have so many elements.
pub(super) fn sum_of_parts(
    schedule: &Schedule,
    label: &str,
    from: SlotId,
    to: SlotId,
    parts: usize,
    [len, row]: [usize; 2],
) -> Dispatch {
    // As the partial results of a reduction, whose text has no extent in it.
    let expression = Expression::load(0, Access::identity(&[len]), DType::F32);
    let reduce = Reduce { expression, shape: vec![len], axes: Vec::new(), accumulator: Accumulator::Sum };
    // By the rows alone, since how many there are may follow from the batch size.
    let vectors = if row.is_multiple_of(4) { by_four(&reduce, &[from], &[to]) } else { None };
    let outputs = if vectors.is_some() { len / 4 } else { len };
    let stage = Stage { kind: Kind::Finish, label, reads: &[from], writes: &[to], vectors: vectors.as_ref() };
    stage.dispatch(schedule, &reduce, &ReducePlan::in_order(outputs, parts))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Elements to results.
    Whole,
    /// Elements to partial results.
    Partial,
    /// Partial results to results.
    Finish,
}

/// One dispatch of a reduction.
struct Stage<'a> {
    kind: Kind,
    label: &'a str,
    reads: &'a [SlotId],
    writes: &'a [SlotId],
    /// The work by vectors, where it is done so.
    vectors: Option<&'a Vectors>,
}

impl Stage<'_> {
    fn dispatch(&self, schedule: &Schedule, reduce: &Reduce, plan: &ReducePlan) -> Dispatch {
        let mut source = Source::new();
        source.constant("LANES_X", format_args!("{}u", plan.lanes_x));
        source.constant("LANES_Y", format_args!("{}u", plan.lanes_y));
        source.constant("WORKGROUP", format_args!("{WORKGROUP}u"));
        accumulator(&mut source, reduce, self.vectors.is_some());
        let bindings = Bindings::new(schedule, self.reads, self.writes);
        bindings.declare(&mut source, |slot| {
            let partial = (self.kind == Kind::Partial && self.writes.contains(&slot))
                || (self.kind == Kind::Finish && self.reads.contains(&slot));
            if partial { Some(Element::Accumulator) } else { self.vectors?.binding(&bindings, slot) }
        });
        let add = if self.kind == Kind::Finish {
            format!("    return combine(a, {}[index * params.extents.x + output]);\n", bindings.name(self.reads[0]))
        } else if let Some(vectors) = self.vectors {
            let four = vectors.four(&mut source, self.reads, &bindings, "element");
            let coordinates = reduce_coordinates(reduce, &vectors.shape);
            format!("{coordinates}{four}    return accumulate(a, VALUE(y0.r0, y1.r0, y2.r0, y3.r0), index);\n")
        } else {
            let load = |operand: usize, index: &str| bindings.load(self.reads[operand], index);
            let (body, results) = source.expression(&reduce.expression, &reduce.shape, Some("element"), &load);
            let coordinates = reduce_coordinates(reduce, &reduce.shape);
            format!("{coordinates}{body}    return accumulate(a, {}, index);\n", results[0])
        };
        source.line(&format!("fn add_element(a: Accumulator, output: u32, index: u32) -> Accumulator {{\n{add}}}"));
        let store = if self.kind == Kind::Partial {
            format!("    {}[split * params.extents.x + output] = a;\n", bindings.name(self.writes[0]))
        } else {
            let results = self.writes.iter().enumerate();
            let stores = results.map(|(i, &write)| match self.vectors {
                Some(_) => {
                    let four = ["x", "y", "z", "w"].map(|component| format!("result.r{i}.{component}"));
                    Vectors::store(&bindings, write, "output", four)
                }
                None => bindings.store(write, "output", &format!("result.r{i}")),
            });
            format!("    let result = finish(a);\n{}", stores.collect::<String>())
        };
        source.line(&format!("fn store_result(output: u32, split: u32, a: Accumulator) {{\n{store}}}"));
        let extents = [plan.outputs, plan.reduced, plan.splits, plan.per_split].map(|v| v as u32);
        let (text, params) = source.finish(source::REDUCE, extents, [0; 4]);
        let workgroups = plan.outputs.div_ceil(plan.lanes_x) * plan.splits;
        let label = match self.kind {
            Kind::Finish => format!("{} (finish)", self.label),
            Kind::Whole | Kind::Partial => self.label.to_owned(),
        };
        let form = match self.kind {
            Kind::Finish => "parts in order".to_owned(),
            Kind::Whole | Kind::Partial => {
                let by_four = if self.vectors.is_some() { " by four" } else { "" };
                format!("{}×{} lanes{by_four}", plan.lanes_x, plan.lanes_y)
            }
        };
        Dispatch { label, form, text, bindings: bindings.bounds, params, workgroups }
    }
}

/// The accumulator's type and functions, and the results it gives.
fn accumulator(source: &mut Source, reduce: &Reduce, by_four: bool) {
    let ty = reduce.expression.terms[reduce.expression.results[0]].dtype().computed().wgsl();
    source.alias("VALUE", &if by_four { format!("vec4<{ty}>") } else { ty.to_owned() });
    let (library, results, finish) = match reduce.accumulator {
        Accumulator::Sum => (source::SUM, "r0: VALUE", ""),
        Accumulator::Product => (source::PRODUCT, "r0: f32", ""),
        Accumulator::Max => (source::MAX, "r0: f32", "fn finish(a: Accumulator) -> Result { return Result(a.value); }"),
        Accumulator::ArgMax => {
            (source::MAX, "r0: u32", "fn finish(a: Accumulator) -> Result { return Result(a.index); }")
        }
        Accumulator::Moments => (source::MOMENTS, "r0: VALUE, r1: VALUE", ""),
    };
    source.library(library);
    source.line(&format!("struct Result {{ {results} }}\n{finish}"));
}

/// The coordinates of the iteration space `shape` from the kept index `output` and the reduced index `index`.
fn reduce_coordinates(reduce: &Reduce, shape: &[usize]) -> String {
    let rank = shape.len();
    let mut text = String::new();
    for (flat, reduced) in [("output", false), ("index", true)] {
        let axes: Vec<usize> = (0..rank).filter(|axis| reduce.axes.contains(axis) == reduced).collect();
        let mut inner = 1;
        for (place, &axis) in axes.iter().enumerate().rev() {
            let quotient = if inner == 1 { flat.to_owned() } else { format!("({flat} / {inner}u)") };
            let extent = shape[axis].max(1);
            text += &if place == 0 {
                format!("    let c{axis} = {quotient};\n")
            } else {
                format!("    let c{axis} = {quotient} % {extent}u;\n")
            };
            inner *= extent;
        }
    }
    let strides = crate::shape::strides(shape);
    let parts: Vec<String> = (0..rank).map(|axis| format!("c{axis} * {}u", strides[axis])).collect();
    text += &format!("    let element = {};\n", if rank == 0 { "0u".to_owned() } else { parts.join(" + ") });
    text
}
