//! LARS.

use super::{Optimizer, norm, trust, work};
use crate::tensor::{Gradients, Trace};

/// LARS (You, Gitman & Ginsburg 2017, arXiv 1708.03888, algorithm 1): gradient descent with momentum whose learning rate
/// follows each parameter's size, for large batches.
///
/// ```text
/// r = trust · ‖p‖ / (‖g‖ + weight_decay · ‖p‖)          (1 where a norm is 0)
/// b ← momentum · b + learning_rate · r · (g + weight_decay · p)
/// p ← p - b
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lars {
    /// The learning rate.
    pub learning_rate: f64,
    /// The share of the last step that is kept.
    pub momentum: f64,
    /// The share of the parameter that is added to its gradient.
    pub weight_decay: f64,
    /// How far a step goes, as a share of the parameter.
    pub trust: f64,
}

impl Lars {
    /// LARS with the paper's settings.
    pub fn new(learning_rate: f64) -> Self {
        Lars { learning_rate, momentum: 0.9, weight_decay: 5e-4, trust: 1e-3 }
    }
}

impl Optimizer for Lars {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        let (scope, work) = work(trace, gradients, self.learning_rate, self.weight_decay);
        for work in work {
            let (of_parameter, of_gradient) = (norm(work.parameter), norm(work.gradient));
            let ratio = &of_parameter * self.trust / (&of_gradient + &of_parameter * work.weight_decay);
            let rate = trust(&ratio, &of_parameter, &of_gradient) * &work.rate;
            let buffer = work.companion(&scope, "momentum");
            let step = &buffer * self.momentum + work.decayed_gradient() * rate;
            trace.update(&buffer, &step);
            trace.update(work.parameter, &(work.parameter - step));
        }
    }
}
