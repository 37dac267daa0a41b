//! Matrix products and convolutions: tiles of the result, each one call of [`super::kernel`] on views or gathered panels.
//!
//! The result is cut into tiles whose sizes depend on the shapes alone; gathered operands are packed a panel at a time
//! into scratch of the thread (im2col of some rows, never of all). Where the result is small and the sums are long, as in
//! the gradient of convolution weights, the sums are cut into pieces whose partial results are added in order. An epilogue
//! runs on each block of rows while it is in the cache, if rows are dense in memory, and else on the whole result.
//! Convolutions of narrow groups go to [`super::depthwise`], strided gradients of images to [`super::phased`].

use std::ops::Range;

use ndarray::{ArrayViewMut2, ArrayViewMut3, Axis, ShapeBuilder};
use rayon::prelude::*;

use super::depthwise::Depthwise;
use super::elementwise::{self, Piece, split};
use super::kernel::multiply;
use super::lines::Lines;
use super::memory::{Scratch, Slices, Source};
use super::operand::Side;
use super::phased::Phased;
use super::program::OperandInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Gemm, Matrix};
use crate::schedule::Epilogue;

/// Floats of a packed panel: half of a typical second-level cache.
const PANEL: usize = 1 << 17;
/// Tiles that keep many threads busy; fewer are made smaller, or their sums are cut.
const TILES: usize = 16;
/// Multiplications below which one thread does all.
const SMALL: usize = 1 << 17;

/// A matrix product.
#[derive(Debug)]
pub(super) struct Plan {
    pub groups: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Side,
    pub b: Side,
    output: Matrix,
    /// Elements from the first to behind the last of the result.
    len: usize,
    tile: Tile,
    /// Length of the pieces of the sums.
    piece: usize,
    depthwise: Option<Depthwise>,
    phased: Option<Phased>,
    /// Where the windows of A are lines.
    lines: Option<Lines>,
    /// Where those of B are.
    lines_of_b: Option<Lines>,
    epilogue: Option<elementwise::Plan>,
    parallel: bool,
}

/// Extents of tiles and panels.
#[derive(Clone, Copy, Debug)]
struct Tile {
    m: usize,
    n: usize,
    k: usize,
}

