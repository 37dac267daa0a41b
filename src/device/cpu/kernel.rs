//! The product of two matrices of the CPU: what [`super::gemm`] calls for each of its tiles.
//!
//! The right operand is packed into strips as wide as two vectors, a stretch of the sums at a time. The left one is read
//! where it is, its elements broadcast, unless its rows are so far apart that they displace each other from the cache. So
//! a window that was just gathered is not copied again, and a strip, which stays in the first cache, is used for all rows.
//! Sums go over the terms in order, stretch by stretch.
//!
//! What the kernel itself multiplies are terms in segments ([`Left`], [`Right`]), which may overlap: so the windows of an
//! image are read where they are ([`super::lines`]).
//!
//! Source of the scheme: Goto, van de Geijn, "Anatomy of high-performance matrix multiplication", 2008.

use std::marker::PhantomData;

use ndarray::{ArrayView2, ArrayViewMut2, Axis, ShapeBuilder};

use super::memory::Scratch;
#[cfg(target_arch = "x86_64")]
use crate::vector::{Eight, Sixteen};
use crate::vector::{Four, Lanes, Width};

/// Terms of the sums that a strip holds: 32 KB of it, where vectors are of 16 floats.
const DEPTH: usize = 256;
/// Vectors side by side in a strip; one in the last, if that is enough.
const VECTORS: usize = 2;

/// `out = a * b`, or `out += a * b` to `accumulate`.
///
/// # Panics
/// When the shapes do not fit.
pub(super) fn multiply(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, accumulate: bool, out: ArrayViewMut2<'_, f32>) {
    multiply_in(Width::of_this_machine(), a, b, accumulate, out);
}

fn multiply_in(
    width: Width,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    accumulate: bool,
    mut out: ArrayViewMut2<'_, f32>,
) {
    let ((m, k), n) = (a.dim(), b.ncols());
    assert!(b.nrows() == k && out.dim() == (m, n), "{m}×{k} by {:?} to {:?}", b.dim(), out.dim());
    if k == 0 && !accumulate {
        out.fill(0.0);
    }
    if m * n * k == 0 {
        return;
    }
    let dense = |out: &ArrayViewMut2<'_, f32>, axis| out.len_of(axis) == 1 || out.stride_of(axis) == 1;
    if dense(&out, Axis(1)) {
        return by_stretches(width, a, b, accumulate, out);
    }
    if dense(&out, Axis(0)) {
        return by_stretches(width, b.reversed_axes(), a.reversed_axes(), accumulate, out.reversed_axes());
    }
    let mut scratch = Scratch::take(m * n);
    let mut product = ArrayViewMut2::from_shape((m, n), scratch.floats()).expect("as long as its shape says");
    by_stretches(width, a, b, false, product.view_mut());
    if accumulate {
        out += &product;
    } else {
        out.assign(&product);
    }
}

/// As [`multiply`], where the elements of a row of `out` are neighbours.
fn by_stretches(
    width: Width,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    accumulate: bool,
    mut out: ArrayViewMut2<'_, f32>,
) {
    let (k, n) = b.dim();
    let packed = n.next_multiple_of(width.count()) * k.min(DEPTH);
    let mut scratch = Scratch::take(packed + width.beside(out.nrows()));
    let (packed, beside) = scratch.floats().split_at_mut(packed);
    let mut moved = Scratch::take(if displaces(&a) { copied_len(a.nrows(), k.min(DEPTH)) } else { 0 });
    for start in (0..k).step_by(DEPTH) {
        let depth = DEPTH.min(k - start);
        let b = b.slice(ndarray::s![start..start + depth, ..]);
        let a = a.slice(ndarray::s![.., start..start + depth]);
        let a = apart(a, moved.floats());
        let accumulate = accumulate || start > 0;
        let mut packed = &mut packed[..n.next_multiple_of(width.count()) * depth];
        for (first, columns) in width.strips(n) {
            let strip = columns.next_multiple_of(width.count());
            let strip_of_b;
            (strip_of_b, packed) = packed.split_at_mut(strip * depth);
            pack(b.slice(ndarray::s![.., first..first + columns]), strip, strip_of_b);
            let out = out.slice_mut(ndarray::s![.., first..first + columns]);
            let right = Right { words: strip_of_b, segments: [0; 2], step: strip };
            width.strip([1, 1, depth], Left::of(&a), right, accumulate, out, beside);
        }
    }
}

/// Whether neighbouring lines of `a` fall on the same places of a cache: they are a multiple of 2 KB apart.
fn displaces(a: &ArrayView2<'_, f32>) -> bool {
    let lines = a.strides().iter().copied().max().unwrap_or(0);
    lines > 0 && lines % 512 == 0
}

