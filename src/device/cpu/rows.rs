//! Operations with a shader of their own that compute some rows at a time ([`ByRows`]): in parallel, over chunks of rows.

use rayon::prelude::*;

use super::memory::{Slices, Source};
use super::program::OperandInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::ByRows;

/// Elements of one task, which stay in the first-level cache.
const GRAIN: usize = 1 << 12;
/// The most operands.
const OPERANDS: usize = 8;

/// Such an operation.
#[derive(Debug)]
pub(super) struct Plan {
    rows: usize,
    /// Rows of one task.
    chunk: usize,
    /// Elements of a row of each operand.
    operands: Vec<usize>,
    /// And of each result.
    results: Vec<usize>,
}

impl Plan {
    /// Prepares an operation of so many `rows`, with results of `results` words each.
    ///
    /// # Errors
    /// When operands or results are not so many equal rows, or operands are overwritten.
    pub fn new(rows: usize, operands: &[OperandInfo], results: &[usize]) -> Result<Self> {
        let lens: Vec<usize> = operands.iter().map(|operand| operand.len).collect();
        // A multiple of no rows is nothing: then no result has elements that nobody would compute.
        let uneven = lens.iter().filter(|_| rows > 0).chain(results).any(|len| !len.is_multiple_of(rows));
        if uneven || lens.len() > OPERANDS || operands.iter().any(|operand| operand.in_place) {
            let what = format!("{rows} rows of operands of {lens:?} and results of {results:?} elements");
            return Err(Error::new(ErrorKind::Graph, what));
        }
        let of_row = |lens: &[usize]| lens.iter().map(|len| len / rows.max(1)).collect::<Vec<usize>>();
        let (operands, results) = (of_row(&lens), of_row(results));
        let longest = operands.iter().chain(&results).copied().max().unwrap_or(0);
        Ok(Plan { rows, chunk: (GRAIN / longest.max(1)).max(1), operands, results })
    }

    /// Runs the step.
    pub fn run(&self, op: &dyn ByRows, slices: Slices<'_>) {
        let Slices { reads, mut writes } = slices;
        let pieces = (0..self.rows).step_by(self.chunk).map(|row| {
            let count = self.chunk.min(self.rows - row);
            let part = writes.iter_mut().zip(&self.results).map(|(write, len)| {
                let (part, rest) = std::mem::take(write).split_at_mut(count * len);
                *write = rest;
                part
            });
            (row, count, part.collect())
        });
        let pieces: Vec<(usize, usize, Vec<&mut [u32]>)> = pieces.collect();
        pieces.into_par_iter().for_each(|(row, count, mut writes)| {
            let mut inputs: [&[u32]; OPERANDS] = [&[]; OPERANDS];
            for ((input, read), len) in inputs.iter_mut().zip(&reads).zip(&self.operands) {
                if let Source::Shared { words, .. } = read {
                    *input = &words[row * len..][..count * len];
                }
            }
            op.compute(&inputs[..self.operands.len()], &mut writes);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_rows_or_nothing() {
        let operand = |len| OperandInfo { len, in_place: false };
        assert!(Plan::new(3, &[operand(6), operand(3)], &[9]).is_ok());
        assert!(Plan::new(3, &[operand(6)], &[8]).is_err());
        assert!(Plan::new(0, &[operand(6)], &[0]).is_ok());
        assert!(Plan::new(0, &[operand(6)], &[4]).is_err(), "nobody would compute them");
        assert!(Plan::new(1, &[OperandInfo { len: 6, in_place: true }], &[6]).is_err());
    }
}
