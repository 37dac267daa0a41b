//! Adam and AdamW.

use super::{Optimizer, scope_and_rate};
use crate::dtype::DType;
use crate::tensor::{Gradients, Init, Tensor, Trace};

/// Adam (Kingma & Ba 2015, arXiv 1412.6980), or AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) where the weight decay
/// is decoupled, by PyTorch's formulas:
///
/// ```text
/// Adam: g ← g + weight_decay · p        AdamW: p ← p - learning_rate · weight_decay · p
/// m ← beta1 · m + (1 - beta1) · g,  v ← beta2 · v + (1 - beta2) · g²
/// p ← p - learning_rate · (m / (1 - beta1^t)) / (√(v / (1 - beta2^t)) + epsilon)
/// ```
///
/// The corrections `c = 1 - beta^t` are kept as states, by `c ← beta · c + (1 - beta)`: a power in `f32` would cancel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// The first learning rate.
    pub learning_rate: f64,
    /// Decay of the two moments.
    pub betas: [f64; 2],
    /// Keeps the divisor from zero.
    pub epsilon: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether the weight decay bypasses the moments (AdamW).
    pub decoupled: bool,
}

impl Adam {
    /// Adam with PyTorch's defaults.
    pub fn new(learning_rate: f64) -> Self {
        Adam { learning_rate, betas: [0.9, 0.999], epsilon: 1e-8, weight_decay: 0.0, decoupled: false }
    }

    /// AdamW with PyTorch's defaults and this weight decay.
    pub fn decoupled(learning_rate: f64, weight_decay: f64) -> Self {
        Adam { weight_decay, decoupled: true, ..Adam::new(learning_rate) }
    }
}

impl Optimizer for Adam {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        let (scope, rate) = scope_and_rate(trace, self.learning_rate);
        let correction = |name: &str, beta: f64| -> Tensor {
            let old = scope.state(name, &[], DType::F32, Init::Constant(0.0));
            let new = &old * beta + (1.0 - beta);
            trace.update(&old, &new);
            new
        };
        let [beta1, beta2] = self.betas;
        // p moves by rate/c1 · m / (√v/√c2 + epsilon).
        let step = &rate / correction("correction1", beta1);
        let scale = 1.0 / correction("correction2", beta2).sqrt();
        let decay = &rate * self.weight_decay;
        for (name, parameter, gradient) in &gradients.entries {
            let mut gradient = gradient.clone();
            let mut base = parameter.clone();
            if self.weight_decay != 0.0 {
                if self.decoupled {
                    // Not p · (1 - decay), which would round the same way at every step.
                    base = parameter - parameter * &decay;
                } else {
                    gradient = gradient + parameter * self.weight_decay;
                }
            }
            let first = scope.companion("moment1", name, parameter.shape());
            let second = scope.companion("moment2", name, parameter.shape());
            let new_first = &first * beta1 + &gradient * (1.0 - beta1);
            let new_second = &second * beta2 + gradient.square() * (1.0 - beta2);
            let divisor = new_second.sqrt() * &scale + self.epsilon;
            trace.update(&first, &new_first);
            trace.update(&second, &new_second);
            trace.update(parameter, &(base - &new_first / divisor * &step));
        }
    }
}