/// What lies between lines of a copy.
pub(super) const GAP: usize = 16;

/// Words of a copy of `rows × columns`, whichever axis is the dense one.
fn copied_len(rows: usize, columns: usize) -> usize {
    (rows + GAP) * (columns + GAP)
}

/// `a`, or a copy of it in `scratch` whose lines do not displace each other.
fn apart<'a>(a: ArrayView2<'a, f32>, scratch: &'a mut [f32]) -> ArrayView2<'a, f32> {
    if scratch.is_empty() {
        return a;
    }
    let (rows, columns) = a.dim();
    let by_rows = a.stride_of(Axis(1)) == 1;
    let strides = if by_rows { (columns + GAP, 1) } else { (1, rows + GAP) };
    let mut copy = ArrayViewMut2::from_shape((rows, columns).strides(strides), scratch).expect("the scratch holds it");
    copy.assign(&a);
    ArrayView2::from_shape((rows, columns).strides(strides), scratch).expect("the scratch holds it")
}

/// Rows of a packed strip that are filled from columns before the next ones: they stay in the first-level cache.
const ROWS_TOGETHER: usize = 64;

/// Copies `b` row by row, with zeros behind each row to make it `strip` long.
pub(super) fn pack(b: ArrayView2<'_, f32>, strip: usize, packed: &mut [f32]) {
    let columns = b.ncols();
    if columns > 1 && b.stride_of(Axis(0)) == 1 {
        let blocks = packed[..b.nrows() * strip].chunks_mut(ROWS_TOGETHER * strip);
        for (b, packed) in b.axis_chunks_iter(Axis(0), ROWS_TOGETHER).zip(blocks) {
            for (column, values) in b.columns().into_iter().enumerate() {
                packed.iter_mut().skip(column).step_by(strip).zip(values).for_each(|(to, &x)| *to = x);
            }
            packed.chunks_exact_mut(strip).for_each(|row| row[columns..].fill(0.0));
        }
        return;
    }
    for (row, packed) in b.rows().into_iter().zip(packed.chunks_exact_mut(strip)) {
        let (values, rest) = packed.split_at_mut(row.len());
        match row.as_slice() {
            Some(row) => values.copy_from_slice(row),
            None => values.iter_mut().zip(row).for_each(|(value, &x)| *value = x),
        }
        rest.fill(0.0);
    }
}

/// A left operand: term `t` of segment `[r, s]` of row `i` is `i * row + r * segments[0] + s * segments[1] + t * step`
/// elements after the first.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    first: *const f32,
    /// Elements from the first to behind the last.
    len: usize,
    row: usize,
    segments: [usize; 2],
    step: usize,
    words: PhantomData<&'a [f32]>,
}

impl<'a> Left<'a> {
    /// One in `words`.
    pub fn new(words: &'a [f32], row: usize, segments: [usize; 2], step: usize) -> Self {
        Left { first: words.as_ptr(), len: words.len(), row, segments, step, words: PhantomData }
    }

    /// A matrix, in one segment.
    fn of(matrix: &ArrayView2<'a, f32>) -> Self {
        let [row, step] = [0, 1].map(|axis| matrix.stride_of(Axis(axis)).unsigned_abs());
        assert!(matrix.strides().iter().all(|&stride| stride >= 0), "views run forwards");
        let reach = matrix.nrows().saturating_sub(1) * row + matrix.ncols().saturating_sub(1) * step;
        let len = if matrix.is_empty() { 0 } else { 1 + reach };
        Left { first: matrix.as_ptr(), len, row, segments: [0; 2], step, words: PhantomData }
    }
}

/// A right operand: the columns of a term begin as many elements after the first word, side by side.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    pub words: &'a [f32],
    pub segments: [usize; 2],
    pub step: usize,
}

