//! Convolutions of one channel a group and one result a channel: loops over vectors of channels, whose sums stay in registers.
//!
//! Forward, and for the gradient of the input, the sums are over the taps of one place ([`Places`]); for the gradient of
//! the weights over the places of one line ([`Taps`]). Weights lie tap by tap, with channels side by side as in an image.
//! [`super::depthwise`] cuts the work and puts the parts together.

use std::ops::Range;

use super::operand::Gathered;
use crate::vector::{Kernel, Lanes};

/// Taps that are summed at once; further ones are added to their sums.
const TAPS: usize = 32;

/// Some places' sums of taps times weights.
pub(super) struct Places<'a> {
    pub gathered: &'a Gathered,
    pub words: &'a [f32],
    pub weights: &'a [f32],
    pub channels: usize,
    pub rows: Range<usize>,
    pub out: &'a mut [f32],
}

impl Kernel for Places<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Places { gathered, words, weights, channels, rows, out } = self;
        let all = Factors { words, weights, channels };
        let mut taps = [(0, 0); TAPS];
        let mut place = gathered.place(rows.start);
        let mut rest = out;
        while !rest.is_empty() {
            let (mut count, mut more) = (0, false);
            gathered.taps_at(&place, |tap, element| {
                if count == TAPS {
                    // SAFETY of all sums: by the caller.
                    unsafe { all.sum::<L>(&taps, 0, more, &mut rest[..channels]) };
                    (count, more) = (0, true);
                }
                taps[count] = (tap * channels, element);
                count += 1;
            });
            // The places behind it whose taps are the same ones, equally far apart.
            let (mut run, mut step) = (1, 0);
            gathered.advance(&mut place);
            while !more && place[2] > 0 && run * channels < rest.len() {
                match gathered.step(&place) {
                    Some(here) if run == 1 || here == step => (run, step) = (run + 1, here),
                    _ => break,
                }
                gathered.advance(&mut place);
            }
            let (out, after) = std::mem::take(&mut rest).split_at_mut(run * channels);
            unsafe { all.sum::<L>(&taps[..count], step, more, out) };
            rest = after;
        }
    }
}

/// What is multiplied.
#[derive(Clone, Copy)]
struct Factors<'a> {
    words: &'a [f32],
    weights: &'a [f32],
    channels: usize,
}

/// Where the weights and the words of a tap begin.
type Tap = (usize, usize);

impl Factors<'_> {
    /// `out` = the sums over `taps` for as many places as it holds, whose words are `step` apart; or `out` plus that.
    #[inline(always)]
    unsafe fn sum<L: Lanes>(self, taps: &[Tap], step: usize, accumulate: bool, out: &mut [f32]) {
        let mut places = out.chunks_exact_mut(4 * self.channels);
        let mut shift = 0;
        // SAFETY: by the caller.
        unsafe {
            for out in &mut places {
                self.sum_places::<L, 4>(taps, [shift, step], accumulate, out);
                shift += 4 * step;
            }
            for out in places.into_remainder().chunks_exact_mut(self.channels) {
                self.sum_places::<L, 1>(taps, [shift, step], accumulate, out);
                shift += step;
            }
        }
    }

    #[inline(always)]
    unsafe fn sum_places<L: Lanes, const P: usize>(
        self,
        taps: &[Tap],
        shifts: [usize; 2],
        accumulate: bool,
        out: &mut [f32],
    ) {
        // SAFETY: by the caller.
        unsafe {
            let first = self.sum_vectors::<L, 2, P>(taps, shifts, 0, accumulate, out);
            let first = self.sum_vectors::<L, 1, P>(taps, shifts, first, accumulate, out);
            self.sum_vectors::<f32, 1, P>(taps, shifts, first, accumulate, out);
        }
    }

    /// Sums for `P` places over the next `V` vectors of channels from `first` on, as often as there are; gives the first
    /// channel that is left.
    #[inline(always)]
    unsafe fn sum_vectors<L: Lanes, const V: usize, const P: usize>(
        self,
        taps: &[Tap],
        [shift, step]: [usize; 2],
        mut first: usize,
        accumulate: bool,
        out: &mut [f32],
    ) -> usize {
        let columns = V * L::COUNT;
        // From the first element of the first place to behind the last of the last one.
        let reach = (P - 1) * step + columns;
        while first + columns <= self.channels {
            let out = out[first..(P - 1) * self.channels + first + columns].as_mut_ptr();
            // SAFETY: by the caller; vectors lie in slices of `columns` or `reach`, or in that of `out`.
            unsafe {
                let out = |p: usize, v: usize| out.add(p * self.channels + v * L::COUNT);
                let mut sums = [[L::zero(); V]; P];
                if accumulate {
                    for (p, sums) in sums.iter_mut().enumerate() {
                        sums.iter_mut().enumerate().for_each(|(v, sum)| *sum = L::load(out(p, v)));
                    }
                }
                for &(weight, element) in taps {
                    let words = self.words[element + shift + first..][..reach].as_ptr();
                    let weights = self.weights[weight + first..][..columns].as_ptr();
                    let weights: [L; V] = std::array::from_fn(|v| L::load(weights.add(v * L::COUNT)));
                    for (p, sums) in sums.iter_mut().enumerate() {
                        for (v, (sum, weight)) in sums.iter_mut().zip(weights).enumerate() {
                            *sum = sum.plus_product(L::load(words.add(p * step + v * L::COUNT)), weight);
                        }
                    }
                }
                for (p, sums) in sums.into_iter().enumerate() {
                    sums.into_iter().enumerate().for_each(|(v, sum)| sum.store(out(p, v)));
                }
            }
            first += columns;
        }
        first
    }
}

