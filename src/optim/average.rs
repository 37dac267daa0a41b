//! Averages of parameters over the steps of their training.

use std::collections::HashSet;

use super::{Optimizer, advance};
use crate::dtype::DType;
use crate::tensor::{AVERAGE, AVERAGE_STEPS, Gradients, Init, Trace};

/// An optimizer that keeps an exponential moving average of the parameters after its steps (Polyak & Juditsky 1992), by
/// the formula of PyTorch's `get_ema_multi_avg_fn`:
///
/// ```text
/// a ← p                                        at the first step
/// a ← a + (1 - decay) · (p - a)                later
/// ```
///
/// The averages are states of the model, `average/…`, and go to files with its weights. A program that calls
/// [`Trace::use_averages`] before it traces the model computes with them; a [`crate::train::Trainer`] evaluates and predicts
/// so. Running statistics of batch norm are those of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Averaged<O> {
    /// The optimizer.
    pub inner: O,
    /// The share of the old average in the new one, such as 0.999.
    pub decay: f64,
}

impl<O: Optimizer> Optimizer for Averaged<O> {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        self.inner.update(trace, gradients);
        let root = trace.scope();
        let before = root.shared_state(AVERAGE_STEPS, &[], DType::U32, Init::Constant(0.0));
        let one = trace.constant(1.0, DType::U32);
        let steps = advance(&before, &(&before + &one));
        // All of the parameter at the first step, so that the average starts as the parameter, not as 0.
        let [whole, part] = [1.0, 1.0 - self.decay].map(|share| trace.constant(share, DType::F32));
        let share = steps.equal(&one).select(&whole, &part);
        // Frozen parameters too: a program that computes with averages reads nothing else.
        let trained: HashSet<&str> = gradients.entries.iter().map(|(name, ..)| name.as_str()).collect();
        let all = trace.parameters();
        let frozen = all.iter().filter(|(name, _)| !trained.contains(name.as_str())).map(|(name, p)| (name, p));
        for (name, parameter) in frozen.chain(gradients.entries.iter().map(|(name, p, _)| (name, p))) {
            let average = root.companion(AVERAGE, name, parameter.shape());
            let new = &average + (trace.updated(parameter) - &average) * &share;
            trace.update(&average, &new);
        }
    }

    fn runs_per_step(&self) -> usize {
        self.inner.runs_per_step()
    }
}
