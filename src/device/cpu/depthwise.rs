//! Convolutions of one channel a group, where a matrix product would have a single column: direct loops over channels.
//!
//! Forward and the gradient of the input are one loop: each row of the result, over all channels, sums the taps inside
//! times their weights. The gradient of the weights sums rows of the gradient times the taps they saw, in pieces of fixed
//! size that are added in order.

use std::ops::Range;

use rayon::prelude::*;

use super::gemm::{Plan, add_in_order};
use super::memory::Scratch;
use super::operand::Side;
use crate::graph::{Gemm, Matrix};

/// Multiplications of one task.
const GRAIN: usize = 1 << 17;

/// Which of the two loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depthwise {
    /// A gathered, B weights, one column.
    Rows,
    /// A the gradient with one row, B gathered.
    Weights,
}

impl Depthwise {
    /// Whether `gemm` is such a convolution.
    pub fn new(gemm: &Gemm, a: &Side, b: &Side) -> Option<Self> {
        let Matrix { row, group, .. } = gemm.output;
        if gemm.groups < 2 {
            return None;
        }
        match (a, b) {
            (Side::Gathered(gathered), Side::Matrix(_) | Side::Filters { .. })
                if gathered.channels == 1 && gemm.n == 1 && group == 1 && (gemm.m == 1 || row == gemm.groups) =>
            {
                Some(Depthwise::Rows)
            }
            (Side::Matrix(Matrix { group: 1, .. }), Side::Gathered(gathered))
                if gathered.channels == 1 && gemm.m == 1 && gemm.n == gathered.taps() =>
            {
                Some(Depthwise::Weights)
            }
            _ => None,
        }
    }

    /// Whether rows of the result can be computed by themselves.
    pub fn by_rows(self) -> bool {
        self == Depthwise::Rows
    }

    /// The result as it is stored.
    pub fn whole(self, plan: &Plan, a: &[f32], b: &[f32], output: Matrix, out: &mut [f32]) {
        match self {
            Depthwise::Rows => {
                let width = plan.groups;
                let height = (GRAIN / (width * plan.k.max(1))).max(1);
                out.par_chunks_mut(height * width).enumerate().for_each(|(task, out)| {
                    let first = task * height;
                    self.rows(plan, a, b, first..first + out.len() / width, out);
                });
            }
            Depthwise::Weights => weights(plan, a, b, output, out),
        }
    }

    /// Some rows of the result, over all channels.
    pub fn rows(self, plan: &Plan, a: &[f32], b: &[f32], rows: Range<usize>, out: &mut [f32]) {
        let (width, taps) = (plan.groups, plan.k);
        out.fill(0.0);
        let Side::Gathered(gathered) = &plan.a else { return };
        // The weights with channels last, as the image has them.
        let mut scratch = Scratch::take((width + 1) * taps);
        let (filter, weights) = scratch.floats().split_at_mut(taps);
        for group in 0..width {
            plan.b.pack(b, group, 0..taps, 0..1, filter);
            filter.iter().enumerate().for_each(|(tap, &weight)| weights[tap * width + group] = weight);
        }
        let first = rows.start;
        gathered.taps_of(rows, |row, tap, element| {
            let out = &mut out[(row - first) * width..][..width];
            let (weights, image) = (&weights[tap * width..][..width], &a[element..][..width]);
            for ((out, &weight), &x) in out.iter_mut().zip(weights).zip(image) {
                *out += weight * x;
            }
        });
    }
}

fn weights(plan: &Plan, a: &[f32], b: &[f32], output: Matrix, out: &mut [f32]) {
    let (Side::Matrix(gradient), Side::Gathered(gathered)) = (&plan.a, &plan.b) else { return };
    let (width, taps, positions) = (plan.groups, plan.n, plan.k);
    let size = width * taps;
    let height = (positions / 64).max(GRAIN / size.max(1)).max(1);
    let pieces = positions.div_ceil(height).max(1);
    let mut scratch = Scratch::take((pieces + 1) * size);
    let (sums, partial) = scratch.floats().split_at_mut(size);
    partial.par_chunks_mut(size).enumerate().for_each(|(piece, sums)| {
        sums.fill(0.0);
        gathered.taps_of(piece * height..((piece + 1) * height).min(positions), |row, tap, element| {
            let sums = &mut sums[tap * width..][..width];
            let (gradient, image) = (&a[row * gradient.column..][..width], &b[element..][..width]);
            for ((sum, &g), &x) in sums.iter_mut().zip(gradient).zip(image) {
                *sum += g * x;
            }
        });
    });
    add_in_order(partial, sums);
    for (i, &sum) in sums.iter().enumerate() {
        out[(i % width) * output.group + (i / width) * output.column] = sum;
    }
}
