//! What networks are made of: convolutions with batch norm, and blocks of them.

use super::super::{Activation, BatchNorm, Conv2d, Module};
use crate::tensor::{Scope, Tensor};

/// Convolution, batch norm and ReLU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvBlock {
    /// The convolution; its bias is left out, since batch norm has one.
    pub conv: Conv2d,
}

impl Module for ConvBlock {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        NormedConv { conv: self.conv, activation: Some(Activation::Relu) }.forward(scope, x)
    }
}

/// Convolution, batch norm and perhaps an activation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormedConv {
    /// The convolution; its bias is left out, since batch norm has one.
    pub conv: Conv2d,
    /// What comes last.
    pub activation: Option<Activation>,
}

impl Module for NormedConv {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let y = self.conv.no_bias().forward(&scope.enter("conv"), x);
        let y = BatchNorm::default().forward(&scope.enter("norm"), y);
        scope.resume();
        match self.activation {
            Some(activation) => activation.forward(scope, y),
            None => y,
        }
    }
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

/// A 1×1 convolution to more channels, a depthwise 3×3 one, each with batch norm and ReLU6, and a 1×1 one to few channels
/// without activation, a linear bottleneck; the input is added where the shape stays (Sandler et al. 2018, arXiv
/// 1801.04381). Without expansion the first convolution is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvertedResidual {
    /// Channels of the output.
    pub channels: usize,
    /// Stride of the depthwise convolution.
    pub stride: usize,
    /// How many times the channels of the input there are in between.
    pub expansion: usize,
}

impl Module for InvertedResidual {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let width = x.shape().last().copied().unwrap_or(1);
        let between = width * self.expansion;
        let relu6 = |conv| NormedConv { conv, activation: Some(Activation::Relu6) };
        let y = match self.expansion {
            1 => x.clone(),
            _ => relu6(Conv2d::new(between, 1)).forward(&scope.enter("expand"), x.clone()),
        };
        let depthwise = Conv2d::new(between, 3).padding(1).stride(self.stride).groups(between);
        let y = relu6(depthwise).forward(&scope.enter("depthwise"), y);
        let bottleneck = NormedConv { conv: Conv2d::new(self.channels, 1), activation: None };
        let y = bottleneck.forward(&scope.enter("project"), y);
        scope.resume();
        if self.stride == 1 && width == self.channels { x + y } else { y }
    }
}
