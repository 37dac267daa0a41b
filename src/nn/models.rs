//! Whole networks, by name.

use super::{Activation, BatchNorm, Conv2d, Dropout, Flatten, GlobalAvgPool2d, Linear, MaxPool2d, Module, Sequential};
use crate::error::{Error, ErrorKind, Result};
use crate::shape::Window;
use crate::tensor::{Scope, Tensor};

/// The names that [`by_name`] knows.
pub const NAMES: &[&str] = &["small_cnn", "mlp", "resnet20", "resnet18", "depthwise_cnn"];

/// The network called `name`, with `classes` outputs.
///
/// # Errors
/// When there is none; the message lists the names.
pub fn by_name(name: &str, classes: usize) -> Result<Sequential> {
    match name {
        "small_cnn" => Ok(small_cnn(classes)),
        "mlp" => Ok(mlp(classes)),
        "resnet20" => Ok(resnet20(classes)),
        "resnet18" => Ok(resnet18(classes)),
        "depthwise_cnn" => Ok(depthwise_cnn(classes)),
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

/// Two 3×3 convolutions beside a shortcut (He et al. 2015, arXiv 1512.03385); the first convolution has the stride. Where the
/// shape changes, the shortcut is a 1×1 convolution with batch norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResidualBlock {
    /// Channels of the output.
    pub channels: usize,
    /// Stride of the first convolution and of the shortcut.
    pub stride: usize,
}

impl Module for ResidualBlock {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let normed = |name: &str, norm: &str, conv: Conv2d, x: Tensor| {
            let y = conv.no_bias().forward(&scope.enter(name), x);
            BatchNorm::default().forward(&scope.enter(norm), y)
        };
        let first = Conv2d::new(self.channels, 3).padding(1).stride(self.stride);
        let y = normed("conv1", "norm1", first, x.clone()).relu();
        let y = normed("conv2", "norm2", Conv2d::new(self.channels, 3).padding(1), y);
        let same = self.stride == 1 && x.shape().last() == Some(&self.channels);
        let shortcut = if same {
            x
        } else {
            normed("shortcut", "shortcut_norm", Conv2d::new(self.channels, 1).stride(self.stride), x)
        };
        scope.resume();
        (y + shortcut).relu()
    }
}

/// The ResNet for CIFAR images with 20 layers: a convolution, three stages of three residual blocks with 16, 32 and 64
/// channels, global average pooling and a linear layer (He et al. 2015, section 4.2).
pub fn resnet20(classes: usize) -> Sequential {
    let stem = Sequential::new().named("stem", ConvBlock { conv: Conv2d::new(16, 3).padding(1) });
    residual_stages(stem, &[16, 32, 64], 3).named("head", Linear::new(classes))
}

/// The ResNet of 18 layers for images of 224×224 (same paper): a 7×7 convolution and a max pool, each of stride 2, then
/// four stages of two blocks.
pub fn resnet18(classes: usize) -> Sequential {
    let pool = MaxPool2d { window: Window::new([3, 3]).stride(2).padding(1), ceil_mode: false };
    let stem = Sequential::new()
        .named("stem", ConvBlock { conv: Conv2d::new(64, 7).padding(3).stride(2) })
        .named("pool1", pool);
    residual_stages(stem, &[64, 128, 256, 512], 2).named("head", Linear::new(classes))
}

/// `blocks` residual blocks a stage, of which the first halves the image after the first stage, and the mean over pixels.
fn residual_stages(mut model: Sequential, channels: &[usize], blocks: usize) -> Sequential {
    for (stage, &channels) in channels.iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            model = model.named(&format!("stage{}_{}", stage + 1, block + 1), ResidualBlock { channels, stride });
        }
    }
    model.named("pool", GlobalAvgPool2d)
}

/// A depthwise 3×3 convolution and a 1×1 convolution, each with batch norm and ReLU (Howard et al. 2017, arXiv 1704.04861).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeparableBlock {
    /// Channels of the output.
    pub channels: usize,
    /// Stride of the depthwise convolution.
    pub stride: usize,
}

impl Module for SeparableBlock {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let width = x.shape().last().copied().unwrap_or(1);
        let depthwise = Conv2d::new(width, 3).padding(1).stride(self.stride).groups(width);
        let y = ConvBlock { conv: depthwise }.forward(&scope.enter("depthwise"), x);
        let y = ConvBlock { conv: Conv2d::new(self.channels, 1) }.forward(&scope.enter("pointwise"), y);
        scope.resume();
        y
    }
}

/// A small network of depthwise separable convolutions, as MobileNet has them, for images of 28×28 or 32×32.
pub fn depthwise_cnn(classes: usize) -> Sequential {
    let mut model = Sequential::new().named("stem", ConvBlock { conv: Conv2d::new(32, 3).padding(1) });
    for (i, (channels, stride)) in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1)].into_iter().enumerate() {
        model = model.named(&format!("block{}", i + 1), SeparableBlock { channels, stride });
    }
    model.named("pool", GlobalAvgPool2d).named("head", Linear::new(classes))
}
