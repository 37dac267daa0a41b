//! Adam and AdamW.

use super::{Optimizer, correction, side_by_side, work};
use crate::tensor::{Gradients, Trace};

/// Adam (Kingma & Ba 2015, arXiv 1412.6980), or AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) where the weight decay
/// is decoupled, or AMSGrad (Reddi et al. 2018), by PyTorch's formulas:
///
/// ```text
/// Adam: g ← g + weight_decay · p        AdamW: p ← p - learning_rate · weight_decay · p
/// m ← beta1 · m + (1 - beta1) · g,  v ← beta2 · v + (1 - beta2) · g²,  w ← amsgrad ? max(w, v) : v
/// p ← p - learning_rate · (m / (1 - beta1^t)) / (√(w / (1 - beta2^t)) + epsilon)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// The learning rate.
    pub learning_rate: f64,
    /// Decay of the two moments.
    pub betas: [f64; 2],
    /// Keeps the divisor from zero.
    pub epsilon: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether the weight decay bypasses the moments (AdamW).
    pub decoupled: bool,
    /// Whether the largest second moment so far is the divisor.
    pub amsgrad: bool,
}

impl Adam {
    /// Adam with PyTorch's defaults.
    pub fn new(learning_rate: f64) -> Self {
        Adam { learning_rate, betas: [0.9, 0.999], epsilon: 1e-8, weight_decay: 0.0, decoupled: false, amsgrad: false }
    }

    /// AdamW with PyTorch's defaults and this weight decay.
    pub fn decoupled(learning_rate: f64, weight_decay: f64) -> Self {
        Adam { weight_decay, decoupled: true, ..Adam::new(learning_rate) }
    }
}

impl Optimizer for Adam {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        let (scope, work) = work(trace, gradients, self.learning_rate, self.weight_decay);
        let [beta1, beta2] = self.betas;
        let correction1 = correction(&scope, "correction1", beta1);
        let correction2 = correction(&scope, "correction2", beta2);
        for work in work {
            // p moves by rate/c1 · m / (√w/√c2 + epsilon).
            let [step, scale, decay] =
                side_by_side([&work.rate / &correction1, 1.0 / correction2.sqrt(), work.decay()]);
            let gradient = if self.decoupled { work.gradient.clone() } else { work.decayed_gradient() };
            let base = if self.decoupled { work.decayed_parameter(&decay) } else { work.parameter.clone() };
            let first = work.companion(&scope, "moment1");
            let second = work.companion(&scope, "moment2");
            let new_first = &first * beta1 + &gradient * (1.0 - beta1);
            let new_second = &second * beta2 + gradient.square() * (1.0 - beta2);
            trace.update(&first, &new_first);
            trace.update(&second, &new_second);
            let mut largest = new_second;
            if self.amsgrad {
                let before = work.companion(&scope, "largest");
                largest = before.maximum(&largest);
                trace.update(&before, &largest);
            }
            let divisor = largest.sqrt() * scale + self.epsilon;
            trace.update(work.parameter, &(base - new_first / divisor * step));
        }
    }
}
