//! Elementwise steps as dispatches of `shaders/elementwise.wgsl`: an element an invocation, or four where operands allow it
//! ([`Vectors`]).

use std::fmt::Write;

use super::lower::{Bindings, Dispatch, WORKGROUP};
use super::source::{self, Source, coordinates, narrowed};
use super::vectors::Vectors;
use crate::graph::Expression;
use crate::schedule::{Schedule, Step};

/// The dispatch of an elementwise step.
pub(super) fn lower(schedule: &Schedule, step: &Step, shape: &[usize], expression: &Expression) -> Dispatch {
    let mut source = Source::new();
    source.constant("WORKGROUP", format_args!("{WORKGROUP}u"));
    let bindings = Bindings::new(schedule, &step.reads, &step.writes);
    let len: usize = shape.iter().product();
    let (form, invocations, compute) = match Vectors::new(&step.reads, &step.writes, shape, expression) {
        Some(vectors) => {
            bindings.declare(&mut source, |slot| vectors.binding(&bindings, slot));
            let mut compute = coordinates(&vectors.expression, &vectors.shape, "i");
            compute += &vectors.four(&mut source, &step.reads, &bindings, "i");
            let may_end_within = shape.len() == 1;
            if may_end_within {
                compute += "    let elements = params.extents.y - 4u * i;\n    if (elements < 4u) {\n";
                for (component, name) in ["x", "y", "z", "w"].into_iter().enumerate().take(3) {
                    for (result, &slot) in step.writes.iter().enumerate() {
                        let element = narrowed(bindings.dtype(slot), &format!("y{component}.r{result}"));
                        let vector = bindings.name(slot);
                        let _ = writeln!(
                            compute,
                            "        if ({component}u < elements) {{ {vector}[i].{name} = {element}; }}"
                        );
                    }
                }
                compute += "        return;\n    }\n";
            }
            for (result, &slot) in step.writes.iter().enumerate() {
                let four = [0, 1, 2, 3].map(|component| format!("y{component}.r{result}"));
                compute += &Vectors::store(&bindings, slot, "i", four);
            }
            ("elementwise by four", len.div_ceil(4), compute)
        }
        None => {
            bindings.declare(&mut source, |_| None);
            let load = |operand: usize, index: &str| bindings.load(step.reads[operand], index);
            let (body, results) = source.expression(expression, shape, Some("i"), &load);
            let compute = coordinates(expression, shape, "i") + &body + &bindings.stores(&step.writes, &results);
            ("elementwise", len, compute)
        }
    };
    source.line(&format!("fn compute(i: u32) {{\n{compute}}}"));
    let (text, params) = source.finish(source::ELEMENTWISE, [invocations as u32, len as u32, 0, 0], [0; 4]);
    let (label, form) = (step.label.clone(), form.to_owned());
    Dispatch { label, form, text, bindings: bindings.bounds, params, workgroups: invocations.div_ceil(WORKGROUP) }
}
