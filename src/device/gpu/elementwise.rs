//! Elementwise steps as dispatches of `shaders/elementwise.wgsl`: an element an invocation, or four where memory allows it.
//!
//! It allows it where four neighbours along the last axis are a vector of every operand, or one element of it that they
//! have in common ([`by_four`]). Then an invocation reads and writes vectors, and computes four times what it would
//! compute of one: the same numbers to the bit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;

use super::lower::{Bindings, Dispatch, WORKGROUP};
use super::source::{self, Element, Source, coordinates, narrowed, widened};
use crate::graph::{Expression, Term};
use crate::schedule::{Schedule, SlotId, Step};

/// The dispatch of an elementwise step.
pub(super) fn lower(schedule: &Schedule, step: &Step, shape: &[usize], expression: &Expression) -> Dispatch {
    let mut source = Source::new();
    source.constant("WORKGROUP", format_args!("{WORKGROUP}u"));
    let bindings = Bindings::new(schedule, &step.reads, &step.writes);
    let len: usize = shape.iter().product();
    let (form, invocations) = match by_four(step, shape, expression) {
        Some(vectors) => {
            vectors.functions(&mut source, step, &bindings);
            ("elementwise by four", len / 4)
        }
        None => {
            bindings.declare(&mut source, |_| None);
            let load = |operand: usize, index: &str| bindings.load(step.reads[operand], index);
            let (body, results) = source.expression(expression, shape, Some("i"), &load);
            let coordinates = coordinates(expression, shape, "i");
            let stores = bindings.stores(&step.writes, &results);
            source.line(&format!("fn compute(i: u32) {{\n{coordinates}{body}{stores}}}"));
            ("elementwise", len)
        }
    };
    let (text, params) = source.finish(source::ELEMENTWISE, [invocations as u32, 0, 0, 0], [0; 4]);
    let (label, form) = (step.label.clone(), form.to_owned());
    Dispatch { label, form, text, bindings: bindings.bounds, params, workgroups: invocations.div_ceil(WORKGROUP) }
}

/// The work over vectors of four: its loads count vectors, or elements where `slots` says so.
struct Vectors {
    shape: Vec<usize>,
    expression: Expression,
    /// Whether a slot is read and written by vectors.
    slots: BTreeMap<SlotId, bool>,
}

/// The same work, four elements at a time; `None` where some operand does not have them together, or where a value depends
/// on where it is computed.
fn by_four(step: &Step, shape: &[usize], expression: &Expression) -> Option<Vectors> {
    let last = shape.len().checked_sub(1).filter(|&last| shape[last].is_multiple_of(4))?;
    let mut slots: BTreeMap<SlotId, bool> = step.writes.iter().map(|&slot| (slot, true)).collect();
    let (mut shape, mut expression) = (shape.to_vec(), expression.clone());
    shape[last] /= 4;
    for term in &mut expression.terms {
        match term {
            Term::Load { operand, access, .. } => {
                let contiguous = match access.strides[last] {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                let aligned = access.strides[..last].iter().chain([&access.offset]).all(|step| step % 4 == 0);
                if !access.bounds.is_empty() || contiguous && !aligned {
                    return None;
                }
                if contiguous {
                    access.strides[..last].iter_mut().for_each(|stride| *stride /= 4);
                    access.offset /= 4;
                }
                if *slots.entry(step.reads[*operand]).or_insert(contiguous) != contiguous {
                    return None;
                }
            }
            Term::Random { .. } | Term::Coordinate { .. } => return None,
            Term::Scalar { .. } | Term::Apply { .. } => {}
        }
    }
    Some(Vectors { shape, expression, slots })
}

impl Vectors {
    /// Bindings, `element`, which computes one of four, and `compute`, which brings and takes them.
    fn functions(&self, source: &mut Source, step: &Step, bindings: &Bindings<'_>) {
        let is_vector = |slot: SlotId| self.slots.get(&slot) == Some(&true);
        bindings.declare(source, |slot| is_vector(slot).then(|| Element::Vector(bindings.dtype(slot))));
        // What is read, by where: the parameters of `element`.
        let reads: RefCell<Vec<(usize, String)>> = RefCell::default();
        let parameter = |operand: usize, index: &str| {
            let mut reads = reads.borrow_mut();
            let place = reads.iter().position(|(known, at)| (*known, at.as_str()) == (operand, index));
            let place = place.unwrap_or_else(|| {
                reads.push((operand, index.to_owned()));
                reads.len() - 1
            });
            format!("x{place}")
        };
        let (body, results) = source.expression(&self.expression, &self.shape, Some("i"), &parameter);
        let reads = reads.into_inner();
        let computed = |slot: SlotId| bindings.dtype(slot).computed().wgsl();

        let mut compute = coordinates(&self.expression, &self.shape, "i");
        let (mut parameters, mut arguments) = (Vec::new(), [const { Vec::new() }; 4]);
        for (place, (operand, index)) in reads.iter().enumerate() {
            let slot = step.reads[*operand];
            let (ty, dtype, element) =
                (computed(slot), bindings.dtype(slot), format!("{}[{index}]", bindings.name(slot)));
            let value = match is_vector(slot) {
                true => format!("vec4<{ty}>({element})"),
                false => widened(dtype, &element),
            };
            let _ = writeln!(compute, "    let x{place} = {value};");
            parameters.push(format!("x{place}: {ty}"));
            for (list, component) in arguments.iter_mut().zip(["x", "y", "z", "w"]) {
                list.push(if is_vector(slot) { format!("x{place}.{component}") } else { format!("x{place}") });
            }
        }
        for (component, list) in arguments.iter().enumerate() {
            let _ = writeln!(compute, "    let y{component} = element({});", list.join(", "));
        }
        let fields = step.writes.iter().enumerate().map(|(i, &slot)| format!("r{i}: {}", computed(slot)));
        source.line(&format!("struct Results {{ {} }}", fields.collect::<Vec<_>>().join(", ")));
        source.line(&format!(
            "fn element({}) -> Results {{\n{body}    return Results({});\n}}",
            parameters.join(", "),
            results.join(", ")
        ));
        for (i, &slot) in step.writes.iter().enumerate() {
            let dtype = bindings.dtype(slot);
            let four = (0..4).map(|component| narrowed(dtype, &format!("y{component}.r{i}")));
            let four = four.collect::<Vec<_>>().join(", ");
            let _ = writeln!(compute, "    {}[i] = vec4<{}>({four});", bindings.name(slot), dtype.wgsl());
        }
        source.line(&format!("fn compute(i: u32) {{\n{compute}}}"));
    }
}