impl Plan {
    /// Prepares `gemm` with operands and results as given; operands from the third on are the epilogue's.
    ///
    /// # Errors
    /// When operands or results do not hold the matrices.
    pub fn new(gemm: &Gemm, epilogue: Option<&Epilogue>, operands: &[OperandInfo], results: &[usize]) -> Result<Self> {
        let fail = |what: String| Err(Error::new(ErrorKind::Graph, what));
        let Gemm { groups, m, n, k, output, .. } = *gemm;
        let (a, b) = (Side::new(&gemm.a), Side::new(&gemm.b));
        let [first, second, rest @ ..] = operands else {
            return fail(format!("a matrix product has two operands, got {}", operands.len()));
        };
        if first.in_place || second.in_place {
            return fail("a factor of a matrix product cannot be overwritten".into());
        }
        a.check(first.len, groups, m, k)?;
        b.check(second.len, groups, k, n)?;
        let last = |extent: usize, stride: usize| extent.saturating_sub(1) * stride;
        let empty = groups * m * n == 0;
        let len = if empty { 0 } else { 1 + last(groups, output.group) + last(m, output.row) + last(n, output.column) };
        let epilogue = match epilogue {
            Some((shape, expression)) => {
                let operands: Vec<OperandInfo> =
                    std::iter::once(OperandInfo { len, in_place: false }).chain(rest.iter().copied()).collect();
                Some(elementwise::Plan::new(expression, shape, &operands, results)?)
            }
            None if matches!(results, [result] if *result >= len) => None,
            None => return fail(format!("a product of {len} elements for slots of {results:?}")),
        };
        let depthwise = Depthwise::new(gemm, &a, &b);
        let phased = if depthwise.is_some() { None } else { Phased::new(gemm) };
        let others = depthwise.is_some() || phased.is_some();
        let plain = !others && output.column == 1;
        let lines = Lines::new(&gemm.a).filter(|_| plain && !matches!(b, Side::Gathered(_)));
        let lines_of_b = Lines::new(&gemm.b).filter(|_| plain && a.matrix().is_some());
        let mut tile = tile(&a, &b, [m, n, k]);
        if let Some(phased) = &phased {
            tile.m = phased.rows(tile.m);
            let wanted = TILES.div_ceil(m.div_ceil(tile.m).max(1));
            tile.n = n.div_ceil(wanted).next_multiple_of(16).clamp(64, n.max(64));
        }
        if let Some(lines) = &lines {
            tile.m = tile.m.next_multiple_of(lines.across());
            tile.n = n.max(1);
        }
        if lines_of_b.is_some() {
            tile.n = n.max(1);
        }
        let tiles = groups * m.div_ceil(tile.m) * n.div_ceil(tile.n);
        let pieces = if others || lines.is_some() { 1 } else { (2 * TILES / tiles.max(1)).min(k / 512).max(1) };
        let whole = lines_of_b.as_ref().map_or(tile.k.clamp(1, 128), Lines::across);
        let piece = k.div_ceil(pieces).next_multiple_of(whole).max(1);
        let parallel = groups * m * n * k > SMALL;
        // From the smallest stride on, each step goes past all that came before.
        let mut axes = [(output.group, groups), (output.row, m), (output.column, n)];
        axes.sort_unstable();
        let mut reach = 1;
        for (stride, extent) in axes.into_iter().filter(|&(_, extent)| extent > 1 && !empty) {
            if stride < reach {
                return fail(format!("elements of the product overlap: {groups} of {m} by {n} as {output:?}"));
            }
            reach += (extent - 1) * stride;
        }
        Ok(Plan {
            groups,
            m,
            n,
            k,
            a,
            b,
            output,
            len,
            tile,
            piece,
            depthwise,
            phased,
            lines,
            lines_of_b,
            epilogue,
            parallel,
        })
    }

    /// Runs the step.
    pub fn run(&self, slices: Slices<'_>) {
        if self.len == 0 {
            return;
        }
        let (a, mut b) = (slices.floats(0), slices.floats(1));
        let mut filters = Scratch::take(self.filter_len());
        if !filters.is_empty() {
            self.pack_filters(b, filters.floats());
            b = filters.floats();
        }
        let Slices { reads, mut writes } = slices;
        let Some(epilogue) = &self.epilogue else {
            if let Some(write) = writes.first_mut() {
                self.whole(a, b, bytemuck::cast_slice_mut(&mut write[..self.len]));
            }
            return;
        };
        let mut sources = reads[1..].to_vec();
        let by_rows = self.k <= self.piece && self.depthwise.as_ref().is_none_or(Depthwise::by_rows);
        match self.rows().filter(|_| by_rows) {
            None => {
                let mut product = Scratch::take(self.len);
                self.whole(a, b, product.floats());
                sources[0] = Source::Shared { words: &product, base: 0 };
                epilogue.fill(&sources, writes.iter_mut().map(|write| &mut write[..self.len]).collect());
            }
            Some((blocks, rows, width)) => {
                let starts = |block: usize| (0..rows).step_by(self.tile.m).map(move |row| (block, row));
                let tasks: Vec<(usize, usize)> = (0..blocks).flat_map(starts).collect();
                let height = |row: usize| self.tile.m.min(rows - row);
                let pieces = split(writes, tasks.iter().map(|&(_, row)| height(row) * width));
                let work = |((block, row), (start, mut writes)): ((usize, usize), Piece<'_>)| {
                    let mut product = Scratch::take(height(row) * width);
                    self.block(a, b, block, row..row + height(row), product.floats());
                    let mut sources = sources.clone();
                    sources[0] = Source::Shared { words: &product, base: start };
                    epilogue.chunk(start, &sources, &mut writes);
                };
                if self.parallel {
                    tasks.into_par_iter().zip(pieces).for_each(work);
                } else {
                    tasks.into_iter().zip(pieces).for_each(work);
                }
            }
        }
    }

