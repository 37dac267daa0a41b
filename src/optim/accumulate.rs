//! Steps with the gradients of several runs.

use super::{Optimizer, advance};
use crate::dtype::DType;
use crate::tensor::{Gradients, Init, Trace};

/// An optimizer that takes a step with the mean gradient of every `runs` runs: for a loss that is a mean over the batch,
/// the step of a batch `runs` times as large, in the memory of a small one.
///
/// ```text
/// s ← s + g;  at every runs-th run: a step with s / runs, then s ← 0
/// ```
///
/// The other runs change neither parameters nor what else the optimizer updates. Batch norm still sees small batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accumulate<O> {
    /// The optimizer.
    pub inner: O,
    /// The number of runs.
    pub runs: usize,
}

impl<O: Optimizer> Optimizer for Accumulate<O> {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        let scope = trace.scope().enter("optimizer");
        let number = |value: usize| trace.constant(value as f64, DType::U32);
        // The runs that are summed up, with this one: 1, …, runs, 1, …
        let before = scope.shared_state("accumulated_runs", &[], DType::U32, Init::Constant(0.0));
        let count = advance(&before, &(&before * before.less(&number(self.runs)) + number(1)));
        let complete = count.greater_equal(&number(self.runs));

        let sums: Vec<_> = gradients
            .entries
            .iter()
            .map(|(name, parameter, gradient)| {
                let sum = scope.companion("accumulated", name, parameter.shape());
                let new_sum = &sum + gradient;
                (sum, new_sum)
            })
            .collect();
        let mut new_sums = sums.iter().map(|(_, new_sum)| new_sum);
        let mean = gradients.map(|_, gradient| match new_sums.next() {
            Some(sum) => sum * (1.0 / self.runs.max(1) as f64),
            None => gradient.clone(),
        });
        trace.updates_when(&complete, || self.inner.update(trace, &mean));
        let zero = trace.constant(0.0, DType::F32);
        for (sum, new_sum) in &sums {
            trace.update(sum, &complete.select(&zero, new_sum));
        }
    }

    fn runs_per_step(&self) -> usize {
        self.runs.max(1) * self.inner.runs_per_step()
    }
}
