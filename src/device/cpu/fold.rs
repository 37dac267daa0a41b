//! How the elements of a reduction are combined: one [`Fold`] an accumulator.
//!
//! A fold takes up to a few thousand elements at once, in f32 and in a form that vectorises, and merges such partial
//! results one after the other. Sums, products and moments are merged in f64, so the error of a sum is that of the short
//! f32 sums at its bottom however long it is. Moments are the corrected two-pass algorithm within a panel and Chan's
//! formula between panels (Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983).

/// The partial result of a reduction, and how it grows.
pub(super) trait Fold {
    /// What is known after some elements.
    type State: Copy + Send + Sync;
    /// What is known after none.
    const EMPTY: Self::State;
    /// Words of scratch for each column in [`Fold::columns`].
    const TEMPORARIES: usize = 0;

    /// Combines consecutive elements, of which the first is at `position` among those reduced.
    fn row(values: &[u32], position: usize) -> Self::State;
    /// Adds to each state the elements of its column of `panel`, whose first row is at `position`.
    fn columns(states: &mut [Self::State], panel: &[u32], position: usize, temporaries: &mut [f32]);
    /// Combines two states, `b` being of later elements.
    fn merge(a: Self::State, b: Self::State) -> Self::State;
    /// The words of the results.
    fn finish(state: Self::State) -> [u32; 2];
}

fn float(word: u32) -> f32 {
    f32::from_bits(word)
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

    fn columns(states: &mut [f64], panel: &[u32], _: usize, _: &mut [f32]) {
        let width = states.len();
        let mut rows = panel.chunks_exact(8 * width);
        for group in &mut rows {
            let row = |i: usize| &group[i * width..(i + 1) * width];
            let rows: [&[u32]; 8] = std::array::from_fn(row);
            for (i, state) in states.iter_mut().enumerate() {
                *state += eight(|row| rows[row][i]);
            }
        }
        for row in rows.remainder().chunks_exact(width) {
            states.iter_mut().zip(row).for_each(|(state, &word)| *state += f64::from(float(word)));
        }
    }

    fn merge(a: f64, b: f64) -> f64 {
        a + b
    }

    fn finish(state: f64) -> [u32; 2] {
        [(state as f32).to_bits(), 0]
    }
}

/// Sums of integers, which wrap; signed and unsigned ones have the same bits.
pub(super) struct WrappingSum;

impl Fold for WrappingSum {
    type State = u32;
    const EMPTY: u32 = 0;

    fn row(values: &[u32], _: usize) -> u32 {
        values.iter().fold(0, |sum, &word| sum.wrapping_add(word))
    }

    fn columns(states: &mut [u32], panel: &[u32], _: usize, _: &mut [f32]) {
        for row in panel.chunks_exact(states.len()) {
            states.iter_mut().zip(row).for_each(|(state, &word)| *state = state.wrapping_add(word));
        }
    }

    fn merge(a: u32, b: u32) -> u32 {
        a.wrapping_add(b)
    }

    fn finish(state: u32) -> [u32; 2] {
        [state, 0]
    }
}

/// Products of floats, in f64.
pub(super) struct Product;

impl Fold for Product {
    type State = f64;
    const EMPTY: f64 = 1.0;

    fn row(values: &[u32], _: usize) -> f64 {
        let mut lanes = [Self::EMPTY; 8];
        let (chunks, rest) = values.as_chunks::<8>();
        for chunk in chunks {
            lanes.iter_mut().zip(chunk).for_each(|(lane, &word)| *lane *= f64::from(float(word)));
        }
        lanes.into_iter().chain(rest.iter().map(|&word| f64::from(float(word)))).product()
    }

    fn columns(states: &mut [f64], panel: &[u32], _: usize, _: &mut [f32]) {
        for row in panel.chunks_exact(states.len()) {
            states.iter_mut().zip(row).for_each(|(state, &word)| *state *= f64::from(float(word)));
        }
    }

