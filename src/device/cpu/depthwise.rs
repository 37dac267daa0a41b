//! Convolutions of one or a few channels a group, where a matrix product would have as few columns: direct loops.
//!
//! Forward and the gradient of the input are one loop: each row of the result, over all groups, sums the taps inside
//! times their weights. The gradient of the weights sums rows of the gradient times the taps they saw, in pieces of fixed
//! size that are added in order. Of one channel and one output a group both are in [`super::channelwise`].

use std::ops::Range;

use rayon::prelude::*;

use super::channelwise::{Places, Taps};
use super::gemm::{Plan, add_in_order};
use super::memory::Scratch;
use super::operand::{Gathered, Side};
use crate::graph::{Gemm, Matrix};
use crate::vector::widest;

/// Multiplications of one task.
const GRAIN: usize = 1 << 17;
/// Multiplications of a tap of one group from which on a matrix product is faster.
const WIDE: usize = 17;

/// Such a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depthwise {
    kind: Kind,
    /// Channels of one group on the gathered side.
    channels: usize,
    /// Channels of one group on the other side.
    outputs: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A gathered, B weights; columns are outputs.
    Rows,
    /// A the gradient with a row an output, B gathered.
    Weights,
}

impl Depthwise {
    /// Whether `gemm` is such a convolution.
    pub fn new(gemm: &Gemm, a: &Side, b: &Side) -> Option<Self> {
        let Matrix { row, column, group } = gemm.output;
        let (kind, channels, outputs) = match (a, b) {
            (Side::Gathered(gathered), Side::Matrix(_) | Side::Filters { .. })
                if (gemm.n == 1 || column == 1)
                    && group == gemm.n
                    && (gemm.m == 1 || row == gemm.groups * gemm.n)
                    && gemm.k == gathered.taps() * gathered.channels =>
            {
                (Kind::Rows, gathered.channels, gemm.n)
            }
            (Side::Matrix(gradient), Side::Gathered(gathered))
                if gradient.group == gemm.m
                    && (gemm.m == 1 || gradient.row == 1)
                    && gemm.n == gathered.taps() * gathered.channels =>
            {
                (Kind::Weights, gathered.channels, gemm.m)
            }
            _ => return None,
        };
        (gemm.groups > 1 && channels * outputs < WIDE).then_some(Depthwise { kind, channels, outputs })
    }

    /// Whether rows of the result can be computed by themselves.
    pub fn by_rows(&self) -> bool {
        self.kind == Kind::Rows
    }

    /// Elements of the weights as [`Depthwise::rows`] reads them; none where the weights are the result.
    pub fn filter_len(&self, plan: &Plan) -> usize {
        if self.by_rows() { plan.groups * plan.k * self.outputs } else { 0 }
    }

    /// The weights tap by tap, with groups as the image has them.
    pub fn pack_filters(&self, plan: &Plan, b: &[f32], out: &mut [f32]) {
        let size = self.channels * self.outputs;
        let mut scratch = Scratch::take(plan.k * self.outputs);
        for group in 0..plan.groups {
            plan.b.pack(b, group, 0..plan.k, 0..self.outputs, scratch.floats());
            for (tap, filter) in scratch.floats().chunks_exact(size).enumerate() {
                out[(tap * plan.groups + group) * size..][..size].copy_from_slice(filter);
            }
        }
    }

    /// The result as it is stored; by rows from packed weights.
    pub fn whole(&self, plan: &Plan, a: &[f32], b: &[f32], output: Matrix, out: &mut [f32]) {
        match self.kind {
            Kind::Rows => {
                let width = plan.groups * self.outputs;
                let height = (GRAIN / (width * plan.k.max(1))).max(1);
                out.par_chunks_mut(height * width).enumerate().for_each(|(task, out)| {
                    let first = task * height;
                    self.rows(plan, a, b, first..first + out.len() / width, out);
                });
            }
            Kind::Weights => self.weights(plan, a, b, output, out),
        }
    }

    /// Some rows of the result, over all groups, from packed weights.
    pub fn rows(&self, plan: &Plan, a: &[f32], weights: &[f32], rows: Range<usize>, out: &mut [f32]) {
        // Loops of known lengths are worth a copy of all around them each.
        match (self.channels, self.outputs) {
            (1, 1) => self.places(plan, a, weights, rows, out),
            (1, 2) => self.rows_by(plan, a, weights, rows, out, |x, weights, out| multiply(x, weights, out, 1, 2)),
            (2, 1) => self.rows_by(plan, a, weights, rows, out, |x, weights, out| multiply(x, weights, out, 2, 1)),
            (2, 2) => self.rows_by(plan, a, weights, rows, out, |x, weights, out| multiply(x, weights, out, 2, 2)),
            (4, 4) => self.rows_by(plan, a, weights, rows, out, |x, weights, out| multiply(x, weights, out, 4, 4)),
            (c, o) => self.rows_by(plan, a, weights, rows, out, |x, weights, out| multiply(x, weights, out, c, o)),
        }
    }

    fn rows_by(
        &self,
        plan: &Plan,
        a: &[f32],
        weights: &[f32],
        rows: Range<usize>,
        out: &mut [f32],
        multiply: impl Fn(&[f32], &[f32], &mut [f32]),
    ) {
        out.fill(0.0);
        let Side::Gathered(gathered) = &plan.a else { return };
        let (inputs, width, size) =
            (plan.groups * self.channels, plan.groups * self.outputs, self.channels * self.outputs);
        let first = rows.start;
        gathered.taps_of(rows, |row, tap, element| {
            let out = &mut out[(row - first) * width..][..width];
            let weights = &weights[tap * plan.groups * size..][..plan.groups * size];
            multiply(&a[element..][..inputs], weights, out);
        });
    }

