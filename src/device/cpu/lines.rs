//! Convolutions of stride 1 and others whose windows are lines: products that read windows where they are.
//!
//! A window's row is one stretch of a line of the image, its pixels side by side with all their channels, and the next
//! position's is that stretch some pixels on. So no window is gathered: lines are copied once, with their padding, and are
//! then operands as they lie, a row of the window a segment of the sums. For the product of windows and filters that is the
//! left operand, for the gradient of filters the right one.
//!
//! The gradient of a stride-1 convolution's input is such a product too, of the positions around a pixel with the taps
//! from last to first. What has other strides in that direction, groups or a dilation across is gathered
//! ([`super::operand`]) or goes to [`super::phased`]. Before: [`super::gemm`] asks. After: [`super::kernel`].

use std::ops::Range;

use ndarray::{ArrayViewMut2, s};
use rayon::prelude::*;

use super::kernel::{GAP, Left, Right, pack};
use super::memory::Scratch;
use super::operand::Side;
use crate::graph::{Matrix, Operand};
use crate::vector::Width;

/// Terms of the sums of a filter's gradient that are added before the next lines are copied.
const TERMS: usize = 256;
/// Floats that the kernel may read past the end of a line.
const BEYOND: usize = 64;

/// Windows over lines. The stretch of place (n, i, j) and row r of the window begins in line `i·stride + r·dilation` after
/// the first, at pixel `j·stride`.
#[derive(Debug)]
pub(super) struct Lines {
    /// `[H, W]` of what is read.
    source: [usize; 2],
    /// Places of one image, down and across.
    places: [usize; 2],
    stride: [usize; 2],
    /// The line and the pixel of the first place; negative in the padding.
    start: [isize; 2],
    kernel: [usize; 2],
    /// From row to row of the window.
    dilation: usize,
    channels: usize,
    /// Whether taps go from last to first.
    reversed: bool,
}

impl Lines {
    /// `None` for another operand, or one whose windows are not lines.
    pub fn new(operand: &Operand) -> Option<Self> {
        let signed = |x: usize| x as isize;
        match *operand {
            Operand::Patches { window, image, positions, channels, pixel }
                if channels == pixel && window.dilation[1] == 1 && window.taps() > 1 =>
            {
                Some(Lines {
                    source: image,
                    places: positions,
                    stride: window.stride,
                    start: [0, 1].map(|axis| -signed(window.padding[axis][0])),
                    kernel: window.kernel_size,
                    dilation: window.dilation[0],
                    channels,
                    reversed: false,
                })
            }
            Operand::Covering { window, image, positions, channels, pixel }
                if channels == pixel && window.stride == [1, 1] && window.dilation[1] == 1 && window.taps() > 1 =>
            {
                let reach = |axis: usize| (window.kernel_size[axis] - 1) * window.dilation[axis];
                Some(Lines {
                    source: positions,
                    places: image,
                    stride: [1, 1],
                    start: [0, 1].map(|axis| signed(window.padding[axis][0]) - signed(reach(axis))),
                    kernel: window.kernel_size,
                    dilation: window.dilation[0],
                    channels,
                    reversed: true,
                })
            }
            _ => None,
        }
    }

    /// Places of a line.
    pub fn across(&self) -> usize {
        self.places[1].max(1)
    }

    /// Elements of a copied line.
    fn line(&self) -> usize {
        ((self.across() - 1) * self.stride[1] + self.kernel[1]) * self.channels
    }

