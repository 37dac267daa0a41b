//! Batch norm and dropout: layers that behave otherwise in training than after it.

use super::Module;
use crate::dtype::DType;
use crate::tensor::{Init, Scope, Tensor};

/// Batch norm over all axes but the last (Ioffe & Szegedy 2015, arXiv 1502.03167).
///
/// Training uses the statistics of the batch and updates `running_mean` and `running_var` (with the unbiased variance, as
/// PyTorch does); evaluation uses those. Parameters: `weight` and `bias`, `[C]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f64,
    /// The share of the batch in the new running statistics.
    pub momentum: f64,
}

impl Default for BatchNorm {
    fn default() -> Self {
        BatchNorm { epsilon: 1e-5, momentum: 0.1 }
    }
}

impl Module for BatchNorm {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let channels = x.shape().last().copied().unwrap_or(1);
        let weight = scope.param("weight", &[channels], Init::Constant(1.0));
        let bias = scope.param("bias", &[channels], Init::Constant(0.0));
        let running_mean = scope.state("running_mean", &[channels], DType::F32, Init::Constant(0.0));
        let running_var = scope.state("running_var", &[channels], DType::F32, Init::Constant(1.0));
        if !scope.training() {
            return x.batch_norm_inference(&weight, &bias, &running_mean, &running_var, self.epsilon);
        }
        let count = (crate::shape::element_count(x.shape()) / channels.max(1)) as f64;
        let [y, mean, variance] = x.batch_norm(&weight, &bias, self.epsilon);
        let unbiased = variance * (count / (count - 1.0));
        for (running, batch) in [(running_mean, mean), (running_var, unbiased)] {
            let updated = &running * (1.0 - self.momentum) + batch * self.momentum;
            scope.trace().update(&running, &updated);
        }
        y
    }
}

/// Randomly zeroes elements in training and scales the rest, so that the mean stays (Srivastava et al. 2014).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The probability of zero.
    pub rate: f64,
}

impl Dropout {
    /// A layer that zeroes with probability `rate`.
    pub fn new(rate: f64) -> Self {
        Dropout { rate }
    }
}

impl Module for Dropout {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        scope.dropout(&x, self.rate)
    }
}
