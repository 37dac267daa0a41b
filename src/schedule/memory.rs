//! Where every stored tensor lives.
//!
//! Leaves have their place in the store or in the input arena, gradients theirs at the offset of their parameter. The rest
//! is packed by lifetime: a tensor's memory is free again after the last step that reads it. Activations are spread over a
//! few arenas ("colours") so that what a step writes is not in a buffer that it reads, where that is possible; within an
//! arena the largest tensors are placed first, each at the lowest offset where no tensor alive at the same time is
//! (Pisarchyk & Lee 2020, arXiv 2001.03288). At last, elementwise steps that do the same to neighbouring tensors of the
//! same arenas become one: an optimizer's update of all parameters.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::fuse::Fused;
use super::order::is_stored;
use super::{ALIGNMENT, Arena, Capabilities, Origin, Place, Schedule, Slot, SlotId, Step, StoreLayout, Work, aligned};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Access, Expression, Leaf, TensorType, Term};

/// Activation arenas: a chain needs two, a residual branch a third.
const COLORS: usize = 3;

pub(super) fn place(fused: Fused, store: &StoreLayout, capabilities: &Capabilities<'_>) -> Result<Schedule> {
    let mut schedule = fused.schedule;
    place_leaves(&mut schedule, store)?;
    let lifetimes = lifetimes(&schedule);
    let guard = if capabilities.guards { ALIGNMENT } else { 0 };
    let sizes = place_activations(&mut schedule, &lifetimes, guard);
    schedule.lower_bound = lower_bound(&schedule, &lifetimes);
    for (color, words) in sizes.into_iter().enumerate() {
        schedule.arenas.push((Arena::Activation(color), words));
    }
    check_sizes(&schedule, capabilities)?;
    merge_spans(&mut schedule, capabilities);
    Ok(schedule)
}

/// Refuses what does not fit the device before anything is allocated.
fn check_sizes(schedule: &Schedule, capabilities: &Capabilities<'_>) -> Result<()> {
    let batch = schedule.inputs.iter().filter_map(|(_, slot)| schedule.slot(*slot).ty.shape.first()).max();
    let advice = |needed: usize, allowed: usize| match batch {
        Some(&batch) if batch > 1 => {
            let fits = (batch as f64 * allowed as f64 / needed as f64) as usize;
            format!("the batch is {batch}, one of about {fits} fits")
        }
        _ => "use a smaller model".to_owned(),
    };
    let too_much = |what: String, needed: usize, allowed: usize| {
        let advice = advice(needed, allowed);
        Error::new(
            ErrorKind::Memory,
            format!("{what} of {} bytes, the device allows {} bytes; {advice}", 4 * needed as u64, 4 * allowed as u64),
        )
    };
    for &(arena, words) in &schedule.arenas {
        if words > capabilities.buffer_words {
            return Err(too_much(format!("{arena} needs a buffer"), words, capabilities.buffer_words));
        }
    }
    let bound = schedule.steps.iter().flat_map(|s| s.reads.iter().chain(&s.writes).copied().chain(s.workspace));
    for slot in bound {
        let ty = &schedule.slot(slot).ty;
        if ty.words() > capabilities.binding_words {
            return Err(too_much(format!("the tensor {ty} needs a binding"), ty.words(), capabilities.binding_words));
        }
    }
    Ok(())
}

fn place_leaves(schedule: &mut Schedule, store: &StoreLayout) -> Result<()> {
    let mut input_words = 0;
    let mut gradient_segments: BTreeMap<usize, usize> = BTreeMap::new();
    for slot in &mut schedule.slots {
        let find = |leaf: Leaf, name: &str| {
            store.entries.get(&(leaf, name.to_owned())).copied().ok_or_else(|| {
                Error::new(ErrorKind::Graph, format!("the store has no {leaf:?} {name:?}; add it before compiling"))
            })
        };
        match &slot.origin {
            Origin::Leaf(Leaf::Input, _) => {
                slot.place = Place { arena: Arena::Input, offset: input_words };
                input_words += aligned(slot.ty.words());
            }
            Origin::Leaf(leaf, name) => {
                debug_assert!(is_stored(*leaf));
                let (segment, offset) = find(*leaf, name)?;
                slot.place = Place { arena: Arena::Store(segment), offset };
            }
            Origin::Gradient(name) => {
                let (segment, offset) = find(Leaf::Parameter, name)?;
                slot.place = Place { arena: Arena::Gradient(segment), offset };
                gradient_segments.insert(segment, store.segments[segment]);
            }
            Origin::Step | Origin::Workspace => {}
        }
    }
    schedule.arenas.push((Arena::Input, input_words));
    schedule.arenas.extend(gradient_segments.into_iter().map(|(segment, words)| (Arena::Gradient(segment), words)));
    Ok(())
}

