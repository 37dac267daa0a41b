//! The CPU device: a [`Schedule`] run in f32, by loops and matrix products on all cores.
//!
//! It is for machines without a GPU, and the same tests judge it. [`Executable::new`] turns every step into a plan that is
//! checked against the sizes of its slots, so that a run has nothing left to refuse; a run locks the buffers it touches,
//! takes each step's slices ([`memory`]; [`half`] widens those of `f16`) and does its work: [`elementwise`], [`reduce`], [`gemm`], [`window`], [`rows`], or
//! the reference of an operation that has a shader of its own. Work is cut by shapes and never by the number of threads, and
//! partial results are added in a fixed order: one seed gives one result, bit for bit. Before: [`crate::schedule`].

mod channelwise;
mod compile;
mod depthwise;
mod elementwise;
mod fold;
mod gemm;
mod half;
mod kernel;
mod lines;
mod load;
mod memory;
mod operand;
mod phased;
mod program;
mod reduce;
mod rows;
#[cfg(test)]
mod tests;
mod view;
mod window;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

pub use memory::Buffer;

use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::graph::{Op, TensorType};
use crate::schedule::{Arena, Schedule, SlotId, Step, Work};
use half::Halves;
use memory::{Access, Footprint, Locked, Memory, Slices, Source, Stretch};
use program::OperandInfo;

/// A schedule over buffers, ready to run any number of times, from any thread.
///
/// Runs that touch a common buffer wait for each other, unless both only read it. Do not start a run from inside a task
/// of a rayon pool: a worker that waits for a lock can be the one that another run needs.
#[derive(Debug)]
pub struct Executable {
    schedule: Arc<Schedule>,
    /// Distinct, in the order in which they are locked.
    buffers: Vec<Buffer>,
    steps: Vec<Planned>,
}

#[derive(Debug)]
struct Planned {
    footprint: Footprint,
    halves: Option<Halves>,
    plan: Plan,
}

#[derive(Debug)]
enum Plan {
    Elementwise(elementwise::Plan),
    Reduce(reduce::Plan),
    Gemm(Box<gemm::Plan>),
    Window(window::Plan),
    /// An operation that computes some rows at a time.
    Rows(rows::Plan),
    /// Any other with a shader of its own.
    Opaque,
}

impl Executable {
    /// Plans `schedule` over one buffer an arena.
    ///
    /// # Errors
    /// When an arena has no buffer or a buffer is too small, and when a step is malformed; the step is named.
    pub fn new(schedule: Arc<Schedule>, buffers: BTreeMap<Arena, Buffer>) -> Result<Self> {
        let mut distinct: Vec<Buffer> = Vec::new();
        for buffer in buffers.values() {
            if !distinct.iter().any(|known| known.same(buffer)) {
                distinct.push(buffer.clone());
            }
        }
        distinct.sort_by_key(Buffer::address);
        let stretch = |slot: SlotId| -> Result<Stretch> {
            let (arena, words) = schedule.range(slot);
            let found = buffers.get(&arena).filter(|buffer| words.end <= buffer.len());
            let index = found.and_then(|buffer| distinct.iter().position(|known| known.same(buffer)));
            let buffer = index.ok_or_else(|| {
                let len = buffers.get(&arena).map_or(0, Buffer::len);
                Error::new(ErrorKind::Memory, format!("slot {}: words {words:?} of {arena:?}, which has {len}", slot.0))
            })?;
            Ok(Stretch { buffer, words })
        };
        let plan = |step: &Step| -> Result<Planned> {
            let stretches = |slots: &[SlotId]| slots.iter().map(|&slot| stretch(slot)).collect::<Result<Vec<_>>>();
            for &slot in step.reads.iter().chain(&step.writes) {
                let dtype = schedule.slot(slot).ty.dtype;
                if dtype == DType::F64 {
                    return Err(Error::new(ErrorKind::Unsupported, format!("the CPU device does not store {dtype}")));
                }
            }
            let types = |slots: &[SlotId]| slots.iter().map(|&slot| &schedule.slot(slot).ty).collect::<Vec<_>>();
            let halves = Halves::new(&types(&step.reads), &types(&step.writes));
            let footprint = Footprint::new(stretches(&step.reads)?, stretches(&step.writes)?)?;
            let lens = |slots: &[SlotId]| slots.iter().map(|&slot| schedule.slot(slot).ty.len()).collect::<Vec<_>>();
            let operands = lens(&step.reads).into_iter().zip(footprint.in_place());
            let operands: Vec<OperandInfo> = operands.map(|(len, in_place)| OperandInfo { len, in_place }).collect();
            let results = lens(&step.writes);
            let plan = match &step.work {
                Work::Elementwise { shape, expression } => {
                    Plan::Elementwise(elementwise::Plan::new(expression, shape, &operands, &results)?)
                }
                Work::Reduce(reduce) => Plan::Reduce(reduce::Plan::new(reduce, &operands, &results)?),
                Work::Gemm { gemm, epilogue } => {
                    Plan::Gemm(Box::new(gemm::Plan::new(gemm, epilogue.as_ref(), &operands, &results)?))
                }
                Work::Window { pooling, epilogue } => {
                    Plan::Window(window::Plan::new(pooling, epilogue.as_ref(), &operands, &results)?)
                }
                Work::Opaque { op, inputs, .. } => match op.by_rows() {
                    Some(op) => Plan::Rows(rows::Plan::new(op.rows(inputs), &operands, &results)?),
                    None => Plan::Opaque,
                },
            };
            Ok(Planned { footprint, halves, plan })
        };
        let steps = schedule.steps.iter().map(|step| plan(step).context(|| step.label.clone()));
        let steps = steps.collect::<Result<_>>()?;
        Ok(Executable { schedule, buffers: distinct, steps })
    }

