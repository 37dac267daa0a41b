//! Networks without shortcuts: layers one after the other.

use super::super::{Activation, AvgPool2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Sequential};
use super::ConvBlock;

/// Three convolution blocks of 32, 32 and 64 channels, the last two followed by a max pool, then dropout and a linear
/// layer: 8×8 digits to 28×28 pictures.
pub fn small_cnn(classes: usize) -> Sequential {
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

fn block(channels: usize) -> ConvBlock {
    ConvBlock { conv: Conv2d::new(channels, 3).padding(1) }
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

/// LeNet-5 (LeCun et al. 1998) for images from 12×12, in its usual form today: two 5×5 convolutions of 6 and 16 channels, each
/// with tanh and the mean of 2×2, then layers of 120 and 84. The original's sparse connections and Gaussian outputs are full
/// and linear here.
pub fn lenet5(classes: usize) -> Sequential {
    Sequential::new()
        .named("conv1", Conv2d::new(6, 5).padding(2))
        .named("tanh1", Activation::Tanh)
        .named("pool1", AvgPool2d::new(2))
        .named("conv2", Conv2d::new(16, 5))
        .named("tanh2", Activation::Tanh)
        .named("pool2", AvgPool2d::new(2))
        .named("flatten", Flatten)
        .named("hidden1", Linear::new(120))
        .named("tanh3", Activation::Tanh)
        .named("hidden2", Linear::new(84))
        .named("tanh4", Activation::Tanh)
        .named("head", Linear::new(classes))
}

/// A VGG-like net of 8 layers for images from 8×8 (Simonyan & Zisserman 2014, arXiv 1409.1556, with batch norm): three times two
/// 3×3 convolutions and a max pool, with 64, 128 and 256 channels, a layer of 256 and the head.
pub fn vgg8(classes: usize) -> Sequential {
    let mut model = Sequential::new();
    for (stage, channels) in [64, 128, 256].into_iter().enumerate() {
        for number in 1..=2 {
            model = model.named(&format!("block{}_{number}", stage + 1), block(channels));
        }
        model = model.named(&format!("pool{}", stage + 1), MaxPool2d::new(2));
    }
    model
        .named("flatten", Flatten)
        .named("hidden", Linear::new(256))
        .named("relu", Activation::Relu)
        .named("dropout", Dropout::new(0.5))
        .named("head", Linear::new(classes))
}
