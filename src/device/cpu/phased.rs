//! The gradient of a strided convolution's input, without the taps that see nothing.
//!
//! With a stride a pixel is seen by some taps only, and pixels that are strides apart by the same ones. So pixels are dealt
//! to phases, by row and column modulo the stride, and each phase is a product of its own: of the positions that cover its
//! pixels, packed as other windows are, and of the filters at its taps, which are put together once a run. Its rows are then
//! copied to where its pixels are. Tiles of the result are whole lines of images, whose pixels are neighbours in every phase.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2};
use rayon::prelude::*;

use super::kernel::multiply;
use super::memory::Scratch;
use super::operand::{Gathered, Side};
use crate::graph::{Gemm, Operand};

/// Floats of a packed panel: half of a typical second-level cache.
const PANEL: usize = 1 << 17;

/// A product whose left operand is [`Operand::Covering`] with a stride.
#[derive(Debug)]
pub(super) struct Phased {
    phases: Vec<Phase>,
    /// `[H, W]`.
    image: [usize; 2],
    stride: [usize; 2],
    /// Terms of the sums of all phases.
    terms: usize,
    columns: usize,
}

#[derive(Debug)]
struct Phase {
    /// The first pixel.
    first: [usize; 2],
    /// Pixels of one image.
    grid: [usize; 2],
    positions: Gathered,
    filters: Side,
    /// Which of [`Phased::terms`] are of this phase.
    terms: Range<usize>,
}

impl Phased {
    /// `None` if there is no stride.
    pub fn new(gemm: &Gemm) -> Option<Self> {
        let Operand::Covering { window, image, positions, channels, pixel } = gemm.a else { return None };
        if window.stride == [1, 1] {
            return None;
        }
        let mut phases = Vec::new();
        let mut terms = 0;
        for down in 0..window.stride[0].min(image[0]) {
            for across in 0..window.stride[1].min(image[1]) {
                let first = [down, across];
                let places = [0, 1].map(|axis| (first[axis]..image[axis]).step_by(window.stride[axis]).collect());
                let taps = [0, 1].map(|axis| window.axis(axis).taps_reading(first[axis]).collect());
                let filters = Side::filters(&gemm.b, &window, &taps)?;
                let grid = places.each_ref().map(Vec::len);
                let length = taps[0].len() * taps[1].len() * channels;
                let positions = Gathered::covering(&window, positions, [&places, &taps], channels, pixel);
                phases.push(Phase { first, grid, positions, filters, terms: terms..terms + length });
                terms += length;
            }
        }
        Some(Phased { phases, image, stride: window.stride, terms, columns: gemm.n })
    }

    /// Rows of a tile of at least `rows`: whole lines.
    pub fn rows(&self, rows: usize) -> usize {
        rows.next_multiple_of(self.image[1].max(1)).max(1)
    }

    /// Elements of all filters of `groups`.
    pub fn filter_len(&self, groups: usize) -> usize {
        groups * self.terms * self.columns
    }

    /// The filters of all groups, phase by phase.
    pub fn pack_filters(&self, words: &[f32], out: &mut [f32]) {
        out.par_chunks_mut((self.terms * self.columns).max(1)).enumerate().for_each(|(group, out)| {
            let mut rest = out;
            let parts = self.phases.iter().map(|phase| {
                let (part, after) = std::mem::take(&mut rest).split_at_mut(phase.terms.len() * self.columns);
                rest = after;
                (phase, part)
            });
            let parts: Vec<_> = parts.collect();
            parts.into_par_iter().for_each(|(phase, part)| {
                phase.filters.pack(words, group, 0..phase.terms.len(), 0..self.columns, part);
            });
        });
    }

    /// The part `out` of the result that begins at (group, row, column) `origin`, from positions and packed filters.
    pub fn tile(&self, a: &[f32], filters: &[f32], origin: [usize; 3], mut out: ArrayViewMut2<'_, f32>) {
        let [group, row, column] = origin;
        let (height, width) = out.dim();
        let filters = &filters[group * self.terms * self.columns..][..self.terms * self.columns];
        for phase in &self.phases {
            let rows = self.rows_before(phase, row)..self.rows_before(phase, row + height);
            let length = phase.terms.len();
            if length == 0 {
                rows.for_each(|place| out.row_mut(self.pixel(phase, place) - row).fill(0.0));
                continue;
            }
            let filters = &filters[phase.terms.start * self.columns..][..length * self.columns];
            let filters = ArrayView2::from_shape((length, self.columns), filters).expect("as long as its shape says");
            let filters = filters.slice_move(ndarray::s![.., column..column + width]);
            let most = (PANEL / length).max(32).min(rows.len());
            let mut scratch = Scratch::take(most * (length + width));
            let (panel, product) = scratch.floats().split_at_mut(most * length);
            for start in rows.clone().step_by(most.max(1)) {
                let count = most.min(rows.end - start);
                let (panel, product) = (&mut panel[..count * length], &mut product[..count * width]);
                phase.positions.pack(a, group, start, 0..length, panel);
                let panel = ArrayView2::from_shape((count, length), &*panel).expect("as long as its shape says");
                let mut product =
                    ArrayViewMut2::from_shape((count, width), product).expect("as long as its shape says");
                multiply(panel, filters, false, product.view_mut());
                for (place, values) in (start..).zip(product.rows()) {
                    out.row_mut(self.pixel(phase, place) - row).assign(&values);
                }
            }
        }
    }

    /// How many rows of a phase lie before a pixel that begins a line.
    fn rows_before(&self, phase: &Phase, pixel: usize) -> usize {
        let line = pixel / self.image[1];
        let (image, h) = (line / self.image[0], line % self.image[0]);
        let lines = image * phase.grid[0] + h.saturating_sub(phase.first[0]).div_ceil(self.stride[0]);
        lines * phase.grid[1]
    }

    /// The flat pixel of a row of a phase.
    fn pixel(&self, phase: &Phase, row: usize) -> usize {
        let ([height, width], [down, across]) = (phase.grid, phase.first);
        let (image, i, j) = (row / (height * width), row / width % height, row % width);
        let (h, w) = (down + i * self.stride[0], across + j * self.stride[1]);
        (image * self.image[0] + h) * self.image[1] + w
    }
}
