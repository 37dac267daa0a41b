//! Norms within a sample: they do the same in training and after it, whatever the batch.

use super::Module;
use crate::tensor::{Init, Scope, Tensor};

/// Layer norm over the last axes (Ba et al. 2016, arXiv 1607.06450). Parameters: `weight` and `bias`, of their shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// How many axes are normalised together.
    pub axes: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether there is a weight.
    pub weight: bool,
    /// Whether there is a bias; only beside a weight.
    pub bias: bool,
}

impl Default for LayerNorm {
    /// Over the last axis.
    fn default() -> Self {
        LayerNorm { axes: 1, epsilon: 1e-5, weight: true, bias: true }
    }
}

impl Module for LayerNorm {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let shape = x.shape()[x.shape().len().saturating_sub(self.axes)..].to_vec();
        let [weight, bias] = parameters(scope, &shape, self.weight, self.bias);
        x.layer_norm(self.axes, weight.as_ref(), bias.as_ref(), self.epsilon)
    }
}

/// RMS norm over the last axes (Zhang and Sennrich 2019, arXiv 1910.07467). Parameter: `weight`, of their shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsNorm {
    /// How many axes are normalised together.
    pub axes: usize,
    /// Added to the mean of squares.
    pub epsilon: f64,
    /// Whether there is a weight.
    pub weight: bool,
}

impl Default for RmsNorm {
    /// Over the last axis; ε is the distance from 1 to the next `f32`.
    fn default() -> Self {
        RmsNorm { axes: 1, epsilon: f64::from(f32::EPSILON), weight: true }
    }
}

impl Module for RmsNorm {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let shape = x.shape()[x.shape().len().saturating_sub(self.axes)..].to_vec();
        let [weight, _] = parameters(scope, &shape, self.weight, false);
        x.rms_norm(self.axes, weight.as_ref(), self.epsilon)
    }
}

/// Group norm of `[N, …, C]` (Wu and He 2018, arXiv 1803.08494). Parameters: `weight` and `bias`, `[C]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNorm {
    /// How many equal groups the channels make.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether there are a weight and a bias.
    pub affine: bool,
}

impl GroupNorm {
    /// A layer of `groups` groups with a weight and a bias.
    pub fn new(groups: usize) -> Self {
        GroupNorm { groups, epsilon: 1e-5, affine: true }
    }
}

impl Module for GroupNorm {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let channels = x.shape().last().copied().unwrap_or(1);
        let [weight, bias] = parameters(scope, &[channels], self.affine, self.affine);
        x.group_norm(self.groups, weight.as_ref(), bias.as_ref(), self.epsilon)
    }
}

/// Instance norm of `[N, …, C]` (Ulyanov et al. 2016, arXiv 1607.08022); like PyTorch's default, without parameters and
/// running statistics. Parameters if `affine`: `weight` and `bias`, `[C]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstanceNorm {
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether there are a weight and a bias.
    pub affine: bool,
}

impl Default for InstanceNorm {
    fn default() -> Self {
        InstanceNorm { epsilon: 1e-5, affine: false }
    }
}

impl Module for InstanceNorm {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let channels = x.shape().last().copied().unwrap_or(1);
        let [weight, bias] = parameters(scope, &[channels], self.affine, self.affine);
        x.instance_norm(weight.as_ref(), bias.as_ref(), self.epsilon)
    }
}

/// The weight, ones at first, and the bias, zeros at first, where they are wanted.
fn parameters(scope: &Scope, shape: &[usize], weight: bool, bias: bool) -> [Option<Tensor>; 2] {
    [("weight", weight, 1.0), ("bias", weight && bias, 0.0)]
        .map(|(name, wanted, value)| wanted.then(|| scope.param(name, shape, Init::Constant(value))))
}