impl Width {
    /// Floats of a vector.
    pub(super) fn count(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Width::Sixteen(_) => Sixteen::COUNT,
            #[cfg(target_arch = "x86_64")]
            Width::Eight(_) => Eight::COUNT,
            Width::Four => Four::COUNT,
        }
    }

    /// The strips into which so many columns are cut: the first column, and how many.
    pub(super) fn strips(self, columns: usize) -> impl Iterator<Item = (usize, usize)> {
        let most = VECTORS * self.count();
        (0..columns).step_by(most).map(move |first| (first, most.min(columns - first)))
    }

    /// Scratch that a strip with `rows` rows needs.
    pub(super) fn beside(self, rows: usize) -> usize {
        rows * VECTORS * self.count()
    }

    /// The product of `a` and a strip, over all terms of all segments. The columns of `b` are read up to the next multiple
    /// of a vector; `beside` is scratch for [`Width::beside`].
    pub(super) fn strip(
        self,
        terms: [usize; 3],
        a: Left<'_>,
        b: Right<'_>,
        accumulate: bool,
        mut out: ArrayViewMut2<'_, f32>,
        beside: &mut [f32],
    ) {
        let (rows, columns) = out.dim();
        let whole = columns.next_multiple_of(self.count());
        if columns == whole {
            return self.whole_strip(terms, a, b, accumulate, out);
        }
        // The strip reaches past the last column: a whole one is computed beside, and what there is of it copied.
        let mut product =
            ArrayViewMut2::from_shape((rows, whole), &mut beside[..rows * whole]).expect("as long as its shape says");
        self.whole_strip(terms, a, b, false, product.view_mut());
        let part = product.slice(ndarray::s![.., ..columns]);
        if accumulate {
            out += &part;
        } else {
            out.assign(&part);
        }
    }

    fn whole_strip(
        self,
        terms: [usize; 3],
        a: Left<'_>,
        b: Right<'_>,
        accumulate: bool,
        mut out: ArrayViewMut2<'_, f32>,
    ) {
        let (rows, columns) = out.dim();
        if rows * columns * terms.iter().product::<usize>() == 0 {
            return;
        }
        let vectors = columns / self.count();
        let (steps_of_a, steps_of_b) = ([a.segments[0], a.segments[1], a.step], [b.segments[0], b.segments[1], b.step]);
        let last = |steps: [usize; 3]| (0..3).map(|i| (terms[i] - 1) * steps[i]).sum::<usize>();
        assert!((rows - 1) * a.row + last(steps_of_a) < a.len, "{rows} rows of {} elements", a.len);
        assert!(last(steps_of_b) + columns <= b.words.len(), "{columns} columns of {}", b.words.len());
        assert!(columns == vectors * self.count() && vectors <= VECTORS, "{columns} columns");
        assert!(out.stride_of(Axis(1)) == 1, "{:?}", out.strides());
        let part = Part {
            a: a.first,
            a_row: a.row,
            a_steps: steps_of_a,
            b: b.words.as_ptr(),
            b_steps: steps_of_b,
            out: out.as_mut_ptr(),
            row: out.stride_of(Axis(0)),
            rows,
            terms,
            accumulate,
        };
        // SAFETY: all that the part reads lies in the operands, as was checked; what it writes are the rows of `out`; and
        // the machine has the instructions of every `Width` that there is.
        unsafe {
            match (self, vectors) {
                #[cfg(target_arch = "x86_64")]
                (Width::Sixteen(_), 1) => part.run_sixteen::<1>(),
                #[cfg(target_arch = "x86_64")]
                (Width::Sixteen(_), _) => part.run_sixteen::<VECTORS>(),
                #[cfg(target_arch = "x86_64")]
                (Width::Eight(_), 1) => part.run_eight::<1>(),
                #[cfg(target_arch = "x86_64")]
                (Width::Eight(_), _) => part.run_eight::<VECTORS>(),
                (Width::Four, 1) => part.run_four::<1>(),
                (Width::Four, _) => part.run_four::<VECTORS>(),
            }
        }
    }
}

/// What the kernel works on: `rows` rows of A, all of a strip of B.
#[derive(Clone, Copy)]
struct Part {
    a: *const f32,
    /// From row to row.
    a_row: usize,
    /// From segment to segment, outer and inner, and from term to term.
    a_steps: [usize; 3],
    b: *const f32,
    b_steps: [usize; 3],
    out: *mut f32,
    /// From row to row of the result.
    row: isize,
    rows: usize,
    terms: [usize; 3],
    accumulate: bool,
}

/// All rows of a part, in blocks of nearly equal size: each of few rows would wait for its sums.
macro_rules! in_blocks {
    ($part:expr, $lanes:ty, $vectors:ident, $most:literal, [$($fewer:literal)+]) => {{
        let mut part = $part;
        let blocks = part.rows.div_ceil($most);
        let (rows, larger) = (part.rows / blocks.max(1), part.rows % blocks.max(1));
        for block in 0..blocks {
            let rows = rows + usize::from(block < larger);
            match rows {
                $($fewer => part.block::<$lanes, $fewer, $vectors>(),)+
                _ => part.block::<$lanes, $most, $vectors>(),
            }
            part = part.after(rows);
        }
    }};
}

