//! The networks of the suite, as `neuropil::nn::models` and `benches/peers/pytorch.py` have them.

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::relu;

use crate::same;

#[derive(Module, Debug)]
pub struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    hidden: Linear,
    head: Linear,
}

impl Cnn {
    pub fn new(device: &Device) -> Self {
        Cnn {
            conv1: Conv2dConfig::new([1, 32], [3, 3]).with_padding(same(3)).init(device),
            conv2: Conv2dConfig::new([32, 64], [3, 3]).with_padding(same(3)).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            hidden: LinearConfig::new(3136, 128).init(device),
            head: LinearConfig::new(128, 10).init(device),
        }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.conv1.forward(x)));
        let x = self.pool.forward(relu(self.conv2.forward(x)));
        self.head.forward(relu(self.hidden.forward(x.flatten(1, 3))))
    }
}

/// A convolution without bias, and batch norm.
#[derive(Module, Debug)]
struct Normed {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Normed {
    fn new(channels: [usize; 2], kernel: usize, stride: usize, groups: usize, device: &Device) -> Self {
        let conv = Conv2dConfig::new(channels, [kernel, kernel]).with_stride([stride, stride]).with_groups(groups);
        Normed {
            conv: conv.with_padding(same(kernel)).with_bias(false).init(device),
            norm: BatchNormConfig::new(channels[1]).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

#[derive(Module, Debug)]
struct Residual {
    first: Normed,
    second: Normed,
    shortcut: Option<Normed>,
}

impl Residual {
    fn new(width: usize, channels: usize, stride: usize, device: &Device) -> Self {
        let shortcut = (stride > 1 || width != channels).then(|| Normed::new([width, channels], 1, stride, 1, device));
        Residual {
            first: Normed::new([width, channels], 3, stride, 1, device),
            second: Normed::new([channels, channels], 3, 1, 1, device),
            shortcut,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shortcut = self.shortcut.as_ref().map_or_else(|| x.clone(), |shortcut| shortcut.forward(x.clone()));
        relu(self.second.forward(relu(self.first.forward(x))) + shortcut)
    }
}

/// Residual blocks after a stem, which ResNets of ImageNet end with a max pool.
#[derive(Module, Debug)]
pub struct ResNet {
    stem: Normed,
    stem_pool: Option<MaxPool2d>,
    blocks: Vec<Residual>,
    pool: AdaptiveAvgPool2d,
    head: Linear,
}

impl ResNet {
    pub fn of_20_layers(device: &Device) -> Self {
        Self::new(Normed::new([3, 16], 3, 1, 1, device), None, &[16, 32, 64], 3, device)
    }

    pub fn of_18_layers(device: &Device) -> Self {
        let pool = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).with_padding(same(3)).init();
        Self::new(Normed::new([3, 64], 7, 2, 1, device), Some(pool), &[64, 128, 256, 512], 2, device)
    }

    fn new(stem: Normed, stem_pool: Option<MaxPool2d>, channels: &[usize], each: usize, device: &Device) -> Self {
        let mut width = channels[0];
        let mut blocks = Vec::new();
        for (stage, &channels) in channels.iter().enumerate() {
            for block in 0..each {
                blocks.push(Residual::new(width, channels, if stage > 0 && block == 0 { 2 } else { 1 }, device));
                width = channels;
            }
        }
        let pool = AdaptiveAvgPool2dConfig::new([1, 1]).init();
        ResNet { stem, stem_pool, blocks, pool, head: LinearConfig::new(width, 10).init(device) }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu(self.stem.forward(x));
        let x = self.stem_pool.as_ref().map_or_else(|| x.clone(), |pool| pool.forward(x.clone()));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        self.head.forward(self.pool.forward(x).flatten(1, 3))
    }
}

#[derive(Module, Debug)]
pub struct DepthwiseCnn {
    layers: Vec<Normed>,
    pool: AdaptiveAvgPool2d,
    head: Linear,
}

impl DepthwiseCnn {
    pub fn new(device: &Device) -> Self {
        let mut layers = vec![Normed::new([1, 32], 3, 1, 1, device)];
        let mut width = 32;
        for (channels, stride) in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1)] {
            layers.push(Normed::new([width, width], 3, stride, width, device));
            layers.push(Normed::new([width, channels], 1, 1, 1, device));
            width = channels;
        }
        DepthwiseCnn {
            layers,
            pool: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            head: LinearConfig::new(256, 10).init(device),
        }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.layers.iter().fold(x, |x, layer| relu(layer.forward(x)));
        self.head.forward(self.pool.forward(x).flatten(1, 3))
    }
}