    /// As `rows_by`, for one channel and one output a group.
    fn places(&self, plan: &Plan, a: &[f32], weights: &[f32], rows: Range<usize>, out: &mut [f32]) {
        let Side::Gathered(gathered) = &plan.a else { return };
        widest(Places { gathered, words: a, weights, channels: plan.groups, rows, out });
    }

    fn weights(&self, plan: &Plan, a: &[f32], b: &[f32], output: Matrix, out: &mut [f32]) {
        let (Side::Matrix(gradient), Side::Gathered(gathered)) = (&plan.a, &plan.b) else { return };
        let operands = Operands { gradient: a, step: gradient.column, gathered, words: b };
        match (self.channels, self.outputs) {
            (1, 1) => self.in_pieces(plan, &operands, output, out, |rows, sums| {
                let Operands { gradient, step, gathered, words } = operands;
                widest(Taps { gathered, words, gradient, step, channels: plan.groups, rows, sums });
            }),
            (1, 2) => self.weights_by(plan, &operands, output, out, |x, g, sums| products(x, g, sums, 1, 2)),
            (2, 1) => self.weights_by(plan, &operands, output, out, |x, g, sums| products(x, g, sums, 2, 1)),
            (2, 2) => self.weights_by(plan, &operands, output, out, |x, g, sums| products(x, g, sums, 2, 2)),
            (4, 4) => self.weights_by(plan, &operands, output, out, |x, g, sums| products(x, g, sums, 4, 4)),
            (c, o) => self.weights_by(plan, &operands, output, out, |x, g, sums| products(x, g, sums, c, o)),
        }
    }

    fn weights_by(
        &self,
        plan: &Plan,
        operands: &Operands<'_>,
        output: Matrix,
        out: &mut [f32],
        products: impl Fn(&[f32], &[f32], &mut [f32]) + Sync,
    ) {
        let (inputs, width) = (plan.groups * self.channels, plan.groups * self.outputs);
        let of_tap = plan.groups * self.channels * self.outputs;
        self.in_pieces(plan, operands, output, out, |rows, sums| {
            sums.fill(0.0);
            operands.gathered.taps_of(rows, |row, tap, element| {
                let gradient = &operands.gradient[row * operands.step..][..width];
                products(&operands.words[element..][..inputs], gradient, &mut sums[tap * of_tap..][..of_tap]);
            });
        });
    }

    /// Sums over the positions in pieces, each by `piece`, and adds those in order.
    fn in_pieces(
        &self,
        plan: &Plan,
        operands: &Operands<'_>,
        output: Matrix,
        out: &mut [f32],
        piece: impl Fn(Range<usize>, &mut [f32]) + Sync,
    ) {
        let (size, positions) = (self.channels * self.outputs, plan.k);
        let (all, of_tap) = (plan.groups * size * operands.gathered.taps(), plan.groups * size);
        let height = (positions / 64).max(GRAIN / all.max(1)).max(1);
        let pieces = positions.div_ceil(height).max(1);
        let mut scratch = Scratch::take((pieces + 1) * all);
        let (sums, partial) = scratch.floats().split_at_mut(all);
        partial.par_chunks_mut(all).enumerate().for_each(|(number, sums)| {
            piece(number * height..((number + 1) * height).min(positions), sums);
        });
        add_in_order(partial, sums);
        // From [tap, group, channel, output].
        for (i, &sum) in sums.iter().enumerate() {
            let (o, c) = (i % self.outputs, i / self.outputs % self.channels);
            let (group, tap) = (i / size % plan.groups, i / of_tap);
            out[group * output.group + o * output.row + (tap * self.channels + c) * output.column] = sum;
        }
    }
}

/// The operands of a gradient of weights.
#[derive(Clone, Copy)]
struct Operands<'a> {
    gradient: &'a [f32],
    /// From position to position of the gradient.
    step: usize,
    gathered: &'a Gathered,
    words: &'a [f32],
}

/// `out[g, o] += Σ_c x[g, c] · weights[g, c, o]`.
#[inline(always)]
fn multiply(x: &[f32], weights: &[f32], out: &mut [f32], channels: usize, outputs: usize) {
    let groups = x.chunks_exact(channels).zip(weights.chunks_exact(channels * outputs));
    for ((x, weights), out) in groups.zip(out.chunks_exact_mut(outputs)) {
        for (&x, weights) in x.iter().zip(weights.chunks_exact(outputs)) {
            out.iter_mut().zip(weights).for_each(|(out, &weight)| *out += x * weight);
        }
    }
}

/// `sums[g, c, o] += x[g, c] · gradient[g, o]`.
#[inline(always)]
fn products(x: &[f32], gradient: &[f32], sums: &mut [f32], channels: usize, outputs: usize) {
    let groups = x.chunks_exact(channels).zip(gradient.chunks_exact(outputs));
    for ((x, gradient), sums) in groups.zip(sums.chunks_exact_mut(channels * outputs)) {
        for (&x, sums) in x.iter().zip(sums.chunks_exact_mut(outputs)) {
            sums.iter_mut().zip(gradient).for_each(|(sum, &g)| *sum += x * g);
        }
    }
}
