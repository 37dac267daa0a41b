//! Elementwise steps, and the epilogues of matrix products: a [`Program`] run in parallel over chunks of its positions.
//!
//! A chunk is a range of positions with the same range of every result; chunks depend on the work, never on the number
//! of threads. An operand in place is right because a block is read before it is written, at equal positions.

use rayon::prelude::*;

use super::memory::{Scratch, Slices, Source};
use super::program::{Evaluation, OperandInfo, Program};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Expression;
use crate::shape::element_count;

/// Elements evaluated at once: a register is 4 KiB, so that some of them stay in the first-level cache.
const BLOCK: usize = 1024;
/// Work of one task, in words moved and functions applied.
const GRAIN: usize = 1 << 16;

/// Tasks that keep many threads busy.
const MANY: usize = 64;

/// An elementwise step.
#[derive(Debug)]
pub(super) struct Plan {
    program: Program,
    count: usize,
    chunk: usize,
}

impl Plan {
    /// Prepares `expression` over `shape`, with results of `results` words each.
    ///
    /// # Errors
    /// As [`Program::new`], and when a result does not fit.
    pub fn new(expression: &Expression, shape: &[usize], operands: &[OperandInfo], results: &[usize]) -> Result<Self> {
        let count = element_count(shape);
        if results.len() != expression.results.len() || results.iter().any(|&len| len < count) {
            return Err(Error::new(
                ErrorKind::Graph,
                format!(
                    "{} results of {count} elements for {} slots of {results:?}",
                    expression.results.len(),
                    results.len()
                ),
            ));
        }
        let program = Program::new(expression, shape, operands, Evaluation { block: BLOCK, step: None })?;
        let chunk = (GRAIN / (1 + 2 * program.cost())).max(2 * BLOCK).next_multiple_of(program.block());
        // Longer ones where there are many: what is the same in every block is computed for each.
        let chunk = chunk.max((count / MANY).next_multiple_of(program.block()).min(16 * program.block()));
        Ok(Plan { program, count, chunk })
    }

    /// Runs the step.
    pub fn run(&self, mut slices: Slices<'_>) {
        slices.writes.iter_mut().for_each(|write| *write = &mut std::mem::take(write)[..self.count]);
        self.fill(&slices.reads, slices.writes);
    }

    /// Evaluates all positions into `writes`.
    pub fn fill(&self, sources: &[Source<'_>], mut writes: Vec<&mut [u32]>) {
        if self.count <= self.chunk {
            return self.chunk(0, sources, &mut writes);
        }
        let chunks = std::iter::repeat_n(self.chunk, self.count / self.chunk).chain([self.count % self.chunk]);
        split(writes, chunks).into_par_iter().for_each(|(start, mut writes)| self.chunk(start, sources, &mut writes));
    }

    /// Evaluates the positions from `start` into `writes`, in one task.
    pub fn chunk(&self, start: usize, sources: &[Source<'_>], writes: &mut [&mut [u32]]) {
        if writes.iter().all(|write| write.is_empty()) {
            return;
        }
        let mut scratch = Scratch::take(self.program.scratch());
        self.program.begin(start, sources, writes, &mut scratch);
        self.program.fill(start, sources, writes, &mut scratch);
    }
}

/// Where a part of the results begins, and the part of each.
pub(super) type Piece<'a> = (usize, Vec<&'a mut [u32]>);

/// Cuts all of `writes` at the same places, into pieces of `lengths`. Empty pieces are left out.
pub(super) fn split<'a>(mut writes: Vec<&'a mut [u32]>, lengths: impl Iterator<Item = usize>) -> Vec<Piece<'a>> {
    let mut start = 0;
    let mut pieces = Vec::with_capacity(lengths.size_hint().0);
    for length in lengths.filter(|&length| length > 0) {
        let mut piece = Vec::with_capacity(writes.len());
        for write in &mut writes {
            let (head, tail) = std::mem::take(write).split_at_mut(length);
            *write = tail;
            piece.push(head);
        }
        pieces.push((start, piece));
        start += length;
    }
    pieces
}
