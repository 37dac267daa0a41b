//! The fully connected layer.

use super::Module;
use crate::tensor::{Init, Scope, Tensor};

/// `y = x · weightᵀ + bias` over the last axis. Parameters: `weight` `[features, inputs]`, `bias` `[features]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Extent of the output's last axis.
    pub features: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Linear {
    /// A layer with `features` outputs and a bias.
    pub fn new(features: usize) -> Self {
        Linear { features, bias: true }
    }
}

impl Module for Linear {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let inputs = x.shape().last().copied().unwrap_or(1);
        let init = Init::fan_in(inputs);
        let weight = scope.param("weight", &[self.features, inputs], init.clone());
        let bias = self.bias.then(|| scope.param("bias", &[self.features], init));
        x.linear(&weight, bias.as_ref())
    }
}
