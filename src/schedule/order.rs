//! The order of steps: gradients before updates, updates in place, neighbours merged.
//!
//! Steps come from [`super::fuse`] in the graph's order. Those that nothing but an update needs, and that read a gradient,
//! move behind the cut, so that a run can stop when all gradients are complete. A new value of a state is written over
//! the old one where no later step reads the old one; otherwise it is copied at the end. Adjacent elementwise steps over
//! one iteration space become one step with several results; behind the cut they are first brought next to each other.
//! After: [`super::memory`].

use std::collections::{HashMap, HashSet};

use super::fuse::Fused;
use super::{Capabilities, Origin, SlotId, Step, Work};
use crate::dtype::DType;
use crate::graph::{Access, Expression, Leaf, TensorType, Term, TermId};

pub(super) fn order(mut fused: Fused, capabilities: &Capabilities<'_>) -> Fused {
    for (name, slot) in &fused.gradients {
        fused.schedule.slots[slot.0].origin = Origin::Gradient(name.clone());
    }
    detach_leaves(&mut fused);
    split_at_gradients(&mut fused);
    sink_to_readers(&mut fused);
    update_in_place(&mut fused);
    merge_neighbours(&mut fused, capabilities);
    fused
}

/// A leaf that is an output, or the new value of another, is copied before anything can change it.
fn detach_leaves(fused: &mut Fused) {
    let mut copies: HashMap<SlotId, SlotId> = HashMap::new();
    let schedule = &mut fused.schedule;
    let mut outputs = std::mem::take(&mut schedule.outputs);
    let lasting = |origin: &Origin| matches!(origin, Origin::Leaf(leaf, _) if is_stored(*leaf));
    let wanted = outputs.iter_mut().map(|(_, slot, _)| slot).filter(|slot| lasting(&schedule.slots[slot.0].origin));
    let wanted: Vec<&mut SlotId> = wanted.chain(fused.updates.iter_mut().map(|(_, _, value)| value)).collect();
    for value in wanted {
        let slot = schedule.slot(*value).clone();
        if !matches!(slot.origin, Origin::Leaf(..)) {
            continue;
        }
        *value = *copies.entry(*value).or_insert_with(|| {
            schedule.slots.push(super::Slot { origin: Origin::Step, ..slot.clone() });
            let copy = SlotId(schedule.slots.len() - 1);
            schedule.steps.insert(0, copy_step(*value, copy, slot.ty.len(), slot.ty.dtype));
            copy
        });
    }
    schedule.outputs = outputs;
}

fn copy_step(from: SlotId, to: SlotId, len: usize, dtype: DType) -> Step {
    let expression = Expression::load(0, Access::identity(&[len]), dtype);
    let work = Work::Elementwise { shape: vec![len], expression };
    Step { label: "copy".into(), work, reads: vec![from], writes: vec![to], workspace: None }
}

fn split_at_gradients(fused: &mut Fused) {
    let steps = std::mem::take(&mut fused.schedule.steps);
    let mut needed: HashSet<SlotId> = fused.gradients.iter().map(|(_, slot)| *slot).collect();
    needed.extend(fused.schedule.outputs.iter().map(|(_, slot, _)| *slot));
    let mut first = vec![false; steps.len()];
    for (i, step) in steps.iter().enumerate().rev() {
        if step.writes.iter().any(|slot| needed.contains(slot)) {
            first[i] = true;
            needed.extend(step.reads.iter().copied());
        }
    }
    let mut after: HashSet<SlotId> = fused.gradients.iter().map(|(_, slot)| *slot).collect();
    for (i, step) in steps.iter().enumerate() {
        if step.reads.iter().any(|slot| after.contains(slot)) {
            after.extend(step.writes.iter().copied());
        } else {
            first[i] = true;
        }
    }
    let mut later = Vec::new();
    for (step, first) in steps.into_iter().zip(first) {
        if first { fused.schedule.steps.push(step) } else { later.push(step) }
    }
    fused.schedule.cut = fused.schedule.steps.len();
    fused.schedule.steps.extend(later);
}

/// The slots that the graph asks for: they must be written, whether or not a step reads them.
fn results(fused: &Fused) -> HashSet<SlotId> {
    let gradients = fused.gradients.iter().map(|(_, slot)| *slot);
    let updates = fused.updates.iter().map(|(.., slot)| *slot);
    gradients.chain(updates).chain(fused.schedule.outputs.iter().map(|(_, slot, _)| *slot)).collect()
}

