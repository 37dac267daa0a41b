//! How the elements of a reduction are combined: one [`Fold`] an accumulator.
//!
//! A fold takes up to a few thousand elements at once, in f32 and in a form that vectorises, and merges such partial
//! results one after the other. Sums, products and moments are merged in f64, so the error of a sum is that of the short
//! f32 sums at its bottom however long it is. Moments are the corrected two-pass algorithm within a panel and Chan's
//! formula between panels (Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983).

use crate::vector::{Kernel, Lanes};

/// The partial result of a reduction, and how it grows.
pub(super) trait Fold {
    /// What is known after some elements.
    type State: Copy + Send + Sync;
    /// What is known after none.
    const EMPTY: Self::State;
    /// Combines consecutive elements, of which the first is at `position` among those reduced.
    fn row(values: &[u32], position: usize) -> Self::State;
    /// Adds to each state the elements of its column of `panel`, whose first row is at `position`.
    ///
    /// # Safety
    /// The machine has the instructions of `L`.
    unsafe fn columns<L: Lanes>(states: &mut [Self::State], panel: &[u32], position: usize);
    /// Combines two states, `b` being of later elements.
    fn merge(a: Self::State, b: Self::State) -> Self::State;
    /// The words of the results.
    fn finish(state: Self::State) -> [u32; 2];
}

#[inline(always)]
fn float(word: u32) -> f32 {
    f32::from_bits(word)
}

/// Each state becomes that of a row of consecutive elements of `values`, as wide vectors as there are.
pub(super) struct Rows<'a, F: Fold> {
    pub states: &'a mut [F::State],
    pub values: &'a [u32],
    /// The position of the first element of each among those reduced.
    pub position: usize,
}

impl<F: Fold> Kernel for Rows<'_, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let length = self.values.len() / self.states.len().max(1);
        let rows = self.values.chunks_exact(length.max(1));
        self.states.iter_mut().zip(rows).for_each(|(state, row)| *state = F::row(row, self.position));
    }
}

/// [`Fold::columns`], as wide vectors as there are.
pub(super) struct Columns<'a, F: Fold> {
    pub states: &'a mut [F::State],
    pub panel: &'a [u32],
    pub position: usize,
}

impl<F: Fold> Kernel for Columns<'_, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: by the caller.
        unsafe { F::columns::<L>(self.states, self.panel, self.position) };
    }
}

/// The sum of eight floats: three roundings on the way.
#[inline(always)]
fn eight(word: impl Fn(usize) -> u32) -> f64 {
    let x: [f32; 8] = std::array::from_fn(|i| float(word(i)));
    f64::from(((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7])))
}

/// Sums of floats.
pub(super) struct Sum;

impl Fold for Sum {
    type State = f64;
    const EMPTY: f64 = 0.0;

    #[inline(always)]
    fn row(values: &[u32], _: usize) -> f64 {
        let mut lanes = [0f64; 16];
        let (chunks, rest) = values.as_chunks::<128>();
        for chunk in chunks {
            for (i, lane) in lanes.iter_mut().enumerate() {
                *lane += eight(|row| chunk[row * 16 + i]);
            }
        }
        let mut short = [0f32; 16];
        let (chunks, rest) = rest.as_chunks::<16>();
        for chunk in chunks {
            short.iter_mut().zip(chunk).for_each(|(lane, &word)| *lane += float(word));
        }
        let short = short.iter().map(|&lane| f64::from(lane));
        lanes.iter().copied().chain(short).chain(rest.iter().map(|&word| f64::from(float(word)))).sum()
    }

    #[inline(always)]
    unsafe fn columns<L: Lanes>(states: &mut [f64], panel: &[u32], _: usize) {
        let width = states.len();
        let mut rows = panel.chunks_exact(8 * width);
        for group in &mut rows {
            let rows: [&[u32]; 8] = std::array::from_fn(|i| &group[i * width..][..width]);
            for (i, state) in states.iter_mut().enumerate() {
                *state += eight(|row| rows[row][i]);
            }
        }
        for row in rows.remainder().chunks_exact(width) {
            states.iter_mut().zip(row).for_each(|(state, &word)| *state += f64::from(float(word)));
        }
    }

    #[inline(always)]
    fn merge(a: f64, b: f64) -> f64 {
        a + b
    }

    #[inline(always)]
    fn finish(state: f64) -> [u32; 2] {
        [(state as f32).to_bits(), 0]
    }
}

/// Sums of integers, which wrap; signed and unsigned ones have the same bits.
pub(super) struct WrappingSum;

impl Fold for WrappingSum {
    type State = u32;
    const EMPTY: u32 = 0;

