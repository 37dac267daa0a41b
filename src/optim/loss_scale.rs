//! Loss scaling: gradients in `f16` without losing what is small.
//!
//! The gradients of a mixed-precision program are mostly below 1, many below 2⁻²⁴, where `f16` ends. So the loss is
//! multiplied by a large number before they are taken, and they are divided by it afterwards, in `f32`. Where one of them
//! then is not finite the scale was too large: the step is skipped, parameters and all states of the optimizer keep their
//! bits, and the scale falls. After many good steps it grows again. The rules and numbers are those of PyTorch's
//! `GradScaler`; all of it is part of the program, and nothing waits for the host.
//!
//! Unlike PyTorch's, a skipped step keeps the running statistics of batch norm too: those of a forward pass that was not
//! finite would never recover.
//!
//! Source: Micikevicius et al., "Mixed precision training", 2018.

use super::Optimizer;
use crate::dtype::DType;
use crate::tensor::{Gradients, Init, Tensor, Trace};

/// The name of the state that holds the scale.
pub const LOSS_SCALE: &str = "optimizer.loss_scale.scale";

/// The name of the state that counts the steps that were skipped.
pub const SKIPPED_STEPS: &str = "optimizer.loss_scale.skipped_steps";

/// Between these the scale and its reciprocal are exact, and no loss needs more.
const RANGE: [f64; 2] = [1.0 / (1u64 << 32) as f64, (1u64 << 63) as f64];

/// Dynamic loss scaling, around any [`Optimizer`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// The first scale; like the factors best a power of two, which rounds nothing.
    pub initial: f64,
    /// What the scale is multiplied by after `growth_interval` good steps.
    pub growth_factor: f64,
    /// What the scale is multiplied by after a step that was skipped.
    pub backoff_factor: f64,
    /// How many good steps in a row let the scale grow.
    pub growth_interval: u32,
}

impl Default for LossScale {
    /// PyTorch's: 2¹⁶, doubled after 2,000 good steps, halved after a bad one.
    fn default() -> Self {
        LossScale { initial: 65536.0, growth_factor: 2.0, backoff_factor: 0.5, growth_interval: 2000 }
    }
}

impl LossScale {
    /// Emits the updates that `optimizer` makes of the gradients of `loss`, for runs in which all gradients are finite. The
    /// optimizer, and what it wraps (clipping, accumulation, groups, averages), sees gradients without the scale; a run that
    /// is skipped does not count for [`super::Accumulate`] and [`super::Averaged`]. Updates of floats that were made before,
    /// such as running statistics, are skipped along with the step.
    #[track_caller]
    pub fn minimize(&self, trace: &Trace, loss: &Tensor, optimizer: &dyn Optimizer) {
        let scope = trace.scope().enter("optimizer").enter("loss_scale");
        let scale = scope.state("scale", &[], DType::F32, Init::Constant(self.initial));
        let good = scope.state("good_steps", &[], DType::U32, Init::Constant(0.0));
        let skipped = scope.state("skipped_steps", &[], DType::U32, Init::Constant(0.0));
        let gradients = trace.scaled_gradients(loss, &scale);
        scope.resume();
        let finite = all_finite(trace, &gradients);
        trace.all_updates_when(&finite, || optimizer.update(trace, &gradients));
        scope.resume();

        let one = trace.constant(1.0, DType::U32);
        let more = &good + &one;
        let grows = more.equal(&trace.constant(f64::from(self.growth_interval), DType::U32));
        let after_good = grows.select(&(&scale * self.growth_factor), &scale);
        let next = finite.select(&after_good, &(&scale * self.backoff_factor));
        trace.update(&scale, &next.clamp(RANGE[0], RANGE[1]));
        trace.update(&good, &(more * (&one - grows) * &finite));
        trace.update(&skipped, &(&skipped + (&one - &finite)));
        trace.scope().resume();
    }
}

/// 1 if every element of every gradient is finite, else 0: without axes.
fn all_finite(trace: &Trace, gradients: &Gradients) -> Tensor {
    let elements = gradients.entries.iter().map(|(_, _, gradient)| gradient.shape().iter().product::<usize>());
    // Counts wrap, all alike.
    let elements = trace.constant(f64::from(elements.fold(0u32, |sum, n| sum.wrapping_add(n as u32))), DType::U32);
    let counts = gradients.entries.iter().map(|(_, _, gradient)| gradient.isfinite().sum_all());
    let count = counts.reduce(|total, count| total + count);
    count.unwrap_or_else(|| trace.constant(0.0, DType::U32)).equal(&elements)
}
