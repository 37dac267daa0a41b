//! Stochastic gradient descent.

use super::{Optimizer, work};
use crate::tensor::{Gradients, Trace};

/// Stochastic gradient descent with momentum, by PyTorch's formula:
///
/// ```text
/// g ← g + weight_decay · p
/// b ← momentum · b + g          (b starts at 0)
/// p ← p - learning_rate · (nesterov ? g + momentum · b : b)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// The learning rate.
    pub learning_rate: f64,
    /// The share of the last direction that is kept; 0 keeps no state.
    pub momentum: f64,
    /// Whether to look ahead (Sutskever et al. 2013).
    pub nesterov: bool,
    /// The share of the parameter that is added to its gradient.
    pub weight_decay: f64,
}

impl Sgd {
    /// Plain gradient descent.
    pub fn new(learning_rate: f64) -> Self {
        Sgd { learning_rate, momentum: 0.0, nesterov: false, weight_decay: 0.0 }
    }

    /// Sets the momentum.
    #[must_use]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }
}

impl Optimizer for Sgd {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        let (scope, work) = work(trace, gradients, self.learning_rate, self.weight_decay);
        for work in work {
            let mut direction = work.decayed_gradient();
            if self.momentum != 0.0 {
                let buffer = work.companion(&scope, "momentum");
                let new_buffer = &buffer * self.momentum + &direction;
                trace.update(&buffer, &new_buffer);
                direction = if self.nesterov { direction + &new_buffer * self.momentum } else { new_buffer };
            }
            trace.update(work.parameter, &(work.parameter - direction * &work.rate));
        }
    }
}
