//! Networks of depthwise convolutions, made to be small.

use super::super::{Activation, Conv2d, GlobalAvgPool2d, Linear, Sequential};
use super::{ConvBlock, InvertedResidual, NormedConv, SeparableBlock};

/// A small network of depthwise separable convolutions, as MobileNet has them, for images of 28×28 or 32×32.
pub fn depthwise_cnn(classes: usize) -> Sequential {
    let mut model = Sequential::new().named("stem", ConvBlock { conv: Conv2d::new(32, 3).padding(1) });
    for (i, (channels, stride)) in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1)].into_iter().enumerate() {
        model = model.named(&format!("block{}", i + 1), SeparableBlock { channels, stride });
    }
    model.named("pool", GlobalAvgPool2d).named("head", Linear::new(classes))
}

/// Some [`InvertedResidual`]s, of which the first has the stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MobileStage {
    /// How many times the channels of the input there are within a block.
    pub expansion: usize,
    /// Channels of the output.
    pub channels: usize,
    /// How many blocks.
    pub blocks: usize,
    /// Stride of the first.
    pub stride: usize,
}

/// The stages of [`mobilenet_v2`].
pub const MOBILENET_STAGES: &[MobileStage] = &[
    stage(1, 16, 1, 1),
    stage(6, 24, 2, 1),
    stage(6, 32, 3, 2),
    stage(6, 64, 4, 2),
    stage(6, 96, 3, 1),
    stage(6, 160, 3, 2),
    stage(6, 320, 1, 1),
];

const fn stage(expansion: usize, channels: usize, blocks: usize, stride: usize) -> MobileStage {
    MobileStage { expansion, channels, blocks, stride }
}

/// MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381, table 2) for images of 32×32: the first three of its five strides are 1.
pub fn mobilenet_v2(classes: usize) -> Sequential {
    mobilenet(32, MOBILENET_STAGES, 1280, classes)
}

/// A 3×3 convolution to `stem` channels, stages of inverted residuals, a 1×1 convolution to `last` channels, each convolution
/// with ReLU6; the mean over pixels and a linear layer.
pub fn mobilenet(stem: usize, stages: &[MobileStage], last: usize, classes: usize) -> Sequential {
    let relu6 = |conv| NormedConv { conv, activation: Some(Activation::Relu6) };
    let mut model = Sequential::new().named("stem", relu6(Conv2d::new(stem, 3).padding(1)));
    for (number, stage) in stages.iter().enumerate() {
        for block in 0..stage.blocks {
            let stride = if block == 0 { stage.stride } else { 1 };
            let inverted = InvertedResidual { channels: stage.channels, stride, expansion: stage.expansion };
            model = model.named(&format!("stage{}_{}", number + 1, block + 1), inverted);
        }
    }
    model.named("last", relu6(Conv2d::new(last, 1))).named("pool", GlobalAvgPool2d).named("head", Linear::new(classes))
}
