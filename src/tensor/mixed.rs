//! What mixed precision needs of a trace: the precision, and gradients of a scaled loss.

use super::{Gradients, Tensor, Trace, Traced};
use crate::autocast::autocast;
use crate::error::Result;
use crate::graph::Graph;

/// How a program stores the floats between its inputs and its results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// All as `f32`.
    #[default]
    F32,
    /// Activations and their gradients as `f16` where [`crate::autocast`] deems it safe. Parameters, optimizers, statistics and
    /// losses stay `f32`. Training needs [`crate::optim::LossScale`], and a GPU the feature `shader-f16`.
    Mixed,
}

impl Trace {
    /// Sets how floats are stored; tensors look the same in model code.
    pub fn set_precision(&self, precision: Precision) {
        self.lock().precision = precision;
    }

    /// As [`Trace::gradients`] of `loss`, by way of those of `loss · scale`: what `f16` would lose as too small is kept.
    #[track_caller]
    pub fn scaled_gradients(&self, loss: &Tensor, scale: &Tensor) -> Gradients {
        let mut gradients = self.gradients(&(loss * scale));
        let factor = 1.0 / scale;
        for (_, _, gradient) in &mut gradients.entries {
            *gradient = &*gradient * &factor;
        }
        let named = gradients.entries.iter().map(|(name, _, gradient)| (name.clone(), gradient.value()));
        self.lock().graph.gradients = named.collect();
        gradients
    }
}

impl Traced {
    /// The graph that is computed, in its precision.
    ///
    /// # Errors
    /// When an operation does not take what its precision gives it.
    pub fn lowered(&self) -> Result<Graph> {
        match self.precision {
            Precision::F32 => Ok(self.graph.clone()),
            Precision::Mixed => autocast(&self.graph),
        }
    }
}

impl Tensor {
    /// 1 where the element is a number and not infinite, else 0 (`u32`).
    #[track_caller]
    #[must_use]
    pub fn isfinite(&self) -> Tensor {
        self.unary("isfinite", &[])
    }
}
