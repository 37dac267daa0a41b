//! Residual networks (He et al. 2015, arXiv 1512.03385).

use super::super::{Conv2d, GlobalAvgPool2d, Linear, MaxPool2d, Sequential};
use super::{ConvBlock, ResidualBlock};
use crate::shape::Window;

/// The ResNet for CIFAR images with 20 layers: a convolution, three stages of three residual blocks with 16, 32 and 64
/// channels, global average pooling and a linear layer (section 4.2 of the paper, with convolutions as shortcuts where the
/// shape changes).
pub fn resnet20(classes: usize) -> Sequential {
    residual_stages(small_stem(16), &[16, 32, 64], 3).named("head", Linear::new(classes))
}

/// The ResNet of 18 layers for images of 224×224: a 7×7 convolution and a max pool, each of stride 2, then four stages of two
/// blocks.
pub fn resnet18(classes: usize) -> Sequential {
    let pool = MaxPool2d { window: Window::new([3, 3]).stride(2).padding(1), ceil_mode: false };
    let stem = Sequential::new()
        .named("stem", ConvBlock { conv: Conv2d::new(64, 7).padding(3).stride(2) })
        .named("pool1", pool);
    residual_stages(stem, &[64, 128, 256, 512], 2).named("head", Linear::new(classes))
}

/// [`resnet18`] for images of 32×32: a 3×3 convolution of stride 1 in place of the first two layers, as is usual for CIFAR.
pub fn resnet18_cifar(classes: usize) -> Sequential {
    residual_stages(small_stem(64), &[64, 128, 256, 512], 2).named("head", Linear::new(classes))
}

/// A 3×3 convolution that keeps the size.
fn small_stem(channels: usize) -> Sequential {
    Sequential::new().named("stem", ConvBlock { conv: Conv2d::new(channels, 3).padding(1) })
}

/// `model`, then `blocks` residual blocks a stage, of which the first halves the image after the first stage, and the mean
/// over pixels.
pub fn residual_stages(mut model: Sequential, channels: &[usize], blocks: usize) -> Sequential {
    for (stage, &channels) in channels.iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            model = model.named(&format!("stage{}_{}", stage + 1, block + 1), ResidualBlock { channels, stride });
        }
    }
    model.named("pool", GlobalAvgPool2d)
}
