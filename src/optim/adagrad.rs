//! Adagrad.

use super::{Optimizer, advance, work};
use crate::dtype::DType;
use crate::tensor::{Gradients, Init, Trace};

/// Adagrad (Duchi et al. 2011), by PyTorch's formula:
///
/// ```text
/// g ← g + weight_decay · p
/// s ← s + g²                    (s starts at initial_accumulator)
/// p ← p - learning_rate / (1 + (t - 1) · rate_decay) · g / (√s + epsilon)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adagrad {
    /// The learning rate.
    pub learning_rate: f64,
    /// How fast the learning rate falls.
    pub rate_decay: f64,
    /// The share of the parameter that is added to its gradient.
    pub weight_decay: f64,
    /// The sum of squares at first.
    pub initial_accumulator: f64,
    /// Keeps the divisor from zero.
    pub epsilon: f64,
}

impl Adagrad {
    /// Adagrad with PyTorch's defaults.
    pub fn new(learning_rate: f64) -> Self {
        Adagrad { learning_rate, rate_decay: 0.0, weight_decay: 0.0, initial_accumulator: 0.0, epsilon: 1e-10 }
    }
}

impl Optimizer for Adagrad {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        let (scope, work) = work(trace, gradients, self.learning_rate, self.weight_decay);
        // 1 + (t - 1) · rate_decay.
        let slowdown = (self.rate_decay != 0.0).then(|| {
            let before = scope.shared_state("slowdown", &[], DType::F32, Init::Constant(1.0 - self.rate_decay));
            advance(&before, &(&before + self.rate_decay))
        });
        for work in work {
            let gradient = work.decayed_gradient();
            let shape = work.parameter.shape();
            let sum = scope.companion_of("sum", work.name, shape, self.initial_accumulator);
            let new_sum = &sum + gradient.square();
            trace.update(&sum, &new_sum);
            let rate = slowdown.as_ref().map_or_else(|| work.rate.clone(), |slowdown| &work.rate / slowdown);
            let direction = gradient / (new_sum.sqrt() + self.epsilon);
            trace.update(work.parameter, &(work.parameter - direction * rate));
        }
    }
}
