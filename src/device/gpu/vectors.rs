//! Work over single elements, done for four neighbours at a time.
//!
//! It can be where four neighbours along the last axis are a vector of every operand, or one element of it that they have in
//! common. Then an invocation reads vectors, and computes four times what it would compute of one: the same numbers to the
//! bit. Elementwise steps and reductions use it. Before: [`crate::schedule`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;

use super::lower::Bindings;
use super::source::{Element, Source, narrowed, widened};
use crate::graph::{Expression, Term};
use crate::schedule::SlotId;

/// Work over vectors of four: its loads count vectors, or elements where four have one in common.
pub(super) struct Vectors {
    pub shape: Vec<usize>,
    pub expression: Expression,
    /// Whether a slot is read and written by vectors.
    slots: BTreeMap<SlotId, bool>,
}

impl Vectors {
    /// The same work, four elements at a time, whose results go to `writes` by vectors. `None` where some operand does not have
    /// them together, or where a value depends on where it is computed. A single axis, whose extent may follow from the batch
    /// size, may end within a vector: what lies behind is read, and not to be written.
    pub fn new(reads: &[SlotId], writes: &[SlotId], shape: &[usize], expression: &Expression) -> Option<Self> {
        let last = shape.len().checked_sub(1).filter(|&last| last == 0 || shape[last].is_multiple_of(4))?;
        let mut slots: BTreeMap<SlotId, bool> = writes.iter().map(|&slot| (slot, true)).collect();
        let (mut shape, mut expression) = (shape.to_vec(), expression.clone());
        shape[last] = shape[last].div_ceil(4);
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
                    if *slots.entry(reads[*operand]).or_insert(contiguous) != contiguous {
                        return None;
                    }
                }
                Term::Random { .. } | Term::Coordinate { .. } => return None,
                Term::Scalar { .. } | Term::Apply { .. } => {}
            }
        }
        Some(Vectors { shape, expression, slots })
    }

    /// How a slot is bound, where it is by vectors.
    pub fn binding(&self, bindings: &Bindings<'_>, slot: SlotId) -> Option<Element> {
        self.is_vector(slot).then(|| Element::Vector(bindings.dtype(slot)))
    }

    /// The statement that stores four results at `index` of `slot`, a vector.
    pub fn store(bindings: &Bindings<'_>, slot: SlotId, index: &str, results: [String; 4]) -> String {
        let dtype = bindings.dtype(slot);
        let four = results.map(|result| narrowed(dtype, &result)).join(", ");
        format!("    {}[{index}] = vec4<{}>({four});\n", bindings.name(slot), dtype.wgsl())
    }

    fn is_vector(&self, slot: SlotId) -> bool {
        self.slots.get(&slot) == Some(&true)
    }

    /// Declares `one_of_four`, which computes one of four. Gives the statements that read what it needs and leave the results of
    /// the four in `y0` to `y3`, each with the fields `r0 …`; coordinates and `flat`, the index of a vector, are declared.
    pub fn four(&self, source: &mut Source, reads: &[SlotId], bindings: &Bindings<'_>, flat: &str) -> String {
        // What is read, by where: the parameters of `one_of_four`.
        let loads: RefCell<Vec<(usize, String)>> = RefCell::default();
        let parameter = |operand: usize, index: &str| {
            let mut loads = loads.borrow_mut();
            let place = loads.iter().position(|(known, at)| (*known, at.as_str()) == (operand, index));
            let place = place.unwrap_or_else(|| {
                loads.push((operand, index.to_owned()));
                loads.len() - 1
            });
            format!("x{place}")
        };
        let (body, results) = source.expression(&self.expression, &self.shape, Some(flat), &parameter);

        let (mut statements, mut parameters) = (String::new(), Vec::new());
        let mut arguments = [const { Vec::new() }; 4];
        for (place, (operand, index)) in loads.into_inner().into_iter().enumerate() {
            let slot = reads[operand];
            let (dtype, element) = (bindings.dtype(slot), format!("{}[{index}]", bindings.name(slot)));
            let (ty, vector) = (dtype.computed().wgsl(), self.is_vector(slot));
            let value = if vector { format!("vec4<{ty}>({element})") } else { widened(dtype, &element) };
            let _ = writeln!(statements, "    let x{place} = {value};");
            parameters.push(format!("x{place}: {ty}"));
            for (list, component) in arguments.iter_mut().zip([".x", ".y", ".z", ".w"]) {
                list.push(format!("x{place}{}", if vector { component } else { "" }));
            }
        }
        for (component, list) in arguments.iter().enumerate() {
            let _ = writeln!(statements, "    let y{component} = one_of_four({});", list.join(", "));
        }
        let ty = |term: &usize| self.expression.terms[*term].dtype().computed().wgsl();
        let fields = self.expression.results.iter().enumerate().map(|(i, term)| format!("r{i}: {}", ty(term)));
        source.line(&format!("struct Results {{ {} }}", fields.collect::<Vec<_>>().join(", ")));
        let (parameters, results) = (parameters.join(", "), results.join(", "));
        source.line(&format!("fn one_of_four({parameters}) -> Results {{\n{body}    return Results({results});\n}}"));
        statements
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::graph::Access;

    /// The work of adding up loads, each a slot and its access.
    fn vectors(shape: &[usize], loads: &[(usize, Access)]) -> Option<Vectors> {
        let mut expression = Expression::default();
        for (operand, access) in loads {
            let load = Term::Load { operand: *operand, access: access.clone(), otherwise: None, dtype: DType::F32 };
            expression.push(load);
        }
        expression.results = vec![0];
        Vectors::new(&[SlotId(0), SlotId(1)], &[SlotId(2)], shape, &expression)
    }

    #[test]
    fn neighbours_together_or_in_common_are_read_at_once() {
        let shape = [6, 8];
        let (whole, row) = (Access::identity(&shape), Access::broadcast(&[8], &shape));
        let found = vectors(&shape, &[(0, whole.clone()), (1, row.clone())]).unwrap();
        assert_eq!((found.shape, found.slots[&SlotId(1)]), (vec![6, 2], true));
        let accesses = found.expression.terms.iter().map(|term| match term {
            Term::Load { access, .. } => access.strides.clone(),
            _ => unreachable!("loads alone"),
        });
        assert_eq!(accesses.collect::<Vec<_>>(), [[2, 1], [0, 1]]);
        let column = Access { strides: vec![1, 0], ..whole.clone() };
        assert!(!vectors(&shape, &[(0, whole.clone()), (1, column.clone())]).unwrap().slots[&SlotId(1)]);
        // One tensor both ways, backwards, from the second element on, in rows of nine.
        assert!(vectors(&shape, &[(0, whole.clone()), (0, column)]).is_none());
        assert!(vectors(&shape, &[(0, Access { strides: vec![8, -1], offset: 7, ..whole.clone() })]).is_none());
        assert!(vectors(&shape, &[(0, Access { offset: 1, ..whole.clone() })]).is_none());
        assert!(vectors(&shape, &[(0, Access { strides: vec![9, 1], ..whole })]).is_none());
        assert!(vectors(&[6, 9], &[(0, Access::identity(&[6, 9]))]).is_none());
        assert_eq!(vectors(&[9], &[(0, Access::identity(&[9]))]).unwrap().shape, [3]);
        assert!(vectors(&[], &[]).is_none());
    }
}
