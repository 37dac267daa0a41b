//! Whole networks, a family a file: by name ([`by_name`]), as functions, or from a description ([`Description`]).
//!
//! Each is a [`Sequential`] of plain layers and of blocks that are public, so that other sizes are a few lines away. The
//! outputs are logits, one a class; only the [`autoencoder`](autoencoder()) gives pictures. Parameters are as many as in
//! PyTorch's modules of the same layers (`tests/zoo.rs`), and are declared in the same order, so that state dictionaries
//! match: [`crate::train::transfer`]. Before: the layers of [`crate::nn`].

pub mod airbench;
mod autoencoder;
mod blocks;
pub mod description;
mod kinds;
mod mobile;
mod plain;
mod residual;

pub use airbench::airbench94;
pub use autoencoder::autoencoder;
pub use blocks::{ConvBlock, InvertedResidual, NormedConv, ResidualBlock, SeparableBlock};
pub use description::Description;
pub use mobile::{MOBILENET_STAGES, MobileStage, depthwise_cnn, mobilenet, mobilenet_v2};
pub use plain::{lenet5, mlp, small_cnn, vgg8};
pub use residual::{residual_stages, resnet18, resnet18_cifar, resnet20};

use super::Sequential;
use crate::error::{Error, ErrorKind, Result};

/// The names that [`by_name`] knows.
pub const NAMES: &[&str] = &[
    "small_cnn",
    "mlp",
    "lenet5",
    "vgg8",
    "resnet20",
    "resnet18",
    "resnet18_cifar",
    "depthwise_cnn",
    "mobilenet_v2",
    "airbench94",
];

/// The network called `name`, or that `name` describes as JSON ([`Description`]), with `classes` outputs.
///
/// # Errors
/// When there is none, the message lists the names; what is wrong with the description.
pub fn by_name(name: &str, classes: usize) -> Result<Sequential> {
    match name {
        "small_cnn" => Ok(small_cnn(classes)),
        "mlp" => Ok(mlp(classes)),
        "lenet5" => Ok(lenet5(classes)),
        "vgg8" => Ok(vgg8(classes)),
        "resnet20" => Ok(resnet20(classes)),
        "resnet18" => Ok(resnet18(classes)),
        "resnet18_cifar" => Ok(resnet18_cifar(classes)),
        "depthwise_cnn" => Ok(depthwise_cnn(classes)),
        "mobilenet_v2" => Ok(mobilenet_v2(classes)),
        "airbench94" => Ok(airbench94(classes)),
        described if Description::is_one(described) => Description::from_json(described)?.build(classes),
        other => Err(Error::new(ErrorKind::Config, format!("no model {other:?}; there are {}", NAMES.join(", ")))),
    }
}

/// What people call the network of [`by_name`]: its name, or that in its description.
pub fn title(name: &str) -> String {
    match Description::from_json(name) {
        Ok(description) if Description::is_one(name) => description.name().to_owned(),
        _ => name.to_owned(),
    }
}
