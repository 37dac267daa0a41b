//! Every kind of work against evaluation element by element, on random cases; and the memory rules.
//!
//! A case is one step: [`run`] puts its operands and results into arenas, with garbage where results go, and gives back
//! the results. Cases are drawn from the crate's own random streams, so a failure names a seed that repeats it.

mod elementwise;
mod gemm;
mod reduce;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Buffer, Executable};
use crate::array::Array;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Access, Expression, Opaque, TensorType, Term};
use crate::random::Stream;
use crate::schedule::{Arena, Origin, Place, Schedule, Slot, SlotId, Step, Work, aligned};
use crate::shape::unravel;
use crate::vector::tests::at_every_width;

/// Runs one step. `in_place` has pairs of a result and the operand that it overwrites.
fn run(work: Work, reads: &[Array], writes: &[TensorType], in_place: &[(usize, usize)]) -> Result<Vec<Array>> {
    let mut schedule = Schedule::default();
    let mut words = BTreeMap::from([(Arena::Input, Vec::new()), (Arena::Activation(0), Vec::new())]);
    let mut add = |arena: Arena, ty: TensorType, content: Vec<u32>| {
        let memory = words.get_mut(&arena).expect("both arenas are there");
        let place = Place { arena, offset: memory.len() };
        memory.extend(content);
        memory.resize(aligned(memory.len()), 0x7fc0_dead);
        schedule.slots.push(Slot { ty, origin: Origin::Step, place, value: None });
        SlotId(schedule.slots.len() - 1)
    };
    let mut step = Step { label: "test".into(), work, reads: vec![], writes: vec![], workspace: None };
    for (i, array) in reads.iter().enumerate() {
        let overwritten = in_place.iter().any(|&(_, read)| read == i);
        let arena = if overwritten { Arena::Activation(0) } else { Arena::Input };
        step.reads.push(add(arena, TensorType::new(array.dtype(), array.shape()), array.to_words()));
    }
    for (i, ty) in writes.iter().enumerate() {
        let slot = match in_place.iter().find(|&&(write, _)| write == i) {
            Some(&(_, read)) => step.reads[read],
            None => add(Arena::Activation(0), ty.clone(), vec![0x7fc0_dead; ty.len()]),
        };
        step.writes.push(slot);
    }
    let (slots, writes) = (schedule.slots.clone(), step.writes.clone());
    schedule.steps.push(step);
    let mut buffers = BTreeMap::new();
    for (&arena, words) in &words {
        let buffer = Buffer::allocate(words.len(), &Arc::default())?;
        buffer.write(0, words)?;
        buffers.insert(arena, buffer);
    }
    Executable::new(Arc::new(schedule), buffers.clone())?.run(0..1)?;
    let result = |slot: &SlotId| {
        let Slot { ty, place, .. } = &slots[slot.0];
        let words = buffers[&place.arena].read(place.offset..place.offset + ty.len())?;
        Array::from_words(&ty.shape, ty.dtype, &words)
    };
    writes.iter().map(result).collect()
}

/// The words of every term of `expression` at one position of `shape`, by the definitions.
fn naive(expression: &Expression, shape: &[usize], flat: usize, operands: &[Vec<u32>]) -> Vec<u32> {
    let coordinates = unravel(flat, shape);
    let mut values: Vec<u32> = Vec::new();
    for term in &expression.terms {
        values.push(match term {
            Term::Load { operand, access, otherwise, .. } => match (access.element(&coordinates), otherwise) {
                (Some(element), _) => operands[*operand][element],
                (None, otherwise) => values[otherwise.expect("there are bounds")],
            },
            Term::Scalar { value, dtype: DType::F32 } => (*value as f32).to_bits(),
            Term::Scalar { value, .. } => *value as i64 as u32,
            Term::Coordinate { axis } => coordinates[*axis] as u32,
            Term::Random { key, step, stream } => {
                let counter = [(flat / 4) as u32, operands[*step][0], *stream, 0];
                crate::random::philox(counter, [operands[*key][0], operands[*key][1]])[flat % 4]
            }
            Term::Apply { function, arguments, dtype } => {
                let dtype = arguments.last().map_or(*dtype, |&last| expression.terms[last].dtype());
                let arguments: Vec<[u32; 1]> = arguments.iter().map(|&argument| [values[argument]]).collect();
                let mut out = [0];
                (function.block)(dtype, &arguments.iter().map(|a| &a[..]).collect::<Vec<_>>(), &mut out);
                out[0]
            }
        });
    }
    values
}

fn words(arrays: &[Array]) -> Vec<Vec<u32>> {
    arrays.iter().map(Array::to_words).collect()
}