/// Behind the cut, elementwise steps for other steps alone wait until just before the first that reads them: what is done
/// to the gradient of one parameter comes next to the update of that parameter, and joins it.
fn sink_to_readers(fused: &mut Fused) {
    let results = results(fused);
    let steps = fused.schedule.steps.split_off(fused.schedule.cut);
    // The last step first.
    let mut backward: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps.into_iter().rev() {
        let waits = matches!(step.work, Work::Elementwise { .. }) && !step.writes.iter().any(|w| results.contains(w));
        let reader = backward.iter().rposition(|other| other.reads.iter().any(|read| step.writes.contains(read)));
        match reader.filter(|_| waits) {
            Some(reader) => backward.insert(reader + 1, step),
            None => backward.push(step),
        }
    }
    fused.schedule.steps.extend(backward.into_iter().rev());
}

/// Lets steps write new values over old ones, and copies where they cannot.
fn update_in_place(fused: &mut Fused) {
    for update in 0..fused.updates.len() {
        // A value that has taken the place of one state is copied to the next.
        let (leaf, name, value) = fused.updates[update].clone();
        let Some(&state) = fused.leaves.get(&(leaf, name)) else { continue };
        let schedule = &mut fused.schedule;
        let writer = schedule.steps.iter().position(|step| step.writes.contains(&value));
        let in_place = writer.filter(|&writer| {
            let later = &schedule.steps[writer + 1..];
            schedule.slot(value).origin == Origin::Step
                && later.iter().all(|step| !step.reads.contains(&state))
                && reads_in_place(&schedule.steps[writer], state, schedule.slot(state).ty.len())
        });
        if in_place.is_none() {
            let ty = schedule.slot(state).ty.clone();
            schedule.steps.push(copy_step(value, state, ty.len(), ty.dtype));
            continue;
        }
        for step in &mut schedule.steps {
            step.reads.iter_mut().chain(&mut step.writes).filter(|slot| **slot == value).for_each(|slot| *slot = state);
        }
        schedule.outputs.iter_mut().filter(|(_, slot, _)| *slot == value).for_each(|(_, slot, _)| *slot = state);
        fused.updates.iter_mut().filter(|(_, _, slot)| *slot == value).for_each(|(_, _, slot)| *slot = state);
    }
}

/// Whether the step reads `slot`, if at all, at the index that it computes.
fn reads_in_place(step: &Step, slot: SlotId, len: usize) -> bool {
    let Some(operand) = step.reads.iter().position(|&read| read == slot) else { return true };
    match &step.work {
        Work::Elementwise { shape, expression } => {
            shape.iter().product::<usize>() == len && loads_in_place(expression, operand, shape)
        }
        _ => false,
    }
}

fn loads_in_place(expression: &Expression, operand: usize, shape: &[usize]) -> bool {
    expression.terms.iter().all(|term| match term {
        Term::Load { operand: o, access, .. } => *o != operand || access.is_identity(shape),
        Term::Random { key, step, .. } => *key != operand && *step != operand,
        _ => true,
    })
}

/// How many steps may join one that binds too many buffers, in the hope that what they bring makes some needless.
const PATIENCE: usize = 8;

fn merge_neighbours(fused: &mut Fused, capabilities: &Capabilities<'_>) {
    let types: Vec<TensorType> = fused.schedule.slots.iter().map(|slot| slot.ty.clone()).collect();
    let results = results(fused);
    let steps = std::mem::take(&mut fused.schedule.steps);
    let mut last_read: HashMap<SlotId, usize> = HashMap::new();
    for (i, step) in steps.iter().enumerate() {
        last_read.extend(step.reads.iter().map(|&slot| (slot, i)));
    }
    // Whether the step is the only one that needs the slot, if it joins all that comes before step `i`.
    let needless = |slot: SlotId, i: usize| {
        let computed = fused.schedule.slot(slot).origin == Origin::Step && !results.contains(&slot);
        computed && last_read.get(&slot).is_some_and(|&last| last <= i)
    };
    let cut = fused.schedule.cut;
    let mut merged: Vec<Step> = Vec::new();
    let mut first_part = 0;
    let mut next = 0;
    while next < steps.len() {
        // Never across the cut.
        let end = if next < cut { cut } else { steps.len() };
        let mut best = steps[next].clone();
        let mut taken = next;
        let mut joined = best.clone();
        for (i, step) in steps.iter().enumerate().take(end).skip(next + 1) {
            let Some(wider) = join(&joined, step, &types, next >= cut) else { break };
            joined = without(wider, |slot| needless(slot, i));
            if buffers(&joined) <= capabilities.operands {
                (best, taken) = (joined.clone(), i);
            } else if i - taken >= PATIENCE {
                break;
            }
        }
        merged.push(best);
        next = taken + 1;
        if next <= cut {
            first_part = merged.len();
        }
    }
    fused.schedule.steps = merged;
    fused.schedule.cut = first_part;
}

