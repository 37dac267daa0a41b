//! What an instruction of a [`super::program`] sees: its target, and all else that it may read.
//!
//! Registers are in scratch, a block each; the task's parts of the results are in memory, and an operand in place is what a
//! result was. The target is written while the rest is read, so memory is split around it.

use std::ops::Range;

use super::memory::Source;
use super::program::Place;

/// All but the target of an instruction, at the positions of a block.
pub(super) struct View<'a, 'w, 's> {
    sources: &'a [Source<'s>],
    registers: Split<'a, u32>,
    writes: Split<'a, &'w mut [u32]>,
    block: usize,
    start: usize,
    len: usize,
    /// The element that is the first of each of the results' parts.
    base: usize,
}

/// A slice without its middle.
struct Split<'a, T> {
    low: &'a [T],
    high: &'a [T],
    /// Where that begins, and where it ends.
    hole: Range<usize>,
}

impl<'a, T> Split<'a, T> {
    fn whole(slice: &'a [T]) -> Self {
        Split { low: slice, high: &[], hole: slice.len()..slice.len() }
    }

    fn around(slice: &'a mut [T], hole: Range<usize>) -> (Self, &'a mut [T]) {
        let (low, rest) = slice.split_at_mut(hole.start);
        let (middle, high) = rest.split_at_mut(hole.len());
        (Split { low, high, hole }, middle)
    }

    /// The elements of `range`, which does not meet the hole.
    fn get(&self, range: Range<usize>) -> &'a [T] {
        if range.end <= self.hole.start {
            &self.low[range]
        } else {
            &self.high[range.start - self.hole.end..range.end - self.hole.end]
        }
    }
}

impl<'a, 'w, 's> View<'a, 'w, 's> {
    /// The view for a target, and the target, at positions `range`; the results' parts begin at position `base`.
    pub fn new(
        target: Place,
        block: usize,
        (range, base): (&Range<usize>, usize),
        sources: &'a [Source<'s>],
        writes: &'a mut [&'w mut [u32]],
        scratch: &'a mut [u32],
    ) -> (Self, &'a mut [u32]) {
        let (start, len) = (range.start, range.len());
        let view = |registers, writes| View { sources, registers, writes, block, start, len, base };
        match target {
            Place::Register(register) => {
                let (registers, out) = Split::around(scratch, register * block..(register + 1) * block);
                (view(registers, Split::whole(writes)), &mut out[..len])
            }
            Place::Result(result) => {
                let (writes, out) = Split::around(writes, result..result + 1);
                (view(Split::whole(scratch), writes), &mut out[0][start - base..start - base + len])
            }
            Place::Operand(_) => unreachable!("operands are not written"),
        }
    }

    /// The words of an operand, and the element that the first one is.
    pub fn words(&self, operand: usize) -> (&'a [u32], usize) {
        match self.sources[operand] {
            Source::Shared { words, base } => (words, base),
            Source::InPlace(write) => (self.written(write), self.base),
        }
    }

    /// The value of a term.
    pub fn value(&self, place: Place) -> &'a [u32] {
        let at = |words: &'a [u32], base: usize| &words[self.start - base..self.start - base + self.len];
        match place {
            Place::Register(register) => self.registers.get(register * self.block..register * self.block + self.len),
            Place::Operand(operand) => {
                let (words, base) = self.words(operand);
                at(words, base)
            }
            Place::Result(result) => at(self.written(result), self.base),
        }
    }

    fn written(&self, result: usize) -> &'a [u32] {
        &*self.writes.get(result..result + 1)[0]
    }
}
