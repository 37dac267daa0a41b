//! NAdam.

use super::{Optimizer, advance, correction, side_by_side, work};
use crate::dtype::DType;
use crate::tensor::{Gradients, Init, Trace};

/// Adam with Nesterov momentum (Dozat 2016), by PyTorch's formula:
///
/// ```text
/// g ← g + weight_decay · p        decoupled: p ← p - learning_rate · weight_decay · p
/// m ← beta1 · m + (1 - beta1) · g,  v ← beta2 · v + (1 - beta2) · g²
/// u(t) = beta1 · (1 - ½ · 0.96^(t · momentum_decay)),  U ← U · u(t)        (U starts at 1)
/// n = (1 - u(t)) / (1 - U) · g + u(t + 1) / (1 - U · u(t + 1)) · m
/// p ← p - learning_rate · n / (√(v / (1 - beta2^t)) + epsilon)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NAdam {
    /// The learning rate.
    pub learning_rate: f64,
    /// Decay of the two moments.
    pub betas: [f64; 2],
    /// Keeps the divisor from zero.
    pub epsilon: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether the weight decay bypasses the moments.
    pub decoupled: bool,
    /// How fast the momentum rises to `beta1`.
    pub momentum_decay: f64,
}

impl NAdam {
    /// NAdam with PyTorch's defaults.
    pub fn new(learning_rate: f64) -> Self {
        NAdam {
            learning_rate,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            momentum_decay: 4e-3,
        }
    }
}

impl Optimizer for NAdam {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        let (scope, work) = work(trace, gradients, self.learning_rate, self.weight_decay);
        let [beta1, beta2] = self.betas;
        let correction2 = correction(&scope, "correction2", beta2);
        let fall = 0.96f64.powf(self.momentum_decay);
        // 0.96^(t · momentum_decay), and from it u(t), u(t + 1) and U.
        let power = scope.shared_state("power", &[], DType::F32, Init::Constant(1.0));
        let product = scope.shared_state("product", &[], DType::F32, Init::Constant(1.0));
        let power = advance(&power, &(&power * fall));
        let momentum = (1.0 - &power * 0.5) * beta1;
        let next = (1.0 - &power * (0.5 * fall)) * beta1;
        let product = advance(&product, &(&product * &momentum));
        let of_gradient = (1.0 - &momentum) / (1.0 - &product);
        let of_moment = &next / (1.0 - &product * &next);
        for work in work {
            let [by_gradient, by_moment, scale, decay] = side_by_side([
                &work.rate * &of_gradient,
                &work.rate * &of_moment,
                1.0 / correction2.sqrt(),
                work.decay(),
            ]);
            let gradient = if self.decoupled { work.gradient.clone() } else { work.decayed_gradient() };
            let base = if self.decoupled { work.decayed_parameter(&decay) } else { work.parameter.clone() };
            let first = work.companion(&scope, "moment1");
            let second = work.companion(&scope, "moment2");
            let new_first = &first * beta1 + &gradient * (1.0 - beta1);
            let new_second = &second * beta2 + gradient.square() * (1.0 - beta2);
            trace.update(&first, &new_first);
            trace.update(&second, &new_second);
            let divisor = new_second.sqrt() * scale + self.epsilon;
            let direction = gradient * by_gradient + new_first * by_moment;
            trace.update(work.parameter, &(base - direction / divisor));
        }
    }
}
