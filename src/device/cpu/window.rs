//! Pooling: loops over the rows of the result in parallel, over taps, and innermost over channels.
//!
//! Gradients gather: each pixel looks at the positions whose windows cover it, in the order of taps, so every element is
//! written once and sums have one order. A window with no tap inside the image has the largest element -∞ at tap 0, the
//! mean 0, and gathers 0.

use rayon::prelude::*;

use super::memory::Slices;
use super::program::OperandInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Pooling, WindowKind};

/// Elements of one task.
const GRAIN: usize = 1 << 13;
/// The tap of a window that has none.
const NONE: u32 = u32::MAX;

/// Pooling.
#[derive(Debug)]
pub(super) struct Plan(Pooling);

impl Plan {
    /// Prepares `pooling`.
    ///
    /// # Errors
    /// When operands or results have other sizes.
    pub fn new(pooling: &Pooling, operands: &[OperandInfo], results: &[usize]) -> Result<Self> {
        let Pooling { kind, batch, image, positions, channels, .. } = *pooling;
        let image = batch * image[0] * image[1] * channels;
        let positions = batch * positions[0] * positions[1] * channels;
        let (reads, writes): (&[usize], &[usize]) = match kind {
            WindowKind::Max => (&[image], &[positions, positions]),
            WindowKind::MaxScatter => (&[positions, positions], &[image]),
            WindowKind::MaxGather => (&[image, positions], &[positions]),
            WindowKind::Mean { .. } => (&[image], &[positions]),
            WindowKind::MeanScatter { .. } => (&[positions], &[image]),
        };
        let fits = |found: &[usize], needed: &[usize]| {
            found.len() == needed.len() && found.iter().zip(needed).all(|(found, needed)| found >= needed)
        };
        let lens: Vec<usize> = operands.iter().map(|operand| operand.len).collect();
        if !fits(&lens, reads) || !fits(results, writes) || operands.iter().any(|operand| operand.in_place) {
            let what = format!("{pooling:?} on operands of {lens:?} and results of {results:?} elements");
            return Err(Error::new(ErrorKind::Graph, what));
        }
        Ok(Plan(*pooling))
    }

    /// Runs the step.
    pub fn run(&self, mut slices: Slices<'_>) {
        let Pooling { kind, window, batch, image, positions, channels } = self.0;
        let scatters = matches!(kind, WindowKind::MaxScatter | WindowKind::MeanScatter { .. });
        let [height, width] = if scatters { image } else { positions };
        let len = width * channels;
        if batch * height * len == 0 {
            return;
        }
        let (first, taps) = (slices.floats(0), slices.read(1));
        let [rows, columns] = window.kernel_size;
        // The taps (tap, place along the row, pixel on the other side) of each row that are inside.
        let walk = |row: usize, visit: &mut dyn FnMut(usize, usize, usize)| {
            let (n, i) = (row / height, row % height);
            let lies = |axis: usize, place: usize, tap: usize| match scatters {
                true => window.position(axis, place, tap, positions[axis]),
                false => window.source(axis, place, tap, image[axis]),
            };
            let [other_height, other_width] = if scatters { positions } else { image };
            for r in 0..rows {
                let Some(other_row) = lies(0, i, r) else { continue };
                for j in 0..width {
                    for s in 0..columns {
                        if let Some(other) = lies(1, j, s) {
                            visit(r * columns + s, j, (n * other_height + other_row) * other_width + other);
                        }
                    }
                }
            }
        };
        let divisor = |i: usize, j: usize, include_padding: bool| {
            let inside = |axis: usize, place: usize| {
                (0..window.kernel_size[axis]).filter(|&t| window.source(axis, place, t, image[axis]).is_some()).count()
            };
            let all = include_padding || window.padding == [[0; 2]; 2];
            (if all { window.taps() } else { (inside(0, i) * inside(1, j)).max(1) }) as f32
        };
        let grain = (GRAIN / len).max(1);
        let [results, more @ ..] = &mut slices.writes[..] else { return };
        let results: &mut [f32] = bytemuck::cast_slice_mut(&mut results[..batch * height * len]);
        let results = results.par_chunks_mut(len).with_min_len(grain).enumerate();
        let at = |pixel: usize| pixel * channels..(pixel + 1) * channels;
        match kind {
            WindowKind::Max => {
                let Some(chosen) = more.first_mut() else { return };
                results.zip(chosen.par_chunks_mut(len)).for_each(|((row, best), chosen)| {
                    best.fill(f32::NEG_INFINITY);
                    chosen.fill(NONE);
                    walk(row, &mut |tap, j, pixel| {
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
                });
            }
            WindowKind::MaxScatter => results.for_each(|(row, out)| {
                out.fill(0.0);
                walk(row, &mut |tap, j, position| {
                    let gradients = first[at(position)].iter().zip(&taps[at(position)]);
                    for (out, (&g, &chosen)) in out[at(j)].iter_mut().zip(gradients) {
                        *out += if chosen == tap as u32 { g } else { 0.0 };
                    }
                });
            }),
            WindowKind::MaxGather => results.for_each(|(row, out)| {
                let chosen = &taps[row * len..(row + 1) * len];
                out.fill(0.0);
                walk(row, &mut |tap, j, pixel| {
                    let values = chosen[at(j)].iter().zip(&first[at(pixel)]);
                    for (out, (&chosen, &x)) in out[at(j)].iter_mut().zip(values) {
                        *out = if chosen == tap as u32 { x } else { *out };
                    }
                });
            }),
            WindowKind::Mean { include_padding } => results.for_each(|(row, out)| {
                out.fill(0.0);
                walk(row, &mut |_, j, pixel| {
                    out[at(j)].iter_mut().zip(&first[at(pixel)]).for_each(|(out, &x)| *out += x);
                });
                for (j, out) in out.chunks_exact_mut(channels).enumerate() {
                    let divisor = divisor(row % height, j, include_padding);
                    out.iter_mut().for_each(|out| *out /= divisor);
                }
            }),
            WindowKind::MeanScatter { include_padding } => results.for_each(|(row, out)| {
                out.fill(0.0);
                walk(row, &mut |_, j, position| {
                    let (i, k) = (position / positions[1] % positions[0], position % positions[1]);
                    let divisor = divisor(i, k, include_padding);
                    out[at(j)].iter_mut().zip(&first[at(position)]).for_each(|(out, &g)| *out += g / divisor);
                });
            }),
        }
    }
}