/// The first and the last step that use a slot.
type Lifetime = (usize, usize);

/// First and last step that uses each activation.
fn lifetimes(schedule: &Schedule) -> HashMap<SlotId, Lifetime> {
    let mut lifetimes: HashMap<SlotId, Lifetime> = HashMap::new();
    let packed = |slot: SlotId| matches!(schedule.slot(slot).origin, Origin::Step | Origin::Workspace);
    for (i, step) in schedule.steps.iter().enumerate() {
        for slot in step.reads.iter().chain(&step.writes).copied().chain(step.workspace).filter(|&s| packed(s)) {
            lifetimes.entry(slot).or_insert((i, i)).1 = i;
        }
    }
    for (_, slot, _) in &schedule.outputs {
        if packed(*slot) {
            lifetimes.entry(*slot).or_insert((0, 0)).1 = schedule.steps.len();
        }
    }
    lifetimes
}

/// The arena of every activation: one that the step which writes it does not read; if there are several, one that leaves
/// the steps which read it an arena to write; of those the one that must grow least for it.
fn colors(schedule: &Schedule, lifetimes: &HashMap<SlotId, Lifetime>) -> HashMap<SlotId, usize> {
    let mut readers: HashMap<SlotId, Vec<&Step>> = HashMap::new();
    for step in &schedule.steps {
        step.reads.iter().for_each(|&slot| readers.entry(slot).or_default().push(step));
    }
    let mut color_of: HashMap<SlotId, usize> = HashMap::new();
    // Words in use at each step, and the most of any.
    let mut in_use = vec![[0usize; COLORS]; schedule.steps.len() + 1];
    let mut peaks = [0usize; COLORS];
    for step in &schedule.steps {
        for slot in step.writes.iter().copied().chain(step.workspace) {
            let Some(&(first, last)) = lifetimes.get(&slot).filter(|_| !color_of.contains_key(&slot)) else { continue };
            let words = aligned(schedule.slot(slot).ty.words());
            let with = |color: usize| words + in_use[first..=last].iter().map(|used| used[color]).max().unwrap_or(0);
            let needed: [usize; COLORS] = std::array::from_fn(with);
            let has = |slots: &[SlotId], color: usize| slots.iter().any(|slot| color_of.get(slot) == Some(&color));
            let reads = |step: &Step, color: usize| has(&step.reads, color);
            // Scratch is read for the results.
            let feeds = |color: usize| step.workspace == Some(slot) && has(&step.writes, color);
            let crowded = |color: usize| {
                let full = |reader: &&&Step| (0..COLORS).all(|other| other == color || reads(reader, other));
                readers.get(&slot).into_iter().flatten().filter(full).count()
            };
            let growth = |color: usize| (needed[color].saturating_sub(peaks[color]), needed[color]);
            let rank = |color: usize| (reads(step, color), feeds(color), crowded(color), growth(color));
            let best = (0..COLORS).min_by_key(|&color| rank(color)).unwrap_or(0);
            in_use[first..=last].iter_mut().for_each(|used| used[best] += words);
            peaks[best] = peaks[best].max(needed[best]);
            color_of.insert(slot, best);
        }
    }
    color_of
}

