//! The rectifier with a learned slope.

use super::Module;
use crate::tensor::{Init, Scope, Tensor};

/// `x` where positive, else `weight · x` (He et al. 2015, arXiv 1502.01852). Parameter: `weight`, `[parameters]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prelu {
    /// 1 for one slope, or the number of channels (the last axis) for one a channel.
    pub parameters: usize,
    /// The slope at first.
    pub init: f64,
}

impl Default for Prelu {
    /// One slope, 0.25 at first.
    fn default() -> Self {
        Prelu { parameters: 1, init: 0.25 }
    }
}

impl Module for Prelu {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let mut weight = scope.param("weight", &[self.parameters], Init::Constant(self.init));
        if self.parameters != 1 {
            let channels = x.shape().last().copied().unwrap_or(1);
            weight = weight.expect_shape("one slope a channel", &[channels]);
        }
        x.prelu(&weight)
    }
}