    /// Runs some of the steps in order.
    ///
    /// # Errors
    /// When there are not that many steps, or the reference of an operation fails; the step is named.
    pub fn run(&self, steps: Range<usize>) -> Result<()> {
        let Some(planned) = self.steps.get(steps.clone()) else {
            return Err(Error::new(ErrorKind::Graph, format!("no steps {steps:?}, there are {}", self.steps.len())));
        };
        let mut access = vec![Access::None; self.buffers.len()];
        planned.iter().for_each(|step| step.footprint.require(&mut access));
        // Locks are taken here and not in the pool, where a waiting thread may hold up the run that has them.
        let mut locked = Locked::new(&self.buffers, access);
        let mut memory = locked.memory();
        rayon::scope(|_| {
            for (step, planned) in self.schedule.steps[steps].iter().zip(planned) {
                self.step(step, planned, &mut memory).context(|| step.label.clone())?;
            }
            Ok(())
        })
    }

    fn step(&self, step: &Step, planned: &Planned, memory: &mut Memory<'_>) -> Result<()> {
        let slices = memory.slices(&planned.footprint)?;
        match &planned.halves {
            Some(halves) => halves.widened(slices, |slices| self.work(step, planned, slices)),
            None => self.work(step, planned, slices),
        }
    }

    fn work(&self, step: &Step, planned: &Planned, slices: Slices<'_>) -> Result<()> {
        match (&planned.plan, &step.work) {
            (Plan::Elementwise(plan), _) => plan.run(slices),
            (Plan::Reduce(plan), _) => plan.run(slices),
            (Plan::Gemm(plan), _) => plan.run(slices),
            (Plan::Window(plan), _) => plan.run(slices),
            (Plan::Rows(plan), Work::Opaque { op, .. }) => {
                if let Some(op) = op.by_rows() {
                    plan.run(op, slices);
                }
            }
            (Plan::Opaque, Work::Opaque { op, inputs, .. }) => {
                let computed = |ty: &TensorType| TensorType::new(ty.dtype.computed(), ty.shape.clone());
                let inputs: Vec<TensorType> = inputs.iter().map(computed).collect();
                let writes = step.writes.iter().map(|&slot| computed(&self.schedule.slot(slot).ty)).collect();
                reference(op.as_ref(), &inputs, writes, slices)?;
            }
            (Plan::Rows(_) | Plan::Opaque, _) => {}
        }
        Ok(())
    }
}

/// Runs the reference of an operation on arrays of the operands.
fn reference(op: &dyn Op, reads: &[TensorType], writes: Vec<TensorType>, slices: Slices<'_>) -> Result<()> {
    let mut inputs = Vec::with_capacity(reads.len());
    for (source, ty) in slices.reads.iter().zip(reads) {
        let words = match *source {
            Source::Shared { words, .. } => words,
            Source::InPlace(write) => &*slices.writes[write],
        };
        inputs.push(Array::from_words(&ty.shape, ty.dtype, words)?);
    }
    let outputs = op.reference(&inputs)?;
    if outputs.len() != writes.len() || outputs.iter().zip(&writes).any(|(output, ty)| output.len() != ty.len()) {
        let shapes: Vec<&[usize]> = outputs.iter().map(Array::shape).collect();
        return Err(Error::new(ErrorKind::Graph, format!("the reference gave {shapes:?} for results of {writes:?}")));
    }
    for (write, output) in slices.writes.into_iter().zip(&outputs) {
        write.copy_from_slice(&output.to_words());
    }
    Ok(())
}
