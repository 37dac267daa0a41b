//! An [`Expression`] prepared for evaluation in blocks: terms become instructions over registers of one block each.
//!
//! A load in order borrows the operand and costs nothing; what is the same everywhere (constants, scalars and functions
//! of them) is computed once a task, in [`Program::begin`]; everything else is computed by [`Program::evaluate`], a block
//! at a time, so that intermediate results stay in the first-level cache. Registers are reused after their last reader.
//! How a block is loaded, filled or drawn is in [`super::load`]. Accesses are checked against the operands' sizes here,
//! once ([`super::compile`]), so that a run has nothing left to refuse.

use super::compile::Compiler;
use super::load::{RANK, Walk, coordinates, random};
use super::memory::Source;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Expression, Term};
use crate::shape::element_count;

/// The most arguments a function may have.
pub(super) const ARGUMENTS: usize = 8;

/// What is known of an operand when a program is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct OperandInfo {
    /// Its number of elements.
    pub len: usize,
    /// Whether it is overwritten by a result at equal indices.
    pub in_place: bool,
}

/// Where the value of a term is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Register(usize),
    /// In the operand, at the positions of the block.
    Operand(usize),
}

#[derive(Debug)]
pub(super) struct Instruction {
    pub register: usize,
    pub action: Action,
}

#[derive(Debug)]
pub(super) enum Action {
    Fill(u32),
    Scalar { operand: usize, element: usize },
    Gather { operand: usize, walk: Walk, otherwise: Option<Place> },
    Coordinate { extent: usize, stride: usize },
    Random { key: usize, step: usize, stream: u32 },
    Apply { block: fn(DType, &[&[u32]], &mut [u32]), dtype: DType, arguments: Vec<Place> },
}

/// The operands of one task.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a, 'b> {
    /// Operand `i` of the expression.
    pub sources: &'a [Source<'b>],
    /// The task's part of the results, for operands in place.
    pub writes: &'a [&'b mut [u32]],
    /// The first element of that part.
    pub base: usize,
}

impl<'a> Inputs<'a, '_> {
    /// The words of an operand, and the element that the first one is.
    fn words(&self, operand: usize) -> (&'a [u32], usize) {
        match self.sources[operand] {
            Source::Shared { words, base } => (words, base),
            Source::InPlace(write) => (self.writes[write], self.base),
        }
    }
}

/// An expression over an iteration space, ready to be evaluated at ranges of its row-major positions.
#[derive(Debug)]
pub(super) struct Program {
    block: usize,
    pub(super) registers: usize,
    pub(super) uniform: Vec<Instruction>,
    pub(super) instructions: Vec<Instruction>,
    pub(super) results: Vec<Place>,
    cost: usize,
}

