//! Gradients of limited size.

use super::Optimizer;
use crate::dtype::DType;
use crate::tensor::{Gradients, Trace};

/// An optimizer that gets gradients whose norm, as of one vector, is at most `limit` (Pascanu et al. 2013,
/// arXiv 1211.5063), by PyTorch's `clip_grad_norm_`: `g ← g · min(1, limit / (‖all g‖ + 1e-6))`.
///
/// A gradient that is not finite makes all of them NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipNorm<O> {
    /// The optimizer.
    pub inner: O,
    /// The largest norm.
    pub limit: f64,
}

impl<O: Optimizer> Optimizer for ClipNorm<O> {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        trace.scope().enter("optimizer").resume();
        let squares = gradients.entries.iter().map(|(.., gradient)| gradient.square().sum_all());
        let Some(sum) = squares.reduce(|sum, square| sum + square) else { return };
        let factor = self.limit / (sum.sqrt() + 1e-6);
        let factor = factor.minimum(&trace.constant(1.0, DType::F32));
        self.inner.update(trace, &gradients.map(|_, gradient| gradient * &factor));
    }

    fn runs_per_step(&self) -> usize {
        self.inner.runs_per_step()
    }
}

/// An optimizer that gets gradients whose every element is limited to `-limit..=limit`; NaN stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipValue<O> {
    /// The optimizer.
    pub inner: O,
    /// The largest value.
    pub limit: f64,
}

impl<O: Optimizer> Optimizer for ClipValue<O> {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        trace.scope().enter("optimizer").resume();
        self.inner.update(trace, &gradients.map(|_, gradient| gradient.clamp(-self.limit, self.limit)));
    }

    fn runs_per_step(&self) -> usize {
        self.inner.runs_per_step()
    }
}
