//! Pooling: loops over the rows of the result in parallel, over taps, and innermost over channels.
//!
//! Gradients gather: each pixel looks at the positions whose windows cover it, in the order of taps, so every element is
//! written once and sums have one order. A window with no tap inside the image has the largest element -∞ at tap 0, the
//! mean 0, and gathers 0.

use rayon::prelude::*;

use super::elementwise;
use super::memory::{Scratch, Slices, Source};
use super::program::OperandInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Pooling, WindowKind};
use crate::schedule::Epilogue;

/// Elements of one task.
const GRAIN: usize = 1 << 13;
/// The tap of a window that has none.
const NONE: u32 = u32::MAX;

/// Pooling, and elementwise work on its result.
#[derive(Debug)]
pub(super) struct Plan {
    pooling: Pooling,
    /// Rows of the result: images times height; elements of each.
    rows: usize,
    len: usize,
    epilogue: Option<elementwise::Plan>,
}

impl Plan {
    /// Prepares `pooling`; operands that it does not read itself are the epilogue's.
    ///
    /// # Errors
    /// When operands or results have other sizes.
    pub fn new(
        pooling: &Pooling,
        epilogue: Option<&Epilogue>,
        operands: &[OperandInfo],
        results: &[usize],
    ) -> Result<Self> {
        let Pooling { kind, batch, image, positions, channels, .. } = *pooling;
        let of_images = batch * image[0] * image[1] * channels;
        let of_positions = batch * positions[0] * positions[1] * channels;
        let (reads, writes): (&[usize], &[usize]) = match kind {
            WindowKind::Max => (&[of_images], &[of_positions, of_positions]),
            WindowKind::MaxScatter => (&[of_positions, of_positions], &[of_images]),
            WindowKind::MaxGather => (&[of_images, of_positions], &[of_positions]),
            WindowKind::Mean { .. } => (&[of_images], &[of_positions]),
            WindowKind::MeanScatter { .. } => (&[of_positions], &[of_images]),
        };
        let fits = |found: &[usize], needed: &[usize]| {
            found.len() == needed.len() && found.iter().zip(needed).all(|(found, needed)| found >= needed)
        };
        let (own, others) = operands.split_at(operands.len().min(kind.operands()));
        let lens: Vec<usize> = own.iter().map(|operand| operand.len).collect();
        let stores = if epilogue.is_some() { writes.len() == 1 } else { fits(results, writes) && others.is_empty() };
        if !fits(&lens, reads) || !stores || own.iter().any(|operand| operand.in_place) {
            let what = format!("{pooling:?} on operands of {lens:?} and results of {results:?} elements");
            return Err(Error::new(ErrorKind::Graph, what));
        }
        let [height, width] = if scatters(kind) { image } else { positions };
        let epilogue = epilogue.map(|(shape, expression)| {
            let pooled = OperandInfo { len: writes[0], in_place: false };
            let operands: Vec<OperandInfo> = std::iter::once(pooled).chain(others.iter().copied()).collect();
            elementwise::Plan::new(expression, shape, &operands, results)
        });
        Ok(Plan { pooling: *pooling, rows: batch * height, len: width * channels, epilogue: epilogue.transpose()? })
    }

    /// Runs the step.
    pub fn run(&self, slices: Slices<'_>) {
        let (rows, len) = (self.rows, self.len);
        if rows * len == 0 {
            return;
        }
        let (first, taps) = (slices.floats(0), slices.read(1));
        let Slices { reads, mut writes } = slices;
        writes.iter_mut().for_each(|write| *write = &mut std::mem::take(write)[..rows * len]);
        let grain = (GRAIN / len).max(1);
        if let Some(epilogue) = &self.epilogue {
            let mut sources = reads[self.pooling.kind.operands() - 1..].to_vec();
            let pieces = elementwise::split(writes, (0..rows).step_by(grain).map(|row| grain.min(rows - row) * len));
            sources[0] = Source::Shared { words: &[], base: 0 };
            return pieces.into_par_iter().for_each(|(start, mut writes)| {
                let mut pooled = Scratch::take(writes[0].len());
                for (row, out) in (start / len..).zip(pooled.floats().chunks_exact_mut(len)) {
                    self.row(row, first, taps, out);
                }
                let mut sources = sources.clone();
                sources[0] = Source::Shared { words: &pooled, base: start };
                epilogue.chunk(start, &sources, &mut writes);
            });
        }
        match &mut writes[..] {
            [results] => {
                let rows = bytemuck::cast_slice_mut(results).par_chunks_mut(len).with_min_len(grain).enumerate();
                rows.for_each(|(row, out)| self.row(row, first, taps, out));
            }
            [results, chosen] => {
                let results = bytemuck::cast_slice_mut(results).par_chunks_mut(len).with_min_len(grain).enumerate();
                results
                    .zip(chosen.par_chunks_mut(len))
                    .for_each(|((row, best), chosen)| self.max(row, first, best, chosen));
            }
            _ => {}
        }
    }

