//! Softmax cross-entropy of some rows in `f32`, by the vectors of the machine: the CPU device's form.
//!
//! It computes what the reference does, in passes over the gradient's memory: differences to the largest logit, their
//! exponentials over all rows at once, and then row by row the sum, the loss and the gradient. Sums go in 16 lanes whatever
//! the width of vectors, so every machine gives the same bits.

use crate::graph::{ByRows, TensorType};
use crate::ops::elementwise::series::{exp, ln};
use crate::vector::{Kernel, Lanes, widest};

use super::SoftmaxCrossEntropy;

/// Partial sums of a row.
const LANES: usize = 16;

impl ByRows for SoftmaxCrossEntropy {
    fn rows(&self, inputs: &[TensorType]) -> usize {
        inputs[0].shape[0]
    }

    fn compute(&self, inputs: &[&[u32]], outputs: &mut [&mut [u32]]) {
        if let ([logits, labels], [losses, gradients]) = (inputs, outputs) {
            let logits = bytemuck::cast_slice(logits);
            let (losses, gradients) = (bytemuck::cast_slice_mut(losses), bytemuck::cast_slice_mut(gradients));
            widest(Rows { logits, labels, losses, gradients, smoothing: self.label_smoothing as f32 });
        }
    }
}

struct Rows<'a> {
    logits: &'a [f32],
    labels: &'a [u32],
    losses: &'a mut [f32],
    gradients: &'a mut [f32],
    smoothing: f32,
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let classes = (self.gradients.len() / self.losses.len().max(1)).max(1);
        let rows = self.logits.chunks_exact(classes);
        for (row, differences) in rows.clone().zip(self.gradients.chunks_exact_mut(classes)) {
            let largest = largest(row);
            differences.iter_mut().zip(row).for_each(|(difference, &z)| *difference = z - largest);
        }
        self.gradients.iter_mut().for_each(|value| *value = exp(*value));
        let share = self.smoothing / classes as f32;
        let results = self.losses.iter_mut().zip(self.gradients.chunks_exact_mut(classes));
        for ((row, &label), (loss, gradient)) in rows.zip(self.labels).zip(results) {
            let (label, largest, total) = (label as usize, largest(row), sum(gradient, |e| e));
            if label >= classes || largest.is_nan() {
                *loss = f32::NAN;
                gradient.fill(f32::NAN);
                continue;
            }
            *loss = ln(total) - (1.0 - self.smoothing) * (row[label] - largest);
            // Without smoothing, a class ruled out by a logit of minus infinity does not matter.
            if self.smoothing > 0.0 {
                *loss -= share * sum(row, |z| z - largest);
            }
            let of_label = gradient[label] / total - (share + (1.0 - self.smoothing));
            gradient.iter_mut().for_each(|value| *value = *value / total - share);
            gradient[label] = of_label;
        }
    }
}

/// The largest number, NaN if there is one.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a || b.is_nan() { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, x);
        }
    }
    lanes.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, larger)
}

/// The sum of a function of the numbers.
#[inline(always)]
fn sum(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += of(x);
        }
    }
    lanes.into_iter().chain(rest.iter().map(|&x| of(x))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::Width;

    /// Rows of 20 and 3 classes, a row with NaN, a label that is none.
    #[test]
    fn every_width_gives_the_bits_of_the_narrowest() {
        for classes in [3, 20] {
            let mut logits: Vec<f32> = (0..5 * classes).map(|i| ((i * 37) % 23) as f32 / 5.0 - 2.0).collect();
            logits[classes] = f32::NAN;
            let labels = [0, 1, 2, 77, 2];
            let of = |width: Width| {
                let (mut losses, mut gradients) = (vec![0.0; 5], vec![0.0; 5 * classes]);
                let (losses_, gradients_) = (&mut losses[..], &mut gradients[..]);
                width.run(Rows {
                    logits: &logits,
                    labels: &labels,
                    losses: losses_,
                    gradients: gradients_,
                    smoothing: 0.1,
                });
                losses.iter().chain(&gradients).map(|x| x.to_bits()).collect::<Vec<u32>>()
            };
            let narrowest = of(Width::Four);
            assert_eq!(narrowest.iter().filter(|&&bits| f32::from_bits(bits).is_nan()).count(), 2 + 2 * classes);
            Width::all().for_each(|width| assert_eq!(of(width), narrowest, "{width:?}"));
        }
    }
}