/// The sums of all taps over some places of words times the gradient there.
pub(super) struct Taps<'a> {
    pub gathered: &'a Gathered,
    pub words: &'a [f32],
    pub gradient: &'a [f32],
    /// From place to place of the gradient.
    pub step: usize,
    pub channels: usize,
    pub rows: Range<usize>,
    pub sums: &'a mut [f32],
}

impl Kernel for Taps<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Taps { gathered, words, gradient, step, channels, rows, sums } = self;
        sums.fill(0.0);
        let mut row = rows.start;
        while row < rows.end {
            let [n, i, first] = gathered.place(row);
            let count = gathered.across_places().min(first + rows.end - row) - first;
            gathered.runs(n, i, first..first + count, |tap, j, element, stride, length| {
                let gradient = &gradient[(row + j - first) * step..];
                let sums = &mut sums[tap * channels..][..channels];
                let pair = Pair { x: &words[element..], x_stride: stride, y: gradient, y_stride: step, length };
                // SAFETY: by the caller.
                unsafe { pair.add::<L>(sums) };
            });
            row += count;
        }
    }
}

/// Two lines of as many places, so far apart.
#[derive(Clone, Copy)]
struct Pair<'a> {
    x: &'a [f32],
    x_stride: usize,
    y: &'a [f32],
    y_stride: usize,
    length: usize,
}

impl Pair<'_> {
    /// `sums` += the sum of products, of all channels.
    #[inline(always)]
    unsafe fn add<L: Lanes>(self, sums: &mut [f32]) {
        // SAFETY: by the caller.
        unsafe {
            let first = self.add_vectors::<L, 4>(0, sums);
            let first = self.add_vectors::<L, 2>(first, sums);
            let first = self.add_vectors::<L, 1>(first, sums);
            self.add_vectors::<f32, 1>(first, sums);
        }
    }

    /// Of the next `V` vectors of channels from `first` on, as often as there are; gives the first that is left.
    #[inline(always)]
    unsafe fn add_vectors<L: Lanes, const V: usize>(self, mut first: usize, sums: &mut [f32]) -> usize {
        let Pair { x, x_stride, y, y_stride, length } = self;
        let (channels, columns) = (sums.len(), V * L::COUNT);
        let last = length.saturating_sub(1);
        while first + columns <= channels {
            // All that is read: `columns` at the last place.
            let (x, y) = (&x[first..last * x_stride + first + columns], &y[first..last * y_stride + first + columns]);
            // SAFETY: by the caller; vectors lie in those slices.
            unsafe {
                let (mut x, mut y) = (x.as_ptr(), y.as_ptr());
                let out = sums[first..first + columns].as_mut_ptr();
                // Two places side by side, since one sum would wait for itself.
                let (mut even, mut odd) = ([L::zero(); V], [L::zero(); V]);
                let mut add = |sums: &mut [L; V]| {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        let at = v * L::COUNT;
                        *sum = sum.plus_product(L::load(x.add(at)), L::load(y.add(at)));
                    }
                    (x, y) = (x.wrapping_add(x_stride), y.wrapping_add(y_stride));
                };
                for _ in 0..length / 2 {
                    add(&mut even);
                    add(&mut odd);
                }
                if length % 2 == 1 {
                    add(&mut even);
                }
                for (v, (even, odd)) in even.into_iter().zip(odd).enumerate() {
                    let out = out.add(v * L::COUNT);
                    L::load(out).plus(even.plus(odd)).store(out);
                }
            }
            first += columns;
        }
        first
    }
}