    fn merge(a: f64, b: f64) -> f64 {
        a * b
    }

    fn finish(state: f64) -> [u32; 2] {
        [(state as f32).to_bits(), 0]
    }
}

/// The largest float, or NaN.
pub(super) struct Max;

impl Fold for Max {
    type State = f32;
    const EMPTY: f32 = f32::NEG_INFINITY;

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

    fn columns(states: &mut [f32], panel: &[u32], _: usize, _: &mut [f32]) {
        for row in panel.chunks_exact(states.len()) {
            states.iter_mut().zip(row).for_each(|(state, &word)| *state = Self::merge(*state, float(word)));
        }
    }

    #[inline(always)]
    fn merge(a: f32, b: f32) -> f32 {
        if b > a || b.is_nan() { b } else { a }
    }

    fn finish(state: f32) -> [u32; 2] {
        [state.to_bits(), 0]
    }
}

/// The position of the first largest float, or of the first NaN.
pub(super) struct ArgMax;

impl Fold for ArgMax {
    type State = (f32, u32);
    const EMPTY: (f32, u32) = (f32::NEG_INFINITY, u32::MAX);

    fn row(values: &[u32], position: usize) -> (f32, u32) {
        let later = values.iter().zip(position as u32..).map(|(&word, position)| (float(word), position));
        later.fold(Self::EMPTY, Self::merge)
    }

    fn columns(states: &mut [(f32, u32)], panel: &[u32], position: usize, _: &mut [f32]) {
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
    fn corrected(count: usize, mean: f32, deviations: f32, squares: f32) -> Self {
        let (count, mut shift) = (count as f64, f64::from(deviations) / count as f64);
        if !shift.is_finite() {
            shift = 0.0;
        }
        let squares = f64::from(squares) - count * shift * shift;
        Moment { count, mean: f64::from(mean) + shift, squares: if squares < 0.0 { 0.0 } else { squares } }
    }
}

impl Fold for Moments {
    type State = Moment;
    const EMPTY: Moment = Moment { count: 0.0, mean: 0.0, squares: 0.0 };
    const TEMPORARIES: usize = 3;

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

    fn columns(states: &mut [Moment], panel: &[u32], _: usize, temporaries: &mut [f32]) {
        let width = states.len();
        let rows = panel.len() / width;
        let (means, rest) = temporaries.split_at_mut(width);
        let (deviations, squares) = rest.split_at_mut(width);
        let squares = &mut squares[..width];
        means.fill(0.0);
        deviations.fill(0.0);
        squares.fill(0.0);
        for row in panel.chunks_exact(width) {
            means.iter_mut().zip(row).for_each(|(mean, &word)| *mean += float(word));
        }
        means.iter_mut().for_each(|mean| *mean /= rows as f32);
        for row in panel.chunks_exact(width) {
            for (((deviations, squares), mean), &word) in deviations.iter_mut().zip(&mut *squares).zip(&*means).zip(row)
            {
                let deviation = float(word) - mean;
                *deviations += deviation;
                *squares += deviation * deviation;
            }
        }
        for (i, state) in states.iter_mut().enumerate() {
            *state = Self::merge(*state, Moment::corrected(rows, means[i], deviations[i], squares[i]));
        }
    }

    fn merge(a: Moment, b: Moment) -> Moment {
        if a.count == 0.0 || b.count == 0.0 {
            return if a.count == 0.0 { b } else { a };
        }
        let count = a.count + b.count;
        let (share, delta) = (b.count / count, b.mean - a.mean);
        let squares = a.squares + b.squares + delta * delta * a.count * share;
        Moment { count, mean: a.mean + delta * share, squares }
    }

    fn finish(state: Moment) -> [u32; 2] {
        if state.count == 0.0 {
            return [f32::NAN.to_bits(); 2];
        }
        [(state.mean as f32).to_bits(), ((state.squares / state.count) as f32).to_bits()]
    }
}
