//! LAMB.

use super::{Optimizer, correction, norm, side_by_side, trust, work};
use crate::tensor::{Gradients, Trace};

/// LAMB (You et al. 2020, arXiv 1904.00962, algorithm 2, with φ the identity): AdamW whose step in each parameter is as
/// long as the parameter, for large batches.
///
/// ```text
/// m ← beta1 · m + (1 - beta1) · g,  v ← beta2 · v + (1 - beta2) · g²
/// u = (m / (1 - beta1^t)) / (√(v / (1 - beta2^t)) + epsilon) + weight_decay · p
/// p ← p - learning_rate · ‖p‖ / ‖u‖ · u          (without the factor where a norm is 0)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lamb {
    /// The learning rate.
    pub learning_rate: f64,
    /// Decay of the two moments.
    pub betas: [f64; 2],
    /// Keeps the divisor from zero.
    pub epsilon: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

impl Lamb {
    /// LAMB with the paper's settings.
    pub fn new(learning_rate: f64) -> Self {
        Lamb { learning_rate, betas: [0.9, 0.999], epsilon: 1e-6, weight_decay: 0.01 }
    }
}

impl Optimizer for Lamb {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        let (scope, work) = work(trace, gradients, self.learning_rate, self.weight_decay);
        let [beta1, beta2] = self.betas;
        let correction1 = correction(&scope, "correction1", beta1);
        let correction2 = correction(&scope, "correction2", beta2);
        let [unbias, scale] = side_by_side([1.0 / correction1, 1.0 / correction2.sqrt()]);
        // All moments first, so that they are one step.
        let moments: Vec<_> = work
            .iter()
            .map(|work| {
                let first = work.companion(&scope, "moment1");
                let second = work.companion(&scope, "moment2");
                let new_first = &first * beta1 + work.gradient * (1.0 - beta1);
                let new_second = &second * beta2 + work.gradient.square() * (1.0 - beta2);
                trace.update(&first, &new_first);
                trace.update(&second, &new_second);
                [new_first, new_second]
            })
            .collect();
        for (work, [first, second]) in work.iter().zip(moments) {
            let mut direction = first * &unbias / (second.sqrt() * &scale + self.epsilon);
            if work.weight_decay != 0.0 {
                direction = direction + work.parameter * work.weight_decay;
            }
            let (of_parameter, of_direction) = (norm(work.parameter), norm(&direction));
            let trust = trust(&(&of_parameter / &of_direction), &of_parameter, &of_direction);
            trace.update(work.parameter, &(work.parameter - direction * (trust * &work.rate)));
        }
    }
}
