//! Scheduling: a graph becomes a list of steps over placed memory, the same for every device.
//!
//! [`fuse`] decides which nodes become one step, [`order`] puts what needs gradients last and lets updates work in place,
//! [`memory`] places every stored tensor in an arena by its lifetime and merges what an optimizer does to neighbouring
//! parameters into one step. A [`Schedule`] is plain data with a verifier and a printer; [`evaluate`] says in `f64` what its
//! steps must give. Before: [`crate::simplify`]. After: [`crate::device`] lowers every step to dispatches or loops; it never
//! looks at operations.

pub mod evaluate;
mod fuse;
mod memory;
mod order;
mod print;

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Expression, Gemm, Graph, Leaf, Op, Opaque, Pooling, Reduce, TensorType, Value};

/// Tensors start at multiples of this many words (256 bytes: the strictest binding alignment of WebGPU).
pub const ALIGNMENT: usize = 64;

/// `words` rounded up to [`ALIGNMENT`].
pub const fn aligned(words: usize) -> usize {
    words.div_ceil(ALIGNMENT) * ALIGNMENT
}

/// The place of a slot in [`Schedule::slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub usize);

/// One stretch of memory that a schedule addresses. A tensor never spans arenas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arena {
    /// A segment of the store: parameters, optimizer moments, running statistics.
    Store(usize),
    /// Gradients of the parameters of a store segment, at the parameters' offsets.
    Gradient(usize),
    /// What a run is given.
    Input,
    /// Intermediate results and outputs; the number keeps what a step reads and writes in different buffers.
    Activation(usize),
}

/// Where a slot's first word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The arena.
    pub arena: Arena,
    /// Words from its start, a multiple of [`ALIGNMENT`].
    pub offset: usize,
}

/// Where a slot's content comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A leaf of the graph.
    Leaf(Leaf, String),
    /// Computed by a step.
    Step,
    /// Computed by a step; the gradient of this parameter.
    Gradient(String),
    /// Scratch memory of one step.
    Workspace,
}

/// A stored tensor.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Its type.
    pub ty: TensorType,
    /// Its origin.
    pub origin: Origin,
    /// Its place in memory.
    pub place: Place,
    /// The value of the graph that a step writes here; `None` for leaves, copies, and what several steps became.
    pub value: Option<Value>,
}

/// Elementwise work on the result of a product or of pooling: an iteration space and an expression. Operand 0 of it is the
/// result at equal indices, operand `i` the `i`-th read after those of the product or the pooling; its results go to the
/// step's writes.
pub type Epilogue = (Vec<usize>, Expression);

/// The work of one step. Operand `i` of an expression is `reads[i]` of the step.
#[derive(Clone, Debug)]
pub enum Work {
    /// Result `i` of the expression at every index of `shape` goes to `writes[i]`, dense.
    Elementwise {
        /// The iteration space.
        shape: Vec<usize>,
        /// The work.
        expression: Expression,
    },
    /// A reduction; results go to `writes`, dense over the axes that are kept.
    Reduce(Reduce),
    /// A matrix product of `reads[0]` and `reads[1]`; the iteration space of its epilogue is `(m, n·groups)` flat, as stored.
    Gemm {
        /// The product.
        gemm: Gemm,
        /// What happens to each element before it is stored.
        epilogue: Option<Epilogue>,
    },
    /// Pooling of the first reads.
    Window {
        /// The pooling.
        pooling: Pooling,
        /// What happens to each element before it is stored, where there is one result.
        epilogue: Option<Epilogue>,
    },
    /// A shader of its own; the operation's reference on the CPU device.
    Opaque {
        /// The shader.
        shader: Opaque,
        /// The operation.
        op: Arc<dyn Op>,
        /// The types in which it takes its operands: reshaping leaves their slots as they are.
        inputs: Vec<TensorType>,
    },
}

/// One step of a schedule.
#[derive(Clone, Debug)]
pub struct Step {
    /// `scope operation+operation`, for people and profilers.
    pub label: String,
    /// What to do.
    pub work: Work,
    /// Operands, without repetition.
    pub reads: Vec<SlotId>,
    /// Results. A slot in both is updated in place, at equal indices.
    pub writes: Vec<SlotId>,
    /// Scratch memory.
    pub workspace: Option<SlotId>,
}

