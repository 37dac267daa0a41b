//! Whole networks, by name.

use super::{Activation, BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Module, Sequential};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{Scope, Tensor};

/// The names that [`by_name`] knows.
pub const NAMES: &[&str] = &["small_cnn", "mlp"];

/// The network called `name`, with `classes` outputs.
///
/// # Errors
/// When there is none; the message lists the names.
pub fn by_name(name: &str, classes: usize) -> Result<Sequential> {
    match name {
        "small_cnn" => Ok(small_cnn(classes)),
        "mlp" => Ok(mlp(classes)),
        other => Err(Error::new(ErrorKind::Config, format!("no model {other:?}; there are {}", NAMES.join(", ")))),
    }
}

/// Convolution, batch norm and ReLU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvBlock {
    /// The convolution; its bias is left out, since batch norm has one.
    pub conv: Conv2d,
}

impl Module for ConvBlock {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let y = self.conv.no_bias().forward(&scope.enter("conv"), x);
        let y = BatchNorm::default().forward(&scope.enter("norm"), y);
        scope.resume();
        y.relu()
    }
}

/// Three convolution blocks of 32, 32 and 64 channels, the last two followed by a max pool, then dropout and a linear
/// layer: 8×8 digits to 28×28 pictures.
pub fn small_cnn(classes: usize) -> Sequential {
    let block = |channels| ConvBlock { conv: Conv2d::new(channels, 3).padding(1) };
    Sequential::new()
        .named("block1", block(32))
        .named("block2", block(32))
        .named("pool2", MaxPool2d::new(2))
        .named("block3", block(64))
        .named("pool3", MaxPool2d::new(2))
        .named("flatten", Flatten)
        .named("dropout", Dropout::new(0.3))
        .named("head", Linear::new(classes))
}

/// Two hidden layers of 128.
pub fn mlp(classes: usize) -> Sequential {
    Sequential::new()
        .named("flatten", Flatten)
        .named("hidden1", Linear::new(128))
        .named("relu1", Activation::Relu)
        .named("hidden2", Linear::new(128))
        .named("relu2", Activation::Relu)
        .named("head", Linear::new(classes))
}
