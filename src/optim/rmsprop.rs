//! RMSProp.

use super::{Optimizer, work};
use crate::tensor::{Gradients, Trace};

/// RMSProp (Hinton 2012, lecture 6; centered: Graves 2013, arXiv 1308.0850), by PyTorch's formula:
///
/// ```text
/// g ← g + weight_decay · p
/// v ← alpha · v + (1 - alpha) · g²,  a ← alpha · a + (1 - alpha) · g
/// d = g / (√(centered ? v - a² : v) + epsilon)
/// b ← momentum · b + d          (d itself without momentum)
/// p ← p - learning_rate · b
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// The learning rate.
    pub learning_rate: f64,
    /// Decay of the moving averages.
    pub alpha: f64,
    /// Keeps the divisor from zero.
    pub epsilon: f64,
    /// The share of the parameter that is added to its gradient.
    pub weight_decay: f64,
    /// The share of the last direction that is kept; 0 keeps no state.
    pub momentum: f64,
    /// Whether to divide by the deviation instead of the root of the mean square.
    pub centered: bool,
}

impl RmsProp {
    /// RMSProp with PyTorch's defaults.
    pub fn new(learning_rate: f64) -> Self {
        RmsProp { learning_rate, alpha: 0.99, epsilon: 1e-8, weight_decay: 0.0, momentum: 0.0, centered: false }
    }
}

impl Optimizer for RmsProp {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        let (scope, work) = work(trace, gradients, self.learning_rate, self.weight_decay);
        for work in work {
            let gradient = work.decayed_gradient();
            let square = work.companion(&scope, "square");
            let new_square = &square * self.alpha + gradient.square() * (1.0 - self.alpha);
            trace.update(&square, &new_square);
            let mut variance = new_square;
            if self.centered {
                let mean = work.companion(&scope, "mean");
                let new_mean = &mean * self.alpha + &gradient * (1.0 - self.alpha);
                trace.update(&mean, &new_mean);
                // Rounding may bring it below zero.
                variance = (variance - new_mean.square()).relu();
            }
            let mut direction = gradient / (variance.sqrt() + self.epsilon);
            if self.momentum != 0.0 {
                let buffer = work.companion(&scope, "momentum");
                direction = &buffer * self.momentum + direction;
                trace.update(&buffer, &direction);
            }
            trace.update(work.parameter, &(work.parameter - direction * &work.rate));
        }
    }
}
