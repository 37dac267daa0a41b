//! The fully connected layer.

use super::Module;
use crate::tensor::{Init, Scope, Tensor};

/// `y = x · weightᵀ + bias` over the last axis. Parameters: `weight` `[features, inputs]`, `bias` `[features]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// Extent of the output's last axis.
    pub features: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// Initial weights; even within `1 / √inputs` if nothing is said.
    pub weight_init: Option<Init>,
    /// Initial bias; as the weights if nothing is said.
    pub bias_init: Option<Init>,
}

impl Linear {
    /// A layer with `features` outputs and a bias.
    pub fn new(features: usize) -> Self {
        Linear { features, bias: true, weight_init: None, bias_init: None }
    }
}
weight_and_bias!(Linear);

impl Module for Linear {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let inputs = x.shape().last().copied().unwrap_or(1);
        let init = Init::fan_in(inputs);
        let weight = scope.param("weight", &[self.features, inputs], self.weight_init.unwrap_or(init));
        let bias = self.bias.then(|| scope.param("bias", &[self.features], self.bias_init.unwrap_or(init)));
        x.linear(&weight, bias.as_ref())
    }
}
