//! Activations as layers.

use super::Module;
use crate::tensor::{Scope, Tensor};

/// A nonlinearity without parameters; the formulas are at the methods of [`Tensor`] of the same names.
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
    /// [`Tensor::selu`].
    Selu,
    /// [`Tensor::celu`] with this alpha.
    Celu(f64),
    /// [`Tensor::mish`].
    Mish,
    /// [`Tensor::hard_sigmoid`].
    HardSigmoid,
    /// [`Tensor::hard_tanh`] between these ends.
    HardTanh(f64, f64),
    /// [`Tensor::relu6`].
    Relu6,
    /// [`Tensor::softsign`].
    Softsign,
    /// [`Tensor::log_sigmoid`].
    LogSigmoid,
    /// [`Tensor::tanh_shrink`].
    TanhShrink,
    /// [`Tensor::soft_shrink`] with this lambda.
    SoftShrink(f64),
    /// [`Tensor::hard_shrink`] with this lambda.
    HardShrink(f64),
    /// [`Tensor::threshold`] with this limit and value.
    Threshold(f64, f64),
    /// [`Tensor::glu`] over this axis.
    Glu(isize),
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
            Activation::Selu => x.selu(),
            Activation::Celu(alpha) => x.celu(alpha),
            Activation::Mish => x.mish(),
            Activation::HardSigmoid => x.hard_sigmoid(),
            Activation::HardTanh(low, high) => x.hard_tanh(low, high),
            Activation::Relu6 => x.relu6(),
            Activation::Softsign => x.softsign(),
            Activation::LogSigmoid => x.log_sigmoid(),
            Activation::TanhShrink => x.tanh_shrink(),
            Activation::SoftShrink(lambda) => x.soft_shrink(lambda),
            Activation::HardShrink(lambda) => x.hard_shrink(lambda),
            Activation::Threshold(limit, value) => x.threshold(limit, value),
            Activation::Glu(axis) => x.glu(axis),
        }
    }
}