fn place_activations(schedule: &mut Schedule, lifetimes: &HashMap<SlotId, Lifetime>, guard: usize) -> [usize; COLORS] {
    let color_of = colors(schedule, lifetimes);
    let mut slots: Vec<SlotId> = lifetimes.keys().copied().collect();
    slots.sort_by_key(|&slot| (std::cmp::Reverse(schedule.slot(slot).ty.words()), slot));
    let mut placed: [Vec<(Range<usize>, Lifetime)>; COLORS] = Default::default();
    let mut sizes = [0; COLORS];
    for slot in slots {
        let color = color_of.get(&slot).copied().unwrap_or(0);
        let life = lifetimes[&slot];
        let words = aligned(schedule.slot(slot).ty.words().max(1)) + guard;
        // Neighbours in time, by offset: take the first gap that is wide enough.
        let mut alive: Vec<(usize, usize)> = placed[color]
            .iter()
            .filter(|(_, other)| other.0 <= life.1 && life.0 <= other.1)
            .map(|(words, _)| (words.start, words.end))
            .collect();
        alive.sort_unstable();
        let mut offset = 0;
        for (begin, end) in alive {
            if begin >= offset + words {
                break;
            }
            offset = offset.max(end);
        }
        placed[color].push((offset..offset + words, life));
        sizes[color] = sizes[color].max(offset + words);
        schedule.slots[slot.0].place = Place { arena: Arena::Activation(color), offset };
    }
    sizes
}

fn lower_bound(schedule: &Schedule, lifetimes: &HashMap<SlotId, Lifetime>) -> usize {
    (0..schedule.steps.len())
        .map(|step| {
            let alive = lifetimes.iter().filter(|(_, life)| life.0 <= step && step <= life.1);
            alive.map(|(&slot, _)| aligned(schedule.slot(slot).ty.words())).sum()
        })
        .max()
        .unwrap_or(0)
}

/// Steps in a row that apply one expression to neighbouring tensors become one step over the whole stretch.
fn merge_spans(schedule: &mut Schedule, capabilities: &Capabilities<'_>) {
    let steps = std::mem::take(&mut schedule.steps);
    let cut = schedule.cut;
    let mut merged: Vec<Step> = Vec::with_capacity(steps.len());
    let mut first_part = 0;
    let mut i = 0;
    while i < steps.len() {
        if i == cut {
            first_part = merged.len();
        }
        let limit = if i < cut { cut } else { steps.len() };
        let mut group: Vec<&Step> = vec![&steps[i]];
        for step in &steps[i + 1..limit] {
            if !alike(schedule, &steps[i], step) || !group.iter().all(|other| independent(other, step)) {
                break;
            }
            group.push(step);
        }
        i += group.len();
        group.sort_by_key(|step| step.writes.first().map(|&slot| schedule.slot(slot).place));
        let mut rest = &group[..];
        while let Some(first) = rest.first() {
            let mut count = 1;
            while count < rest.len() && follows(schedule, rest[count - 1], rest[count], first, capabilities) {
                count += 1;
            }
            merged.push(if count == 1 { (*first).clone() } else { span(schedule, &rest[..count]) });
            rest = &rest[count..];
        }
    }
    if cut >= steps.len() {
        first_part = merged.len();
    }
    schedule.steps = merged;
    schedule.cut = first_part;
}

/// The length, if the step is elementwise and reads every operand in order or as a scalar.
fn flat(step: &Step) -> Option<(usize, &Expression)> {
    let Work::Elementwise { shape, expression } = &step.work else { return None };
    let simple = expression.terms.iter().all(|term| match term {
        Term::Load { access, .. } => access.is_identity(shape) || access.is_scalar(),
        Term::Random { .. } | Term::Coordinate { .. } => false,
        _ => true,
    });
    let len = shape.iter().product();
    (simple && len > 0 && !step.writes.is_empty()).then_some((len, expression))
}