impl Part {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn run_sixteen<const V: usize>(self) {
        // SAFETY: by the caller. 28 of 32 registers hold sums.
        unsafe { in_blocks!(self, Sixteen, V, 14, [1 2 3 4 5 6 7 8 9 10 11 12 13]) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn run_eight<const V: usize>(self) {
        // SAFETY: by the caller. 12 of 16 registers hold sums.
        unsafe { in_blocks!(self, Eight, V, 6, [1 2 3 4 5]) }
    }

    unsafe fn run_four<const V: usize>(self) {
        // SAFETY: by the caller.
        unsafe { in_blocks!(self, Four, V, 4, [1 2 3]) }
    }

    /// The part without its first rows.
    #[inline(always)]
    fn after(self, rows: usize) -> Self {
        let a = self.a.wrapping_add(self.a_row * rows);
        let out = self.out.wrapping_offset(self.row * rows as isize);
        Part { a, out, rows: self.rows - rows, ..self }
    }

    /// The first `ROWS` rows: their sums stay in registers.
    #[inline(always)]
    unsafe fn block<L: Lanes, const ROWS: usize, const V: usize>(&self) {
        // SAFETY: by the caller.
        unsafe {
            let (row, a_steps, b_steps, terms) = (self.a_row, self.a_steps, self.b_steps, self.terms);
            let mut sums = [[L::zero(); V]; ROWS];
            for outer in 0..terms[0] {
                let (mut a_line, mut b_line) =
                    (self.a.wrapping_add(outer * a_steps[0]), self.b.wrapping_add(outer * b_steps[0]));
                for _ in 0..terms[1] {
                    let (mut a, mut b) = (a_line, b_line);
                    for _ in 0..terms[2] {
                        let vectors: [L; V] = std::array::from_fn(|v| L::load(b.add(v * L::COUNT)));
                        for (r, sums) in sums.iter_mut().enumerate() {
                            let x = L::splat(*a.add(r * row));
                            for (sum, vector) in sums.iter_mut().zip(vectors) {
                                *sum = sum.plus_product(x, vector);
                            }
                        }
                        a = a.wrapping_add(a_steps[2]);
                        b = b.wrapping_add(b_steps[2]);
                    }
                    a_line = a_line.wrapping_add(a_steps[1]);
                    b_line = b_line.wrapping_add(b_steps[1]);
                }
            }
            for (r, sums) in sums.into_iter().enumerate() {
                for (v, mut sum) in sums.into_iter().enumerate() {
                    let out = self.out.offset(r as isize * self.row).add(v * L::COUNT);
                    if self.accumulate {
                        sum = L::load(out).plus(sum);
                    }
                    sum.store(out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, s};

    use super::*;

    fn numbers(rows: usize, columns: usize, seed: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, columns), |(i, j)| ((i * 31 + j * 17 + seed * 7) % 23) as f32 - 11.0)
    }

    /// Whole numbers, so that every order of addition gives the same.
    #[test]
    fn every_width_gives_the_product() {
        for width in Width::all() {
            for (m, n, k) in [(1, 1, 1), (12, 32, 5), (25, 70, 300), (7, 31, 513), (3, 33, 256), (0, 4, 4), (4, 4, 0)] {
                let (a, b) = (numbers(m, k, 1), numbers(k, n, 2));
                let (at, bt) = (numbers(k, m, 3), numbers(n, k, 4));
                for (a, b) in [(a.view(), b.view()), (at.t(), b.view()), (a.view(), bt.t()), (at.t(), bt.t())] {
                    let wanted = a.dot(&b);
                    let mut out = numbers(m, n, 5);
                    let sum = &out + &wanted;
                    multiply_in(width, a, b, true, out.view_mut());
                    assert_eq!(out, sum, "{width:?} {m}×{n}×{k}");
                    multiply_in(width, a, b, false, out.view_mut());
                    assert_eq!(out, wanted, "{width:?} {m}×{n}×{k}");
                }
            }
        }
    }

    #[test]
    fn results_may_lie_in_any_way() {
        let (a, b) = (numbers(9, 20, 1), numbers(20, 14, 2));
        let wanted = a.dot(&b);
        for width in Width::all() {
            let mut columns = Array2::from_elem((14, 9), -1.0);
            multiply_in(width, a.view(), b.view(), false, columns.view_mut().reversed_axes());
            assert_eq!(columns.t(), wanted);
            let mut apart = Array2::from_elem((18, 28), -1.0);
            multiply_in(width, a.view(), b.view(), false, apart.slice_mut(s![..;2, ..;2]));
            assert_eq!(apart.slice(s![..;2, ..;2]), wanted);
            assert!(apart.slice(s![1..;2, ..]).iter().chain(apart.slice(s![.., 1..;2])).all(|&x| x == -1.0));
        }
    }
}
