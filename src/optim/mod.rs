//! Optimizers: update nodes for every parameter.
//!
//! An [`Optimizer`] reads gradients and emits, with tensors alone, the new value of each parameter and of the states that
//! accompany it. The states lie at the parameters' offsets in memory, so the scheduler makes one step of all updates. The
//! learning rate is a state too ([`LEARNING_RATE`]): a schedule sets it between runs, and no program changes.

mod adam;
mod loss_scale;
mod sgd;

pub use adam::Adam;
pub use loss_scale::{LOSS_SCALE, LossScale, SKIPPED_STEPS};
pub use sgd::Sgd;

use crate::dtype::DType;
use crate::tensor::{Gradients, Init, Scope, Tensor, Trace};

/// The name of the state that holds the learning rate.
pub const LEARNING_RATE: &str = "optimizer.learning_rate";

/// A rule that turns gradients into updates.
pub trait Optimizer: Send + Sync {
    /// Emits the updates of all parameters that have a gradient.
    fn update(&self, trace: &Trace, gradients: &Gradients);
}

/// The scope of an optimizer's states, and its learning rate.
fn scope_and_rate(trace: &Trace, initial: f64) -> (Scope, Tensor) {
    let scope = trace.scope().enter("optimizer");
    let rate = scope.state("learning_rate", &[], DType::F32, Init::Constant(initial));
    (scope, rate)
}