    /// Lines that so many lines of places read.
    fn read_by(&self, count: usize) -> usize {
        (count - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation + 1
    }

    /// Elements of a row of the window.
    fn stretch(&self) -> usize {
        self.kernel[1] * self.channels
    }

    /// Copies the lines that lines `places` of image `n` read, padding included.
    fn copy(&self, words: &[f32], n: usize, places: Range<usize>, out: &mut [f32]) {
        let ([height, width], channels) = (self.source, self.channels);
        let inside = |at: isize, extent: usize| usize::try_from(at).ok().filter(|&at| at < extent);
        let first = places.start * self.stride[0];
        let before = usize::try_from(-self.start[1]).unwrap_or(0) * channels;
        let skipped = usize::try_from(self.start[1]).unwrap_or(0).min(width) * channels;
        for (i, out) in out.chunks_exact_mut(self.line()).take(self.read_by(places.len())).enumerate() {
            let Some(h) = inside((first + i) as isize + self.start[0], height) else {
                out.fill(0.0);
                continue;
            };
            let line = &words[(n * height + h) * width * channels..][skipped..width * channels];
            let before = before.min(out.len());
            let (padding, rest) = out.split_at_mut(before);
            let copied = line.len().min(rest.len());
            padding.fill(0.0);
            rest[..copied].copy_from_slice(&line[..copied]);
            rest[copied..].fill(0.0);
        }
    }

    /// Lines of places in `rows` (whole lines of all images), at most `most` at a time: (image, lines).
    fn pieces(&self, rows: Range<usize>, most: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
        let ([height, width], end) = ([self.places[0].max(1), self.across()], rows.end);
        let mut line = rows.start / width;
        std::iter::from_fn(move || {
            let (n, i) = (line / height, line % height);
            let count = most.min(height - i).min((end / width).saturating_sub(line));
            line += count;
            (count > 0).then_some((n, i..i + count))
        })
    }

    /// Elements of packed filters of so many columns.
    pub fn filter_len(&self, columns: usize) -> usize {
        let vector = Width::of_this_machine().count();
        self.kernel[0] * self.stretch() * columns.next_multiple_of(vector)
    }

    /// Packs filters of so many columns, taps in the order in which windows are read.
    pub fn pack_filters(&self, side: &Side, words: &[f32], columns: usize, out: &mut [f32]) {
        let (width, channels, taps) = (Width::of_this_machine(), self.channels, self.kernel[0] * self.kernel[1]);
        let mut rest = out;
        let strips = width.strips(columns).map(|(first, columns)| {
            let strip = columns.next_multiple_of(width.count());
            let (packed, after) = std::mem::take(&mut rest).split_at_mut(taps * channels * strip);
            rest = after;
            (first, columns, strip, packed)
        });
        let strips: Vec<_> = strips.collect();
        strips.into_par_iter().for_each(|(first, columns, strip, packed)| {
            let mut scratch = Scratch::take(channels * columns);
            for (tap, packed) in packed.chunks_exact_mut((channels * strip).max(1)).enumerate() {
                let tap = if self.reversed { taps - 1 - tap } else { tap };
                let rows = tap * channels..(tap + 1) * channels;
                pack(side.panel(words, 0, rows, first..first + columns, scratch.floats()), strip, packed);
            }
        });
    }

    /// Rows `row..` of the product of windows and packed filters of `columns` columns: whole lines of places.
    pub fn windows_by_filters(&self, words: &[f32], filters: &[f32], row: usize, mut out: ArrayViewMut2<'_, f32>) {
        let (width, across, line) = (Width::of_this_machine(), self.across(), self.line());
        let (rows, columns) = out.dim();
        let [down, terms] = [self.kernel[0], self.stretch()];
        let most = rows / across;
        let mut scratch = Scratch::take(self.read_by(most) * line + width.beside(across));
        let (lines, beside) = scratch.floats().split_at_mut(self.read_by(most) * line);
        let mut done = 0;
        for (n, places) in self.pieces(row..row + rows, most) {
            self.copy(words, n, places.clone(), lines);
            let mut rest = filters;
            for (first, columns) in width.strips(columns) {
                let strip = columns.next_multiple_of(width.count());
                let packed;
                (packed, rest) = rest.split_at(down * terms * strip);
                for i in 0..places.len() {
                    let begin = i * self.stride[0] * line;
                    let left = Left::new(&lines[begin..], self.stride[1] * self.channels, [0, self.dilation * line], 1);
                    let right = Right { words: packed, segments: [0, terms * strip], step: strip };
                    let at = done + i * across;
                    let out = out.slice_mut(s![at..at + across, first..first + columns]);
                    width.strip([1, down, terms], left, right, false, out, beside);
                }
            }
            done += places.len() * across;
        }
    }

    /// The product of `a` (from its row `row` on) and the windows of the places `range`, whole lines: a filter's gradient.
    pub fn by_windows(
        &self,
        (a, matrix): (&[f32], Matrix),
        row: usize,
        words: &[f32],
        range: Range<usize>,
        mut out: ArrayViewMut2<'_, f32>,
    ) {
        let (width, across, height) = (Width::of_this_machine(), self.across(), self.places[0].max(1));
        let line = self.line();
        let most = (TERMS / across).clamp(1, height);
        // Of small images several at once.
        let images = (TERMS / (across * height)).max(1);
        let pitch = self.read_by(most) * line;
        let len = images * pitch + BEYOND;
        let copied = copied_len([out.nrows(), images * most * across], matrix);
        let mut scratch = Scratch::take(len + copied + width.beside(out.nrows()));
        let (lines, rest) = scratch.floats().split_at_mut(len);
        let (copy, beside) = rest.split_at_mut(copied);
        // What is read past the last line is multiplied and thrown away.
        lines.fill(0.0);
        let mut place = range.start;
        let mut pieces = self.pieces(range.clone(), most).peekable();
        while let Some((n, places)) = pieces.next() {
            let mut count = 1;
            while count < images && places.len() == height && pieces.next_if(|(_, next)| *next == places).is_some() {
                count += 1;
            }
            for (image, lines) in lines.chunks_exact_mut(pitch).take(count).enumerate() {
                self.copy(words, n + image, places.clone(), lines);
            }
            let terms = places.len() * across;
            let a = &a[row * matrix.row + place * matrix.column..];
            let (a, matrix) = together(a, matrix, [out.nrows(), count * terms], copy);
            let segments = [terms * matrix.column, across * matrix.column];
            let left = Left::new(a, matrix.row, segments, matrix.column);
            for r in 0..self.kernel[0] {
                for (first, columns) in width.strips(self.stretch()) {
                    let right = Right {
                        words: &lines[r * self.dilation * line + first..],
                        segments: [pitch, self.stride[0] * line],
                        step: self.stride[1] * self.channels,
                    };
                    let column = r * self.stretch() + first;
                    let out = out.slice_mut(s![.., column..column + columns]);
                    width.strip([count, places.len(), across], left, right, place > range.start, out, beside);
                }
            }
            place += count * terms;
        }
    }
}

/// From this many elements between its columns on a matrix is copied: lines of a cache so far apart displace each other.
const APART: usize = 128;

/// Words that [`together`] needs for a copy.
fn copied_len([rows, columns]: [usize; 2], matrix: Matrix) -> usize {
    if matrix.row == 1 && matrix.column >= APART { (rows + GAP) * columns } else { 0 }
}

/// Part of a matrix from its first element on: where it is, or in `copy`.
fn together<'a>(a: &'a [f32], matrix: Matrix, [rows, columns]: [usize; 2], copy: &'a mut [f32]) -> (&'a [f32], Matrix) {
    if copy.is_empty() {
        return (a, matrix);
    }
    for (column, to) in copy.chunks_exact_mut(rows + GAP).take(columns).enumerate() {
        to[..rows].copy_from_slice(&a[column * matrix.column..][..rows]);
    }
    (copy, Matrix { column: rows + GAP, ..matrix })
}