    /// Calls `visit` with the taps of a row of the result that are inside: tap, place along the row, pixel or position on the
    /// other side.
    fn walk(&self, row: usize, visit: &mut dyn FnMut(usize, usize, usize)) {
        let Pooling { kind, window, image, positions, channels, .. } = self.pooling;
        let scatters = scatters(kind);
        let (own, [other_height, other_width]) = if scatters { (image, positions) } else { (positions, image) };
        let (n, i) = (row / own[0], row % own[0]);
        let lies = |axis: usize, place: usize, tap: usize| match scatters {
            true => window.position(axis, place, tap, positions[axis]),
            false => window.source(axis, place, tap, image[axis]),
        };
        let [rows, columns] = window.kernel_size;
        for r in 0..rows {
            let Some(other_row) = lies(0, i, r) else { continue };
            for j in 0..self.len / channels {
                for s in 0..columns {
                    if let Some(other) = lies(1, j, s) {
                        visit(r * columns + s, j, (n * other_height + other_row) * other_width + other);
                    }
                }
            }
        }
    }

    /// By what the sum of the window at a position is divided.
    fn divisor(&self, i: usize, j: usize, include_padding: bool) -> f32 {
        let Pooling { window, image, .. } = self.pooling;
        let inside = |axis: usize, place: usize| {
            (0..window.kernel_size[axis]).filter(|&t| window.source(axis, place, t, image[axis]).is_some()).count()
        };
        let all = include_padding || window.padding == [[0; 2]; 2];
        (if all { window.taps() } else { (inside(0, i) * inside(1, j)).max(1) }) as f32
    }

    /// A row of the largest elements, and their taps.
    fn max(&self, row: usize, first: &[f32], best: &mut [f32], chosen: &mut [u32]) {
        let channels = self.pooling.channels;
        let at = |pixel: usize| pixel * channels..(pixel + 1) * channels;
        best.fill(f32::NEG_INFINITY);
        chosen.fill(NONE);
        self.walk(row, &mut |tap, j, pixel| {
            let (best, chosen, x) = (&mut best[at(j)], &mut chosen[at(j)], &first[at(pixel)]);
            if chosen[0] == NONE {
                best.copy_from_slice(x);
                return chosen.fill(tap as u32);
            }
            for ((best, chosen), &x) in best.iter_mut().zip(chosen).zip(x) {
                // Larger or NaN, unless there is a NaN already.
                #[allow(clippy::neg_cmp_op_on_partial_ord, reason = "true for NaN as well")]
                let better = !(x <= *best) & !best.is_nan();
                // Masks, since conditional moves of two types did not vectorise.
                let mask = u32::from(better).wrapping_neg();
                *best = f32::from_bits((x.to_bits() & mask) | (best.to_bits() & !mask));
                *chosen = (tap as u32 & mask) | (*chosen & !mask);
            }
        });
        chosen.iter_mut().filter(|chosen| **chosen == NONE).for_each(|chosen| *chosen = 0);
    }

    /// A row of the result, where there is one.
    fn row(&self, row: usize, first: &[f32], taps: &[u32], out: &mut [f32]) {
        let Pooling { kind, positions, channels, .. } = self.pooling;
        let at = |pixel: usize| pixel * channels..(pixel + 1) * channels;
        out.fill(0.0);
        match kind {
            WindowKind::Max => unreachable!("it has two results, see `max`"),
            WindowKind::MaxScatter => self.walk(row, &mut |tap, j, position| {
                let gradients = first[at(position)].iter().zip(&taps[at(position)]);
                for (out, (&g, &chosen)) in out[at(j)].iter_mut().zip(gradients) {
                    *out += if chosen == tap as u32 { g } else { 0.0 };
                }
            }),
            WindowKind::MaxGather => {
                let chosen = &taps[row * self.len..(row + 1) * self.len];
                self.walk(row, &mut |tap, j, pixel| {
                    let values = chosen[at(j)].iter().zip(&first[at(pixel)]);
                    for (out, (&chosen, &x)) in out[at(j)].iter_mut().zip(values) {
                        *out = if chosen == tap as u32 { x } else { *out };
                    }
                });
            }
            WindowKind::Mean { include_padding } => {
                self.walk(row, &mut |_, j, pixel| {
                    out[at(j)].iter_mut().zip(&first[at(pixel)]).for_each(|(out, &x)| *out += x);
                });
                for (j, out) in out.chunks_exact_mut(channels).enumerate() {
                    let divisor = self.divisor(row % positions[0], j, include_padding);
                    out.iter_mut().for_each(|out| *out /= divisor);
                }
            }
            WindowKind::MeanScatter { include_padding } => self.walk(row, &mut |_, j, position| {
                let (i, k) = (position / positions[1] % positions[0], position % positions[1]);
                let divisor = self.divisor(i, k, include_padding);
                out[at(j)].iter_mut().zip(&first[at(position)]).for_each(|(out, &g)| *out += g / divisor);
            }),
        }
    }
}

/// Whether the result is an image, not the positions.
fn scatters(kind: WindowKind) -> bool {
    matches!(kind, WindowKind::MaxScatter | WindowKind::MeanScatter { .. })
}