    #[inline(always)]
    fn row(values: &[u32], _: usize) -> u32 {
        values.iter().fold(0, |sum, &word| sum.wrapping_add(word))
    }

    #[inline(always)]
    unsafe fn columns<L: Lanes>(states: &mut [u32], panel: &[u32], _: usize) {
        for row in panel.chunks_exact(states.len()) {
            states.iter_mut().zip(row).for_each(|(state, &word)| *state = state.wrapping_add(word));
        }
    }

    #[inline(always)]
    fn merge(a: u32, b: u32) -> u32 {
        a.wrapping_add(b)
    }

    #[inline(always)]
    fn finish(state: u32) -> [u32; 2] {
        [state, 0]
    }
}

/// Products of floats, in f64.
pub(super) struct Product;

impl Fold for Product {
    type State = f64;
    const EMPTY: f64 = 1.0;

    #[inline(always)]
    fn row(values: &[u32], _: usize) -> f64 {
        let mut lanes = [Self::EMPTY; 8];
        let (chunks, rest) = values.as_chunks::<8>();
        for chunk in chunks {
            lanes.iter_mut().zip(chunk).for_each(|(lane, &word)| *lane *= f64::from(float(word)));
        }
        lanes.into_iter().chain(rest.iter().map(|&word| f64::from(float(word)))).product()
    }

    #[inline(always)]
    unsafe fn columns<L: Lanes>(states: &mut [f64], panel: &[u32], _: usize) {
        for row in panel.chunks_exact(states.len()) {
            states.iter_mut().zip(row).for_each(|(state, &word)| *state *= f64::from(float(word)));
        }
    }

    #[inline(always)]
    fn merge(a: f64, b: f64) -> f64 {
        a * b
    }

    #[inline(always)]
    fn finish(state: f64) -> [u32; 2] {
        [(state as f32).to_bits(), 0]
    }
}

/// The largest float, or NaN.
pub(super) struct Max;

impl Fold for Max {
    type State = f32;
    const EMPTY: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn row(values: &[u32], _: usize) -> f32 {
        let mut lanes = [Self::EMPTY; 16];
        let (chunks, rest) = values.as_chunks::<16>();
        for chunk in chunks {
            for (lane, &word) in lanes.iter_mut().zip(chunk) {
                *lane = Self::merge(*lane, float(word));
            }
        }
        lanes.into_iter().chain(rest.iter().map(|&word| float(word))).fold(Self::EMPTY, Self::merge)
    }

    #[inline(always)]
    unsafe fn columns<L: Lanes>(states: &mut [f32], panel: &[u32], _: usize) {
        for row in panel.chunks_exact(states.len()) {
            states.iter_mut().zip(row).for_each(|(state, &word)| *state = Self::merge(*state, float(word)));
        }
    }

    #[inline(always)]
    fn merge(a: f32, b: f32) -> f32 {
        if b > a || b.is_nan() { b } else { a }
    }

    #[inline(always)]
    fn finish(state: f32) -> [u32; 2] {
        [state.to_bits(), 0]
    }
}

/// The position of the first largest float, or of the first NaN.
pub(super) struct ArgMax;

impl Fold for ArgMax {
    type State = (f32, u32);
    const EMPTY: (f32, u32) = (f32::NEG_INFINITY, u32::MAX);

    #[inline(always)]
    fn row(values: &[u32], position: usize) -> (f32, u32) {
        let later = values.iter().zip(position as u32..).map(|(&word, position)| (float(word), position));
        later.fold(Self::EMPTY, Self::merge)
    }

    #[inline(always)]
    unsafe fn columns<L: Lanes>(states: &mut [(f32, u32)], panel: &[u32], position: usize) {
        for (row, position) in panel.chunks_exact(states.len()).zip(position as u32..) {
            states.iter_mut().zip(row).for_each(|(state, &word)| *state = Self::merge(*state, (float(word), position)));
        }
    }

    #[inline(always)]
    fn merge(a: (f32, u32), b: (f32, u32)) -> (f32, u32) {
        let larger = b.0 > a.0 || (b.0.is_nan() && !a.0.is_nan());
        // Negative infinity is not larger than nothing, and is still the first.
        if larger || a.1 == u32::MAX { b } else { a }
    }

    #[inline(always)]
    fn finish(state: (f32, u32)) -> [u32; 2] {
        [state.1, 0]
    }
}

/// Mean and biased variance.
pub(super) struct Moments;

/// Moments of some elements.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    count: f64,
    mean: f64,
    /// The sum of squared deviations from the mean.
    squares: f64,
}

