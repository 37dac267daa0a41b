//! How a block of values comes to be: affine loads with bounds, coordinates, and random bits.
//!
//! Positions are row-major positions of the iteration space; a block is a range of them. A load goes through the block
//! line by line, a line being what lies on the last axis, with an odometer over the other axes.

use crate::graph::Access;
use crate::random::philox;

/// An access over its iteration space.
#[derive(Debug)]
pub(super) struct Walk {
    access: Access,
    shape: Vec<usize>,
    /// The operand repeats with this period: broadcast along all axes but the last, in order there.
    period: Option<usize>,
}

/// Iteration spaces have at most this many axes, after collapsing.
pub(super) const RANK: usize = 16;

impl Walk {
    /// `shape` has at least one axis.
    pub fn new(access: &Access, shape: &[usize]) -> Self {
        let last = shape.len() - 1;
        let repeats = access.bounds.is_empty()
            && access.strides[last] == 1
            && (0..last).all(|axis| access.strides[axis] == 0 || shape[axis] == 1);
        Walk { access: access.clone(), shape: shape.to_vec(), period: repeats.then_some(shape[last]) }
    }

    /// Whether the values repeat along the last axis.
    pub fn repeats(&self) -> bool {
        self.period.is_some()
    }

    /// Whether any two blocks of `block` elements that begin multiples of `step` apart have the same values.
    pub fn is_alike(&self, block: usize, step: usize) -> bool {
        self.period.is_some_and(|period| period <= block && block.is_multiple_of(period) && step.is_multiple_of(period))
    }

    /// The smallest and the largest element that is read; `None` if none is.
    pub fn extremes(&self) -> Option<(isize, isize)> {
        let (mut first, mut last) = (self.access.offset, self.access.offset);
        for (axis, (&extent, &stride)) in self.shape.iter().zip(&self.access.strides).enumerate() {
            let (mut begin, mut end) = (0, extent);
            for bound in self.access.bounds.iter().filter(|bound| bound.axis == axis) {
                (begin, end) = (begin.max(bound.begin), end.min(bound.end));
            }
            if begin >= end {
                return None;
            }
            let (low, high) = (begin as isize * stride, (end - 1) as isize * stride);
            (first, last) = (first + low.min(high), last + low.max(high));
        }
        Some((first, last))
    }

    /// The values at the positions from `start`: of the operand whose element `base` is the first of `words`, or outside
    /// the bounds those of `otherwise`.
    pub fn gather(&self, start: usize, (words, base): (&[u32], usize), otherwise: Option<&[u32]>, out: &mut [u32]) {
        if let Some(period) = self.period.filter(|&period| period < out.len()) {
            return self.repeat(start, period, &words[self.access.offset as usize - base..], out);
        }
        let (shape, strides) = (&self.shape, &self.access.strides);
        let last = shape.len() - 1;
        let mut index = [0; RANK];
        let mut rest = start;
        for axis in (0..=last).rev() {
            (index[axis], rest) = (rest % shape[axis], rest / shape[axis]);
        }
        let outer = index[..last].iter().zip(strides).map(|(&coordinate, &stride)| coordinate as isize * stride);
        let mut element = self.access.offset - base as isize + outer.sum::<isize>();
        let mut done = 0;
        while done < out.len() {
            let run = (shape[last] - index[last]).min(out.len() - done);
            let range = done..done + run;
            self.line(&index[..=last], element, words, otherwise.map(|o| &o[range.clone()]), &mut out[range]);
            done += run;
            index[last] = 0;
            for axis in (0..last).rev() {
                index[axis] += 1;
                element += strides[axis];
                if index[axis] < shape[axis] {
                    break;
                }
                element -= strides[axis] * shape[axis] as isize;
                index[axis] = 0;
            }
        }
    }

    /// Part of a line: from `coordinates`, as long as `out`.
    fn line(&self, coordinates: &[usize], element: isize, words: &[u32], otherwise: Option<&[u32]>, out: &mut [u32]) {
        let last = coordinates.len() - 1;
        let (column, stride) = (coordinates[last], self.access.strides[last]);
        let (mut begin, mut end) = (column, column + out.len());
        for bound in &self.access.bounds {
            if bound.axis == last {
                (begin, end) = (begin.max(bound.begin), end.min(bound.end));
            } else if !(bound.begin..bound.end).contains(&coordinates[bound.axis]) {
                end = begin;
            }
        }
        if begin >= end {
            (begin, end) = (column, column);
        }
        let (inside, after) = (begin - column, end - column);
        if let Some(otherwise) = otherwise {
            out[..inside].copy_from_slice(&otherwise[..inside]);
            out[after..].copy_from_slice(&otherwise[after..]);
        }
        let out = &mut out[inside..after];
        if out.is_empty() {
            return;
        }
        let first = (element + begin as isize * stride) as usize;
        match stride {
            0 => out.fill(words[first]),
            1 => out.copy_from_slice(&words[first..first + out.len()]),
            _ if stride > 0 => {
                let elements = words[first..].iter().step_by(stride as usize);
                out.iter_mut().zip(elements).for_each(|(out, &word)| *out = word);
            }
            _ => {
                for (i, word) in out.iter_mut().enumerate() {
                    *word = words[(first as isize + i as isize * stride) as usize];
                }
            }
        }
    }

    /// `period` words over and over, of which position `start` is one.
    fn repeat(&self, start: usize, period: usize, words: &[u32], out: &mut [u32]) {
        let phase = start % period;
        out[..period - phase].copy_from_slice(&words[phase..period]);
        out[period - phase..period].copy_from_slice(&words[..phase]);
        let mut done = period;
        while done < out.len() {
            let more = done.min(out.len() - done);
            out.copy_within(..more, done);
            done += more;
        }
    }
}

/// `position / stride % extent` for the positions from `start`.
pub(super) fn coordinates(start: usize, extent: usize, stride: usize, out: &mut [u32]) {
    let (mut coordinate, mut left) = (start / stride % extent, stride - start % stride);
    let mut done = 0;
    while done < out.len() {
        let run = left.min(out.len() - done);
        out[done..done + run].fill(coordinate as u32);
        done += run;
        coordinate = if coordinate + 1 == extent { 0 } else { coordinate + 1 };
        left = stride;
    }
}

/// Word `i % 4` of Philox at counter `(i / 4, step, stream, 0)` for the positions `i` from `start`.
pub(super) fn random(start: usize, key: [u32; 2], step: u32, stream: u32, out: &mut [u32]) {
    let mut done = 0;
    while done < out.len() {
        let position = start + done;
        let words = philox([(position / 4) as u32, step, stream, 0], key);
        let words = &words[position % 4..];
        let run = words.len().min(out.len() - done);
        out[done..done + run].copy_from_slice(&words[..run]);
        done += run;
    }
}