fn uniform(shape: &[usize], rng: &mut Stream) -> Array {
    Array::from_fn(shape, |_| rng.uniform() * 2.0 - 1.0)
}

fn below(rng: &mut Stream, n: usize) -> usize {
    rng.below(n as u64) as usize
}

fn f32s(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

/// A load of a new operand by a random affine map over `shape`, with the operand.
fn random_load(rng: &mut Stream, shape: &[usize]) -> (Access, Array) {
    let mut access = Access { offset: 0, strides: vec![0; shape.len()], bounds: Vec::new() };
    match below(rng, 4) {
        0 => access = Access::identity(shape),
        1 => {
            let from: Vec<usize> = shape.iter().map(|&e| if below(rng, 2) == 0 { 1 } else { e }).collect();
            access = Access::broadcast(&from[below(rng, from.len() + 1)..], shape);
        }
        // Axes in any order, some of them backwards or skipping elements.
        _ => {
            let mut stride = 1 + below(rng, 2) as isize;
            let mut axes: Vec<usize> = (0..shape.len()).collect();
            while let Some(axis) = (!axes.is_empty()).then(|| axes.swap_remove(below(rng, axes.len()))) {
                access.strides[axis] = stride;
                stride *= shape[axis] as isize;
                if below(rng, 3) == 0 {
                    access.offset += access.strides[axis] * (shape[axis] as isize - 1);
                    access.strides[axis] *= -1;
                }
            }
        }
    }
    let reach = |stride: isize, extent: usize| (stride * (extent as isize - 1)).max(0);
    let last = access.offset + access.strides.iter().zip(shape).map(|(&s, &e)| reach(s, e)).sum::<isize>();
    (access, uniform(&[last as usize + 1], rng))
}

#[test]
fn buffers_check_ranges_and_footprints_check_overlap() {
    let buffer = Buffer::allocate(10, &Arc::default()).unwrap();
    assert_eq!(buffer.read(0..10).unwrap(), [0; 10]);
    buffer.write(8, &[1, 2]).unwrap();
    assert_eq!(buffer.clone().read(7..10).unwrap(), [0, 1, 2]);
    assert!(buffer.write(9, &[1, 2]).is_err() && buffer.read(5..11).is_err());
    assert!(Buffer::allocate(0, &Arc::default()).unwrap().read(0..0).unwrap().is_empty());
    assert!(Buffer::allocate(usize::MAX / 2, &Arc::default()).is_err());
}

/// Two programs that exchange what they read and write, from two threads: neither waits forever.
#[test]
fn programs_over_common_buffers_run_from_two_threads() {
    let buffers: Vec<Buffer> = (0..2).map(|_| Buffer::allocate(4096, &Arc::default()).unwrap()).collect();
    let program = |from: usize, to: usize| {
        let slot =
            |arena| Slot { ty: f32s(&[4096]), origin: Origin::Step, place: Place { arena, offset: 0 }, value: None };
        let expression = Expression::load(0, Access::identity(&[4096]), DType::F32);
        let step = Step {
            label: "copy".into(),
            work: Work::Elementwise { shape: vec![4096], expression },
            reads: vec![SlotId(0)],
            writes: vec![SlotId(1)],
            workspace: None,
        };
        let slots = vec![slot(Arena::Input), slot(Arena::Activation(0))];
        let schedule = Schedule { slots, steps: vec![step], ..Schedule::default() };
        let arenas = [(Arena::Input, buffers[from].clone()), (Arena::Activation(0), buffers[to].clone())];
        Executable::new(Arc::new(schedule), arenas.into()).unwrap()
    };
    std::thread::scope(|scope| {
        for executable in [program(0, 1), program(1, 0)] {
            scope.spawn(move || (0..200).for_each(|_| executable.run(0..1).unwrap()));
        }
    });
    assert!(program(0, 1).run(0..2).is_err());
}

#[test]
fn an_opaque_step_runs_the_reference_on_the_shapes_of_the_graph() {
    let op = Arc::new(crate::ops::reduce::Reduction { accumulator: crate::graph::Accumulator::ArgMax, axes: vec![1] });
    let shader = Opaque { wgsl: "", constants: vec![], extents: vec![], workgroups: 1 };
    // Stored as a vector: reshaping moves nothing.
    let x = Array::new(&[6], vec![1f32, 3.0, 2.0, 9.0, 3.0, 2.0]).unwrap();
    let work = Work::Opaque { shader, op, inputs: vec![TensorType::new(DType::F32, [2, 3])] };
    let result = run(work, &[x], &[TensorType::new(DType::U32, [2, 1])], &[]).unwrap();
    assert_eq!(result[0].to_f64_vec(), [1.0, 0.0]);
}
