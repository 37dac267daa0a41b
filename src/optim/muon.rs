//! Muon.

use super::{Optimizer, Work, norm, work};
use crate::tensor::{Gradients, Tensor, Trace, matches};

/// Muon (Jordan et al. 2024, <https://kellerjordan.github.io/posts/muon>): momentum whose direction is replaced by the
/// nearest matrix with equal singular values. By the formula of PyTorch's `torch.optim.Muon`, in `f32`:
///
/// ```text
/// b ← momentum · b + (1 - momentum) · g,  u = nesterov ? (1 - momentum) · g + momentum · b : b
/// X ← u / max(‖u‖, epsilon), lying down if it is taller than wide
/// iterations times: A = X·Xᵀ,  X ← 3.4445 · X - 4.7750 · A·X + 2.0315 · A·A·X
/// p ← p - learning_rate · weight_decay · p - learning_rate · √max(1, rows / columns) · X
/// ```
///
/// It is for weights with two axes or more; a filter `[outputs, height, width, inputs]` counts as a matrix of `outputs`
/// rows. All other parameters, and those of `except`, are left to the optimizer `rest`. The author recommends that also for
/// a network's last layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Muon<R> {
    /// The learning rate.
    pub learning_rate: f64,
    /// The share of the old direction.
    pub momentum: f64,
    /// Whether to look ahead.
    pub nesterov: bool,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Newton–Schulz iterations.
    pub iterations: usize,
    /// Keeps the divisor from zero.
    pub epsilon: f64,
    /// Patterns of weights that are left to `rest`.
    pub except: Vec<String>,
    /// The optimizer of the other parameters.
    pub rest: R,
}

/// A polynomial whose iteration brings singular values in (0, 1] near 1, with the steepest slope at 0.
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];

impl<R: Optimizer> Muon<R> {
    /// Muon with PyTorch's defaults, and `rest` for what is no matrix.
    pub fn new(learning_rate: f64, rest: R) -> Self {
        Muon {
            learning_rate,
            momentum: 0.95,
            nesterov: true,
            weight_decay: 0.1,
            iterations: 5,
            epsilon: 1e-7,
            except: Vec::new(),
            rest,
        }
    }

    /// Leaves the parameters whose names fit `pattern` (`*` stands for any text) to the other optimizer.
    #[must_use]
    pub fn except(mut self, pattern: &str) -> Self {
        self.except.push(pattern.to_owned());
        self
    }

    /// The momentum, made even in all directions.
    fn direction(&self, trace: &Trace, work: &Work<'_>, buffer: &Tensor) -> Tensor {
        let new_buffer = buffer * self.momentum + work.gradient * (1.0 - self.momentum);
        trace.update(buffer, &new_buffer);
        if self.nesterov { work.gradient * (1.0 - self.momentum) + new_buffer * self.momentum } else { new_buffer }
    }
}

/// `x` with its singular values near 1, by Newton–Schulz iterations.
fn orthogonalized(x: &Tensor, iterations: usize, epsilon: f64) -> Tensor {
    let [a, b, c] = COEFFICIENTS;
    let length = norm(x);
    let mut x = x / length.maximum(&x.trace().constant(epsilon, x.dtype()));
    for _ in 0..iterations {
        let gram = x.matmul_transposed(&x, false, true);
        let polynomial = gram.matmul(&gram) * c + &gram * b;
        x = polynomial.matmul(&x) + &x * a;
    }
    x
}

impl<R: Optimizer> Optimizer for Muon<R> {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        let excepted = |name: &str| self.except.iter().any(|pattern| matches(pattern, name));
        super::group::check_patterns(trace, &self.except);
        let [matrices, others] = gradients.partition(|name, p| p.shape().len() >= 2 && !excepted(name));
        let (scope, work) = work(trace, &matrices, self.learning_rate, self.weight_decay);
        // All moments first, so that they are one step.
        let directions: Vec<Tensor> =
            work.iter().map(|work| self.direction(trace, work, &work.companion(&scope, "momentum"))).collect();
        for (work, direction) in work.iter().zip(directions) {
            let shape = work.parameter.shape();
            let (rows, columns) = (shape[0], shape[1..].iter().product::<usize>());
            let matrix = direction.reshape(&[rows, columns]);
            let even = if rows > columns {
                orthogonalized(&matrix.permute(&[1, 0]), self.iterations, self.epsilon).permute(&[1, 0])
            } else {
                orthogonalized(&matrix, self.iterations, self.epsilon)
            };
            let stretch = (rows as f64 / columns.max(1) as f64).max(1.0).sqrt();
            let base = work.decayed_parameter(&work.decay());
            trace.update(work.parameter, &(base - even.reshape(shape) * (&work.rate * stretch)));
        }
        if !others.entries.is_empty() {
            self.rest.update(trace, &others);
        }
    }
}
