//! Lion.

use super::{Optimizer, work};
use crate::tensor::{Gradients, Trace};

/// Lion (Chen et al. 2023, arXiv 2302.06675, program 2):
///
/// ```text
/// p ← p - learning_rate · (sign(beta1 · m + (1 - beta1) · g) + weight_decay · p)
/// m ← beta2 · m + (1 - beta2) · g
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lion {
    /// The learning rate; a third to a tenth of AdamW's.
    pub learning_rate: f64,
    /// The share of the moment in the direction, and the decay of the moment.
    pub betas: [f64; 2],
    /// Decoupled weight decay; three to ten times AdamW's.
    pub weight_decay: f64,
}

impl Lion {
    /// Lion with the paper's defaults.
    pub fn new(learning_rate: f64) -> Self {
        Lion { learning_rate, betas: [0.9, 0.99], weight_decay: 0.0 }
    }
}

impl Optimizer for Lion {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        let (scope, work) = work(trace, gradients, self.learning_rate, self.weight_decay);
        let [beta1, beta2] = self.betas;
        for work in work {
            let moment = work.companion(&scope, "moment");
            let direction = (&moment * beta1 + work.gradient * (1.0 - beta1)).sign();
            let base = work.decayed_parameter(&work.decay());
            trace.update(work.parameter, &(base - direction * &work.rate));
            trace.update(&moment, &(&moment * beta2 + work.gradient * (1.0 - beta2)));
        }
    }
}