impl Moment {
    /// From `count` elements' approximate mean, and the sums of deviations from it and of their squares.
    #[inline(always)]
    fn corrected(count: usize, mean: f32, deviations: f32, squares: f32) -> Self {
        let (count, mut shift) = (count as f64, f64::from(deviations) / count as f64);
        if !shift.is_finite() {
            shift = 0.0;
        }
        let squares = f64::from(squares) - count * shift * shift;
        Moment { count, mean: f64::from(mean) + shift, squares: if squares < 0.0 { 0.0 } else { squares } }
    }
}

/// Columns side by side, at most.
const COLUMNS: usize = 32;

/// Adds the next `V` vectors of columns of a panel from `first` on, as often as there are; gives the first that is left.
#[inline(always)]
unsafe fn add_moments<L: Lanes, const V: usize>(states: &mut [Moment], panel: &[f32], mut first: usize) -> usize {
    let (width, columns) = (states.len(), V * L::COUNT);
    let (mut means, mut deviations, mut squares) = ([0f32; COLUMNS], [0f32; COLUMNS], [0f32; COLUMNS]);
    while first + columns <= width {
        // SAFETY: by the caller.
        unsafe {
            let vectors = |row: &[f32]| -> [L; V] { std::array::from_fn(|v| L::of(&row[first + v * L::COUNT..])) };
            let put = |sums: [L; V], to: &mut [f32]| {
                sums.into_iter().zip(to.chunks_exact_mut(L::COUNT)).for_each(|(sum, to)| sum.put(to));
            };
            let mut sums = [L::zero(); V];
            for row in panel.chunks_exact(width) {
                sums.iter_mut().zip(vectors(row)).for_each(|(sum, x)| *sum = sum.plus(x));
            }
            put(sums, &mut means);
            let rows = panel.len() / width;
            means.iter_mut().for_each(|mean| *mean /= rows as f32);
            let centers: [L; V] = std::array::from_fn(|v| L::of(&means[v * L::COUNT..]));
            let mut sums = [[L::zero(); 2]; V];
            for row in panel.chunks_exact(width) {
                for (([sum, square], x), center) in sums.iter_mut().zip(vectors(row)).zip(centers) {
                    let deviation = x.minus(center);
                    *sum = sum.plus(deviation);
                    *square = square.plus_product(deviation, deviation);
                }
            }
            put(sums.map(|[sum, _]| sum), &mut deviations);
            put(sums.map(|[_, square]| square), &mut squares);
            for (i, state) in states[first..first + columns].iter_mut().enumerate() {
                *state = Moments::merge(*state, Moment::corrected(rows, means[i], deviations[i], squares[i]));
            }
        }
        first += columns;
    }
    first
}

impl Fold for Moments {
    type State = Moment;
    const EMPTY: Moment = Moment { count: 0.0, mean: 0.0, squares: 0.0 };

    #[inline(always)]
    fn row(values: &[u32], _: usize) -> Moment {
        if values.is_empty() {
            return Self::EMPTY;
        }
        let mean = (Sum::row(values, 0) / values.len() as f64) as f32;
        let (mut deviations, mut squares) = ([0f32; 16], [0f32; 16]);
        let (chunks, rest) = values.as_chunks::<16>();
        for chunk in chunks {
            for (lane, &word) in chunk.iter().enumerate() {
                let deviation = float(word) - mean;
                deviations[lane] += deviation;
                squares[lane] += deviation * deviation;
            }
        }
        for (lane, &word) in rest.iter().enumerate() {
            let deviation = float(word) - mean;
            deviations[lane] += deviation;
            squares[lane] += deviation * deviation;
        }
        Moment::corrected(values.len(), mean, deviations.iter().sum(), squares.iter().sum())
    }

    #[inline(always)]
    unsafe fn columns<L: Lanes>(states: &mut [Moment], panel: &[u32], _: usize) {
        // SAFETY: by the caller.
        unsafe {
            let panel = bytemuck::cast_slice(panel);
            let first = add_moments::<L, 2>(states, panel, 0);
            let first = add_moments::<L, 1>(states, panel, first);
            add_moments::<f32, 1>(states, panel, first);
        }
    }

    #[inline(always)]
    fn merge(a: Moment, b: Moment) -> Moment {
        if a.count == 0.0 || b.count == 0.0 {
            return if a.count == 0.0 { b } else { a };
        }
        let count = a.count + b.count;
        let (share, delta) = (b.count / count, b.mean - a.mean);
        let squares = a.squares + b.squares + delta * delta * a.count * share;
        Moment { count, mean: a.mean + delta * share, squares }
    }

    #[inline(always)]
    fn finish(state: Moment) -> [u32; 2] {
        if state.count == 0.0 {
            return [f32::NAN.to_bits(); 2];
        }
        [(state.mean as f32).to_bits(), ((state.squares / state.count) as f32).to_bits()]
    }
}
