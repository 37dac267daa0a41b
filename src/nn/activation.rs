//! Activations as layers.

use super::Module;
use crate::tensor::{Scope, Tensor};

/// An elementwise nonlinearity; the formulas are at the methods of [`Tensor`] of the same names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// [`Tensor::relu`].
    Relu,
    /// [`Tensor::leaky_relu`] with this slope.
    LeakyRelu(f64),
    /// [`Tensor::elu`] with this alpha.
    Elu(f64),
    /// [`Tensor::sigmoid`].
    Sigmoid,
    /// [`Tensor::tanh`].
    Tanh,
    /// [`Tensor::gelu`].
    Gelu,
    /// [`Tensor::gelu_tanh`].
    GeluTanh,
    /// [`Tensor::silu`].
    Silu,
    /// [`Tensor::softplus`].
    Softplus,
    /// [`Tensor::hard_swish`].
    HardSwish,
}

impl Module for Activation {
    fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
        match *self {
            Activation::Relu => x.relu(),
            Activation::LeakyRelu(slope) => x.leaky_relu(slope),
            Activation::Elu(alpha) => x.elu(alpha),
            Activation::Sigmoid => x.sigmoid(),
            Activation::Tanh => x.tanh(),
            Activation::Gelu => x.gelu(),
            Activation::GeluTanh => x.gelu_tanh(),
            Activation::Silu => x.silu(),
            Activation::Softplus => x.softplus(),
            Activation::HardSwish => x.hard_swish(),
        }
    }
}
