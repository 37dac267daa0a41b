//! Layers: descriptions that turn into nodes when a model is traced.
//!
//! A layer is a plain struct of numbers that implements [`Module`]. It holds no weights: those live in the store under the
//! path of the scope in which the layer runs. Input sizes come from the input. Images are `[N, H, W, C]`. Initial values
//! are PyTorch's defaults. Written with [`crate::tensor`] alone, as a user's own layers are.

/// Setters of layers with a weight and perhaps a bias.
macro_rules! weight_and_bias {
    ($($layer:ty),+) => {$(
        impl $layer {
            /// Leaves the bias out.
            #[must_use]
            pub fn no_bias(mut self) -> Self {
                self.bias = false;
                self
            }

            /// Sets the initial weights.
            #[must_use]
            pub fn weight_init(mut self, init: Init) -> Self {
                self.weight_init = Some(init);
                self
            }

            /// Sets the initial bias.
            #[must_use]
            pub fn bias_init(mut self, init: Init) -> Self {
                self.bias_init = Some(init);
                self
            }
        }
    )+};
}

mod activation;
mod attention;
mod conv;
mod embedding;
mod images;
mod linear;
pub mod models;
mod norm;
pub mod parameters;
mod pool;
mod prelu;
mod sample_norm;
pub mod summary;

use std::sync::Arc;

pub use activation::Activation;
pub use attention::MultiHeadAttention;
pub use conv::{Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d};
pub use embedding::Embedding;
pub use images::{
    CircularPad2d, PixelShuffle, PixelUnshuffle, ReflectionPad2d, ReplicationPad2d, Upsample, UpsampleSize,
};
pub use linear::Linear;
pub use norm::{BatchNorm, Dropout};
pub use pool::{AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, Flatten, GlobalAvgPool2d, LpPool2d, MaxPool2d};
pub use prelu::Prelu;
pub use sample_norm::{GroupNorm, InstanceNorm, LayerNorm, RmsNorm};
pub use summary::{Layer, Summary};

pub use crate::ops::resample::Interpolation;
use crate::tensor::{Scope, Tensor};

/// A layer or model.
///
/// Functions `Fn(&Scope, Tensor) -> Tensor` are modules too.
pub trait Module: Send + Sync {
    /// The output for `x`; parameters are declared in `scope`.
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor;
}

impl<F: Fn(&Scope, Tensor) -> Tensor + Send + Sync> Module for F {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        self(scope, x)
    }
}

/// Modules one after the other. Each runs in a scope named by its position or by the name it was added with.
#[derive(Clone, Default)]
pub struct Sequential {
    layers: Vec<(String, Arc<dyn Module>)>,
}

impl Sequential {
    /// No modules yet: the identity.
    pub fn new() -> Self {
        Sequential::default()
    }

    /// Adds a module in the scope `0`, `1`, … of its position.
    #[must_use]
    pub fn then(self, module: impl Module + 'static) -> Self {
        let name = self.layers.len().to_string();
        self.named(&name, module)
    }

    /// Adds a module in the scope `name`.
    #[must_use]
    pub fn named(mut self, name: &str, module: impl Module + 'static) -> Self {
        self.layers.push((name.to_owned(), Arc::new(module)));
        self
    }
}

impl Module for Sequential {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let y = self.layers.iter().fold(x, |x, (name, layer)| layer.forward(&scope.enter(name), x));
        scope.resume();
        y
    }
}

/// A module whose values the backward pass computes again instead of keeping them: see [`crate::Trace::checkpoint`].
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint<M>(pub M);

impl<M: Module> Module for Checkpoint<M> {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        scope.checkpoint();
        self.0.forward(scope, x)
    }
}