/// Whether both steps do the same to different tensors (scalar operands are the same ones).
fn alike(schedule: &Schedule, a: &Step, b: &Step) -> bool {
    let (Some((_, first)), Some((_, second))) = (flat(a), flat(b)) else { return false };
    if first.terms.len() != second.terms.len() || first.results != second.results || a.reads.len() != b.reads.len() {
        return false;
    }
    // Only what the store and the gradients keep has neighbours that stay; activations come and go.
    let lasting = |slot: SlotId| {
        let slot = schedule.slot(slot);
        // A stretch counts elements and words alike.
        matches!(slot.place.arena, Arena::Store(_) | Arena::Gradient(_)) && slot.ty.dtype.size() == 4
    };
    let same_arena =
        |(x, y): (&SlotId, &SlotId)| lasting(*x) && schedule.slot(*x).place.arena == schedule.slot(*y).place.arena;
    a.writes.len() == b.writes.len()
        && a.writes.iter().zip(&b.writes).all(same_arena)
        && first.terms.iter().zip(&second.terms).all(|(x, y)| match (x, y) {
            (
                Term::Load { operand: o, access: p, dtype: d, .. },
                Term::Load { operand: q, access: r, dtype: e, .. },
            ) => {
                let (x, y) = (a.reads[*o], b.reads[*q]);
                let (scalar, other) = (is_scalar_load(p, a), is_scalar_load(r, b));
                let same = if scalar { x == y && p.offset == r.offset } else { same_arena((&x, &y)) };
                o == q && d == e && scalar == other && same
            }
            _ => x == y,
        })
}

/// Whether neither step touches what the other writes, so that their order does not matter.
fn independent(a: &Step, b: &Step) -> bool {
    let disturbs = |a: &Step, b: &Step| a.writes.iter().any(|slot| b.reads.contains(slot) || b.writes.contains(slot));
    !disturbs(a, b) && !disturbs(b, a)
}

fn is_scalar_load(access: &Access, step: &Step) -> bool {
    let Work::Elementwise { shape, .. } = &step.work else { return false };
    access.is_scalar() && !access.is_identity(shape)
}

/// Whether every tensor of `next` starts where that of `previous` ends.
fn follows(schedule: &Schedule, previous: &Step, next: &Step, first: &Step, capabilities: &Capabilities<'_>) -> bool {
    let (Some((length, expression)), Some((next_length, _))) = (flat(previous), flat(next)) else { return false };
    let start = |slot: SlotId| schedule.slot(slot).place.offset;
    let adjacent = |(x, y): (&SlotId, &SlotId)| start(*x) + aligned(length) == start(*y);
    let scalar = |operand: usize| {
        expression.terms.iter().any(
            |t| matches!(t, Term::Load { operand: o, access, .. } if *o == operand && is_scalar_load(access, previous)),
        )
    };
    let span = start(next.writes[0]) + next_length - start(first.writes[0]);
    span <= capabilities.binding_words
        && previous.writes.iter().zip(&next.writes).all(adjacent)
        && (0..previous.reads.len()).all(|i| scalar(i) || adjacent((&previous.reads[i], &next.reads[i])))
}

/// One step over the stretch from the first to the last of `steps`. The padding between two tensors is zero in all of
/// them, and what an update makes of zeros is never read.
fn span(schedule: &mut Schedule, steps: &[&Step]) -> Step {
    let (first, last) = (steps[0], steps[steps.len() - 1]);
    let (last_len, _) = flat(last).expect("only flat steps are merged");
    let start = |schedule: &Schedule, slot: SlotId| schedule.slot(slot).place.offset;
    let len = start(schedule, last.writes[0]) - start(schedule, first.writes[0]) + last_len;
    let Work::Elementwise { mut expression, .. } = first.work.clone() else { unreachable!("only flat steps") };
    let mut stretched: HashMap<SlotId, SlotId> = HashMap::new();
    let mut stretch = |slot: SlotId, schedule: &mut Schedule| {
        *stretched.entry(slot).or_insert_with(|| {
            let Slot { ty, origin, place, .. } = schedule.slot(slot).clone();
            schedule.slots.push(Slot { ty: TensorType::new(ty.dtype, [len]), origin, place, value: None });
            SlotId(schedule.slots.len() - 1)
        })
    };
    let mut reads = first.reads.clone();
    for term in &mut expression.terms {
        if let Term::Load { operand, access, .. } = term {
            if is_scalar_load(access, first) {
                access.strides = vec![0];
            } else {
                reads[*operand] = stretch(first.reads[*operand], schedule);
                *access = Access::identity(&[len]);
            }
        }
    }
    let writes = first.writes.iter().map(|&slot| stretch(slot, schedule)).collect();
    Step {
        label: format!("{} ×{}", first.label, steps.len()),
        work: Work::Elementwise { shape: vec![len], expression },
        reads,
        writes,
        workspace: None,
    }
}
