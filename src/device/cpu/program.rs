//! An [`Expression`] prepared for evaluation in blocks: terms become instructions over registers of one block each.
//!
//! A load in order borrows the operand and costs nothing; what is the same in every block (constants, scalars, what repeats
//! along the last axis, and functions of them) is computed once a task, in [`Program::begin`]; everything else is computed by [`Program::evaluate`], a block
//! at a time, so that intermediate results stay in the first-level cache. Registers are reused after their last reader.
//! A result is computed where it is stored, unless an operand may be there. How a block is loaded, filled or drawn is in
//! [`super::load`], how instructions see memory in [`super::view`]. Accesses are checked against the operands' sizes here,
//! once ([`super::compile`]), so that a run has nothing left to refuse.

use std::ops::Range;

use super::compile::Compiler;
use super::load::{RANK, Walk, coordinates, random};
use super::memory::Source;
use super::view::View;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Expression, Term};
use crate::shape::element_count;
use crate::vector::expect_read;

/// The most arguments a function may have.
pub(super) const ARGUMENTS: usize = 8;

/// Elements of an operand that a second-level cache is likely to hold.
const CACHED: usize = 1 << 17;

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
    /// In the result, where it is computed.
    Result(usize),
}

#[derive(Debug)]
pub(super) struct Instruction {
    /// A register or a result.
    pub target: Place,
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

/// How a program is going to be evaluated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evaluation {
    /// Elements at once, at most.
    pub block: usize,
    /// What is evaluated after one [`Program::begin`] begins multiples of this behind its base; `None`: by
    /// [`Program::fill`], which goes block by block.
    pub step: Option<usize>,
}

/// An expression over an iteration space, ready to be evaluated at ranges of its row-major positions.
#[derive(Debug)]
pub(super) struct Program {
    block: usize,
    pub(super) registers: usize,
    pub(super) uniform: Vec<Instruction>,
    pub(super) instructions: Vec<Instruction>,
    pub(super) results: Vec<Place>,
    /// Operands that are read in order, where there is more than caches hold.
    pub(super) streams: Vec<usize>,
    cost: usize,
}

impl Program {
    /// Prepares `expression` over `shape`.
    ///
    /// # Errors
    /// When an operand is missing, too small or read elsewhere than where it is overwritten.
    pub fn new(
        expression: &Expression,
        shape: &[usize],
        operands: &[OperandInfo],
        evaluation: Evaluation,
    ) -> Result<Self> {
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
        let mut block = evaluation.block.min(count.max(1));
        let repeats = |term: &Term| matches!(term, Term::Load { access, .. } if Walk::new(access, &shape).repeats());
        if let Some(&last @ 1..) = shape.last()
            && last <= block
            && expression.terms.iter().any(repeats)
        {
            // Whole periods.
            block = block / last * last;
        }
        let program = Program {
            block,
            registers: 0,
            uniform: vec![],
            instructions: vec![],
            results: vec![],
            streams: vec![],
            cost: expression.cost(),
        };
        if count == 0 {
            return Ok(program);
        }
        let mut program = Compiler::new(operands, shape, evaluation.step, program).compile(&expression)?;
        if count <= CACHED {
            program.streams.clear();
        }
        Ok(program)
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

    /// Computes what is the same in every block after `base`; once for every scratch, before the others.
    pub fn begin(&self, base: usize, sources: &[Source<'_>], writes: &mut [&mut [u32]], scratch: &mut [u32]) {
        self.execute(&self.uniform, base..base + self.block, base, sources, writes, scratch);
    }

    /// Evaluates the elements of `range`, at most a block, of an expression with one result, which is given.
    pub fn evaluate<'s>(&self, range: Range<usize>, sources: &[Source<'s>], scratch: &'s mut [u32]) -> &'s [u32] {
        self.execute(&self.instructions, range.clone(), 0, sources, &mut [], scratch);
        match self.results[0] {
            Place::Register(register) => &scratch[register * self.block..][..range.len()],
            Place::Operand(operand) => match sources[operand] {
                Source::Shared { words, base } => &words[range.start - base..range.end - base],
                Source::InPlace(_) => unreachable!("nothing is written"),
            },
            Place::Result(_) => unreachable!("there is none"),
        }
    }

    /// Evaluates the elements from `start` into `writes`, which are the results' words from there on.
    pub fn fill(&self, start: usize, sources: &[Source<'_>], writes: &mut [&mut [u32]], scratch: &mut [u32]) {
        let count = writes.first().map_or(0, |write| write.len());
        for done in (0..count).step_by(self.block) {
            let len = self.block.min(count - done);
            let range = start + done..start + done + len;
            self.execute(&self.instructions, range.clone(), start, sources, writes, scratch);
            for (i, &place) in self.results.iter().enumerate() {
                match place {
                    Place::Result(same) if same == i => {}
                    Place::Result(other) => {
                        let [from, to] = writes.get_disjoint_mut([other, i]).expect("two results");
                        to[done..done + len].copy_from_slice(&from[done..done + len]);
                    }
                    Place::Register(register) => {
                        writes[i][done..done + len].copy_from_slice(&scratch[register * self.block..][..len]);
                    }
                    Place::Operand(operand) => match sources[operand] {
                        Source::Shared { words, base } => {
                            writes[i][done..done + len].copy_from_slice(&words[range.start - base..range.end - base]);
                        }
                        Source::InPlace(_) => unreachable!("the compiler copies results that are operands in place"),
                    },
                }
            }
        }
    }

    /// Has part `i` of `count` of what the next block reads, from position `next` on, come from memory.
    fn expect_part(&self, next: usize, len: usize, (i, count): (usize, usize), sources: &[Source<'_>]) {
        for &operand in &self.streams {
            if let Source::Shared { words, base } = sources[operand] {
                let at = |i: usize| (next - base + i * len / count).min(words.len());
                expect_read(&words[at(i)..at(i + 1)]);
            }
        }
    }

    /// Executes `instructions` at the positions of `range`; the results' words begin at `base`.
    fn execute(
        &self,
        instructions: &[Instruction],
        range: Range<usize>,
        base: usize,
        sources: &[Source<'_>],
        writes: &mut [&mut [u32]],
        scratch: &mut [u32],
    ) {
        for (i, Instruction { target, action }) in instructions.iter().enumerate() {
            self.expect_part(range.end, range.len(), (i, instructions.len()), sources);
            let (view, out) = View::new(*target, self.block, (&range, base), sources, writes, scratch);
            match action {
                Action::Fill(word) => out.fill(*word),
                Action::Scalar { operand, element } => {
                    let (words, base) = view.words(*operand);
                    out.fill(words[element - base]);
                }
                Action::Gather { operand, walk, otherwise } => {
                    walk.gather(range.start, view.words(*operand), otherwise.map(|place| view.value(place)), out);
                }
                Action::Coordinate { extent, stride } => coordinates(range.start, *extent, *stride, out),
                Action::Random { key, step, stream } => {
                    let (key, step) = (view.words(*key).0, view.words(*step).0);
                    random(range.start, [key[0], key[1]], step[0], *stream, out);
                }
                Action::Apply { block, dtype, arguments } => {
                    let mut values: [&[u32]; ARGUMENTS] = [&[]; ARGUMENTS];
                    for (value, place) in values.iter_mut().zip(arguments) {
                        *value = view.value(*place);
                    }
                    block(*dtype, &values[..arguments.len()], out);
                }
            }
        }
    }
}