    /// Elements of the filters as they are packed once for all tiles; none where they are not.
    fn filter_len(&self) -> usize {
        match (&self.depthwise, &self.phased, &self.lines) {
            (Some(depthwise), ..) => depthwise.filter_len(self),
            (_, Some(phased), _) => phased.filter_len(self.groups),
            (.., Some(lines)) => lines.filter_len(self.n),
            _ => 0,
        }
    }

    fn pack_filters(&self, b: &[f32], out: &mut [f32]) {
        match (&self.depthwise, &self.phased, &self.lines) {
            (Some(depthwise), ..) => depthwise.pack_filters(self, b, out),
            (_, Some(phased), _) => phased.pack_filters(b, out),
            (.., Some(lines)) => lines.pack_filters(&self.b, b, self.n, out),
            _ => {}
        }
    }

    /// How rows lie one after the other in memory: blocks, rows of a block and elements of a row; `None` if they do not.
    fn rows(&self) -> Option<(usize, usize, usize)> {
        let Matrix { row, column, group } = self.output;
        let (groups, m, n) = (self.groups, self.m, self.n);
        let in_row = n == 1 || column == 1;
        if in_row && (m == 1 || row == groups * n) && (groups == 1 || group == n) {
            return Some((1, m, groups * n));
        }
        (in_row && (m == 1 || row == n) && group == m * n).then_some((groups, m, n))
    }

    /// Some rows of the result, dense, where [`Plan::rows`] has block `block`.
    fn block(&self, a: &[f32], b: &[f32], block: usize, rows: Range<usize>, out: &mut [f32]) {
        let count = rows.len();
        match &self.depthwise {
            Some(depthwise) if depthwise.by_rows() => depthwise.rows(self, a, b, rows, out),
            _ => {
                let groups = out.len() / (count * self.n);
                let shape = (groups, count, self.n).strides((self.n, groups * self.n, 1));
                if let Ok(out) = ArrayViewMut3::from_shape(shape, out) {
                    self.tiles(a, b, [block, rows.start, 0], 0..self.k, out);
                }
            }
        }
    }

    /// The whole result as it is stored; what lies between its elements is overwritten as well.
    fn whole(&self, a: &[f32], b: &[f32], out: &mut [f32]) {
        if let Some(depthwise) = &self.depthwise {
            return depthwise.whole(self, a, b, self.output, out);
        }
        if self.k <= self.piece {
            if let Some(out) = self.view(out) {
                self.tiles(a, b, [0; 3], 0..self.k, out);
            }
            return;
        }
        let pieces = self.k.div_ceil(self.piece);
        let mut partial = Scratch::take(pieces * self.len);
        let partial = partial.floats();
        partial.par_chunks_mut(self.len).enumerate().for_each(|(piece, out)| {
            let range = piece * self.piece..((piece + 1) * self.piece).min(self.k);
            if let Some(out) = self.view(out) {
                self.tiles(a, b, [0; 3], range, out);
            }
        });
        add_in_order(partial, out);
    }