/// The number of buffers that a step binds.
fn buffers(step: &Step) -> usize {
    step.reads.iter().chain(step.writes.iter().filter(|slot| !step.reads.contains(slot))).count()
}

/// An elementwise step without the results that are needless.
fn without(mut step: Step, needless: impl Fn(SlotId) -> bool) -> Step {
    if let Work::Elementwise { expression, .. } = &mut step.work {
        let kept: Vec<usize> = (0..step.writes.len()).filter(|&i| !needless(step.writes[i])).collect();
        expression.results = kept.iter().map(|&i| expression.results[i]).collect();
        step.writes = kept.iter().map(|&i| step.writes[i]).collect();
    }
    step
}

/// Two elementwise steps over one iteration space as one step, if they share a tensor or are small. Updates of two
/// parameters share at most numbers such as the learning rate and stay apart: [`super::memory`] makes one step of them all.
fn join(a: &Step, b: &Step, types: &[TensorType], updates: bool) -> Option<Step> {
    let (Work::Elementwise { shape, expression: first }, Work::Elementwise { shape: other, expression: second }) =
        (&a.work, &b.work)
    else {
        return None;
    };
    let length = shape.iter().product::<usize>();
    let shared = |slot: &SlotId| types[slot.0].len() == length && (a.reads.contains(slot) || a.writes.contains(slot));
    let related = b.reads.iter().any(shared);
    let small = !updates && length <= super::ALIGNMENT;
    if shape != other || !(related || small) || a.writes.iter().any(|slot| b.writes.contains(slot)) {
        return None;
    }
    let in_place = |step: &Step, expression: &Expression, slot: SlotId| {
        step.reads.iter().position(|&r| r == slot).is_none_or(|operand| loads_in_place(expression, operand, shape))
    };
    // What is read back is rounded, what has just been computed is not.
    let rounds = |slot: &SlotId| types[slot.0].dtype == DType::F16 && b.reads.contains(slot);
    let conflict = a.writes.iter().any(|slot| !in_place(b, second, *slot) || rounds(slot))
        || b.writes.iter().any(|&slot| !in_place(a, first, slot));
    if conflict {
        return None;
    }
    let mut expression = first.clone();
    let mut reads = a.reads.clone();
    let mut terms: Vec<TermId> = Vec::with_capacity(second.terms.len());
    let operand = |reads: &mut Vec<SlotId>, slot: SlotId| {
        reads.iter().position(|&r| r == slot).unwrap_or_else(|| {
            reads.push(slot);
            reads.len() - 1
        })
    };
    for term in &second.terms {
        let id = match term {
            Term::Load { operand: o, access, otherwise, dtype } => {
                let slot = b.reads[*o];
                // What the first step has just computed is not read back.
                if let Some(result) = a.writes.iter().position(|&write| write == slot) {
                    first.results[result]
                } else {
                    let operand = operand(&mut reads, slot);
                    let otherwise = otherwise.map(|t| terms[t]);
                    expression.push(Term::Load { operand, access: access.clone(), otherwise, dtype: *dtype })
                }
            }
            Term::Random { key, step, stream } => {
                let (key, step) = (operand(&mut reads, b.reads[*key]), operand(&mut reads, b.reads[*step]));
                expression.push(Term::Random { key, step, stream: *stream })
            }
            Term::Apply { function, arguments, dtype } => {
                let arguments = arguments.iter().map(|&t| terms[t]).collect();
                expression.push(Term::Apply { function, arguments, dtype: *dtype })
            }
            Term::Scalar { .. } | Term::Coordinate { .. } => expression.push(term.clone()),
        };
        terms.push(id);
    }
    expression.results.extend(second.results.iter().map(|&t| terms[t]));
    let writes: Vec<SlotId> = a.writes.iter().chain(&b.writes).copied().collect();
    let label = if b.label == a.label { a.label.clone() } else { format!("{}, {}", a.label, b.label) };
    let label = if label.len() > 80 { a.label.clone() } else { label };
    let work = Work::Elementwise { shape: shape.clone(), expression };
    Some(Step { label, work, reads, writes, workspace: None })
}

/// Whether a leaf is kept by the store.
pub(super) fn is_stored(leaf: Leaf) -> bool {
    matches!(leaf, Leaf::Parameter | Leaf::State)
}