/// Work for a device: steps in order, and where everything is.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    /// Every stored tensor.
    pub slots: Vec<Slot>,
    /// In execution order.
    pub steps: Vec<Step>,
    /// The number of steps before the cut: after them all gradients are complete; the rest are updates.
    pub cut: usize,
    /// Named inputs.
    pub inputs: Vec<(String, SlotId)>,
    /// Named outputs with their types.
    pub outputs: Vec<(String, SlotId, TensorType)>,
    /// Words of every arena that this schedule owns (all but the store's).
    pub arenas: Vec<(Arena, usize)>,
    /// Words that intermediate results would need at least: the largest sum of sizes alive at one step.
    pub lower_bound: usize,
}

/// Where the store keeps leaves: what the scheduler must know of it.
#[derive(Clone, Debug, Default)]
pub struct StoreLayout {
    /// Segment and offset in words of every parameter and state.
    pub entries: HashMap<(Leaf, String), (usize, usize)>,
    /// Words of every segment.
    pub segments: Vec<usize>,
}

/// What the scheduler must know of a device, as plain data and one function.
pub struct Capabilities<'a> {
    /// Buffers that one step may read and write together.
    pub operands: usize,
    /// The largest number of words in one binding.
    pub binding_words: usize,
    /// The largest number of words in one buffer.
    pub buffer_words: usize,
    /// Words of scratch memory for a step.
    pub workspace: &'a dyn Fn(&Work) -> usize,
    /// Leave [`ALIGNMENT`] unused words after every activation, so that tests can see writes out of bounds.
    pub guards: bool,
    /// Compute every operation in steps of its own, and materialise views: for comparison with what fusion makes.
    pub unfused: bool,
}

/// Schedules `graph`.
///
/// # Errors
/// When the graph is malformed or a leaf is missing from the store.
pub fn schedule(graph: &Graph, store: &StoreLayout, capabilities: &Capabilities<'_>) -> Result<Schedule> {
    let fused = fuse::fuse(graph, capabilities)?;
    let ordered = order::order(fused, capabilities);
    let schedule = memory::place(ordered, store, capabilities)?;
    if cfg!(debug_assertions) {
        schedule.verify()?;
    }
    Ok(schedule)
}

impl Schedule {
    /// A slot of this schedule.
    pub fn slot(&self, id: SlotId) -> &Slot {
        &self.slots[id.0]
    }

    /// The first and one-past-last word of a slot.
    pub fn range(&self, id: SlotId) -> (Arena, std::ops::Range<usize>) {
        let slot = self.slot(id);
        (slot.place.arena, slot.place.offset..slot.place.offset + slot.ty.words())
    }

    /// Checks that no step writes where it reads (unless in place), or where a later step still reads something else.
    ///
    /// # Errors
    /// Names the step and the slots.
    pub fn verify(&self) -> Result<()> {
        let fail =
            |step: &Step, what: String| Err(Error::new(ErrorKind::Graph, format!("step {}: {what}", step.label)));
        let overlap = |a: SlotId, b: SlotId| {
            let ((arena_a, a), (arena_b, b)) = (self.range(a), self.range(b));
            arena_a == arena_b && a.start < b.end && b.start < a.end
        };
        // Who wrote each live stretch of an activation arena last.
        let mut content: HashMap<SlotId, ()> = HashMap::new();
        for (name, slot) in &self.inputs {
            if self.slot(*slot).place.arena != Arena::Input {
                return Err(Error::new(ErrorKind::Graph, format!("input {name:?} is not in the input arena")));
            }
        }
        for step in &self.steps {
            for &read in &step.reads {
                let computed = matches!(self.slot(read).place.arena, Arena::Activation(_));
                if computed && !self.slot(read).ty.is_empty() && !content.contains_key(&read) {
                    return fail(
                        step,
                        format!("reads slot {} before it is written, or after it was overwritten", read.0),
                    );
                }
            }
            let written: Vec<SlotId> = step.writes.iter().copied().chain(step.workspace).collect();
            for (i, &write) in written.iter().enumerate() {
                if let Some(&read) = step.reads.iter().find(|&&read| read != write && overlap(read, write)) {
                    return fail(step, format!("writes slot {} over its operand {}", write.0, read.0));
                }
                if let Some(&other) = written[..i].iter().find(|&&other| overlap(other, write)) {
                    return fail(step, format!("writes slots {} and {} over each other", write.0, other.0));
                }
            }
            for &write in &written {
                content.retain(|&slot, ()| slot == write || !overlap(slot, write));
            }
            content.extend(step.writes.iter().map(|&write| (write, ())));
        }
        for (name, slot, ty) in &self.outputs {
            let computed = matches!(self.slot(*slot).place.arena, Arena::Activation(_));
            if computed && !ty.is_empty() && !content.contains_key(slot) {
                return Err(Error::new(ErrorKind::Graph, format!("output {name:?} is overwritten before the end")));
            }
        }
        Ok(())
    }
}