    /// The result in memory as (group, row, column).
    fn view<'a>(&self, out: &'a mut [f32]) -> Option<ArrayViewMut3<'a, f32>> {
        let Matrix { row, column, group } = self.output;
        ArrayViewMut3::from_shape((self.groups, self.m, self.n).strides((group, row, column)), out).ok()
    }

    /// The part `out` of the result that begins at (group, row, column) `origin`, summed over `k`.
    fn tiles(&self, a: &[f32], b: &[f32], origin: [usize; 3], k: Range<usize>, out: ArrayViewMut3<'_, f32>) {
        let extents = [1, self.tile.m, self.tile.n];
        let shape = [out.dim().0, out.dim().1, out.dim().2];
        let Some(axis) = (0..3).find(|&axis| shape[axis] > extents[axis]) else {
            return self.tile(a, b, origin, k, out.index_axis_move(Axis(0), 0));
        };
        let middle = shape[axis].div_ceil(extents[axis]) / 2 * extents[axis];
        let (low, high) = out.split_at(Axis(axis), middle);
        let mut next = origin;
        next[axis] += middle;
        let (first, second) = (|| self.tiles(a, b, origin, k.clone(), low), || self.tiles(a, b, next, k.clone(), high));
        if self.parallel {
            rayon::join(first, second);
        } else {
            first();
            second();
        }
    }

    fn tile(&self, a: &[f32], b: &[f32], origin: [usize; 3], k: Range<usize>, mut out: ArrayViewMut2<'_, f32>) {
        if k.is_empty() {
            return out.fill(0.0);
        }
        if let Some(phased) = &self.phased {
            return phased.tile(a, b, origin, out);
        }
        let [group, row, column] = origin;
        if let Some(lines) = &self.lines {
            return lines.windows_by_filters(a, b, row, out);
        }
        if let (Some(lines), Some(matrix)) = (&self.lines_of_b, self.a.matrix()) {
            return lines.by_windows((a, matrix), row, b, k, out);
        }
        let (m, n) = out.dim();
        let size = |side: &Side, extent: usize| side.matrix().map_or(extent * self.tile.k.min(k.len()), |_| 0);
        let mut scratch = Scratch::take(size(&self.a, m) + size(&self.b, n));
        let (scratch_a, scratch_b) = scratch.floats().split_at_mut(size(&self.a, m));
        for start in k.clone().step_by(self.tile.k) {
            let panel = start..(start + self.tile.k).min(k.end);
            let a = self.a.panel(a, group, row..row + m, panel.clone(), scratch_a);
            let b = self.b.panel(b, group, panel, column..column + n, scratch_b);
            multiply(a, b, start > k.start, out.view_mut());
        }
    }
}

/// `out` = the sum of the parts of `partial`, each as long as `out`, first to last.
pub(super) fn add_in_order(partial: &[f32], out: &mut [f32]) {
    let len = out.len();
    out.par_chunks_mut(1 << 13).enumerate().for_each(|(chunk, out)| {
        let start = chunk << 13;
        out.copy_from_slice(&partial[start..start + out.len()]);
        for part in partial.chunks_exact(len).skip(1) {
            out.iter_mut().zip(&part[start..]).for_each(|(sum, &value)| *sum += value);
        }
    });
}

fn tile(a: &Side, b: &Side, [m, n, k]: [usize; 3]) -> Tile {
    let rounded = |extent: usize, pieces: usize| extent.div_ceil(pieces.max(1)).next_multiple_of(16).max(1);
    let mut tile = match (a, b) {
        // Long panels of the gathered side, so that few of them pass over the same part of the result.
        (Side::Gathered(gathered), _) => {
            let channels = gathered.channels.max(1);
            let k = if k <= 640 { k } else { (512 / channels).max(1) * channels.min(512) };
            Tile { m: (PANEL / k.max(1)).clamp(64, 512), n, k }
        }
        (_, Side::Gathered(_)) => {
            let n = rounded(n, n.div_ceil(512));
            Tile { m: 256, n, k: (PANEL / n).clamp(128, 512) }
        }
        _ => {
            let k = if a.matrix().is_some() && b.matrix().is_some() { k } else { 512 };
            Tile { m: 256, n: rounded(n, n.div_ceil(512)), k }
        }
    };
    tile.m = rounded(m, m.div_ceil(tile.m.max(1)));
    tile.n = tile.n.max(1);
    tile.k = tile.k.max(1);
    // Smaller tiles, down to 64 rows, until there are enough of them.
    let tiles = m.div_ceil(tile.m) * n.div_ceil(tile.n);
    if tiles < TILES && tile.m > 64 {
        tile.m = rounded(m, TILES / n.div_ceil(tile.n).max(1)).clamp(64, tile.m);
    }
    tile
}