impl Program {
    /// Prepares `expression` over `shape` for blocks of at most `block` elements.
    ///
    /// # Errors
    /// When an operand is missing, too small or read elsewhere than where it is overwritten.
    pub fn new(expression: &Expression, shape: &[usize], operands: &[OperandInfo], block: usize) -> Result<Self> {
        let mut expression = expression.clone();
        let mut shape = expression.collapse(shape);
        if shape.is_empty() {
            // A space without axes is one of a single element.
            shape.push(1);
            for term in &mut expression.terms {
                if let Term::Load { access, .. } = term {
                    access.strides.push(0);
                }
            }
        }
        if shape.len() > RANK {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{} axes, the CPU device takes {RANK}", shape.len()),
            ));
        }
        let count = element_count(&shape);
        let program = Program {
            block: block.min(count.max(1)),
            registers: 0,
            uniform: vec![],
            instructions: vec![],
            results: vec![],
            cost: expression.cost(),
        };
        if count == 0 {
            return Ok(program);
        }
        Compiler::new(operands, shape, program).compile(&expression)
    }

    /// The words of scratch that evaluation needs.
    pub fn scratch(&self) -> usize {
        self.registers * self.block
    }

    /// The largest number of elements evaluated at once.
    pub fn block(&self) -> usize {
        self.block
    }

    /// Function applications an element.
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// Computes what is the same everywhere; once for every scratch, before [`Program::evaluate`].
    pub fn begin(&self, inputs: Inputs<'_, '_>, scratch: &mut [u32]) {
        self.execute(&self.uniform, 0, self.block, inputs, scratch);
    }

    /// Evaluates the `len` elements from `start`; their values are then in [`Program::result`].
    pub fn evaluate(&self, start: usize, len: usize, inputs: Inputs<'_, '_>, scratch: &mut [u32]) {
        self.execute(&self.instructions, start, len, inputs, scratch);
    }

    /// Result `i` of the block evaluated last.
    pub fn result<'s>(
        &self,
        i: usize,
        start: usize,
        len: usize,
        sources: &[Source<'s>],
        scratch: &'s [u32],
    ) -> &'s [u32] {
        match self.results[i] {
            Place::Register(register) => &scratch[register * self.block..][..len],
            Place::Operand(operand) => match sources[operand] {
                Source::Shared { words, base } => &words[start - base..][..len],
                Source::InPlace(_) => unreachable!("the compiler copies results that are operands in place"),
            },
        }
    }

    /// Evaluates the elements from `start` into `writes`, which are the results' words from there on.
    pub fn fill(&self, start: usize, sources: &[Source<'_>], writes: &mut [&mut [u32]], scratch: &mut [u32]) {
        let count = writes.first().map_or(0, |write| write.len());
        let mut done = 0;
        while done < count {
            let len = self.block.min(count - done);
            self.evaluate(start + done, len, Inputs { sources, writes, base: start }, scratch);
            for (i, write) in writes.iter_mut().enumerate() {
                write[done..done + len].copy_from_slice(self.result(i, start + done, len, sources, scratch));
            }
            done += len;
        }
    }

    fn value<'s>(
        &self,
        place: Place,
        start: usize,
        len: usize,
        inputs: Inputs<'s, '_>,
        registers: Registers<'s>,
    ) -> &'s [u32] {
        match place {
            Place::Register(register) => &registers.get(register, self.block)[..len],
            Place::Operand(operand) => {
                let (words, base) = inputs.words(operand);
                &words[start - base..start - base + len]
            }
        }
    }

    fn execute(
        &self,
        instructions: &[Instruction],
        start: usize,
        len: usize,
        inputs: Inputs<'_, '_>,
        scratch: &mut [u32],
    ) {
        for Instruction { register, action } in instructions {
            let (low, rest) = scratch.split_at_mut(register * self.block);
            let (out, high) = rest.split_at_mut(self.block);
            let (out, registers) = (&mut out[..len], Registers { low, high, hole: *register });
            match action {
                Action::Fill(word) => out.fill(*word),
                Action::Scalar { operand, element } => {
                    let (words, base) = inputs.words(*operand);
                    out.fill(words[element - base]);
                }
                Action::Gather { operand, walk, otherwise } => {
                    let otherwise = otherwise.map(|place| self.value(place, start, len, inputs, registers));
                    walk.gather(start, inputs.words(*operand), otherwise, out);
                }
                Action::Coordinate { extent, stride } => coordinates(start, *extent, *stride, out),
                Action::Random { key, step, stream } => {
                    let (key, step) = (inputs.words(*key).0, inputs.words(*step).0);
                    random(start, [key[0], key[1]], step[0], *stream, out);
                }
                Action::Apply { block, dtype, arguments } => {
                    let mut values: [&[u32]; ARGUMENTS] = [&[]; ARGUMENTS];
                    for (value, place) in values.iter_mut().zip(arguments) {
                        *value = self.value(*place, start, len, inputs, registers);
                    }
                    block(*dtype, &values[..arguments.len()], out);
                }
            }
        }
    }
}

/// All registers but the one being written.
#[derive(Clone, Copy)]
struct Registers<'s> {
    low: &'s [u32],
    high: &'s [u32],
    hole: usize,
}

impl<'s> Registers<'s> {
    fn get(self, register: usize, block: usize) -> &'s [u32] {
        if register < self.hole {
            &self.low[register * block..(register + 1) * block]
        } else {
            let after = register - self.hole - 1;
            &self.high[after * block..(after + 1) * block]
        }
    }
}
