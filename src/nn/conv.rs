//! The convolution layer.

use super::Module;
use crate::shape::Window;
use crate::tensor::{Init, Scope, Tensor};

/// A 2-D convolution of `[N, H, W, C]`. Parameters: `weight` `[channels, kernel height, kernel width, C / groups]`,
/// `bias` `[channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Output channels.
    pub channels: usize,
    /// Kernel size, stride, padding and dilation.
    pub window: Window,
    /// Groups of channels that do not mix; as many as input channels is a depthwise convolution.
    pub groups: usize,
    /// Whether there is a bias. A batch norm right after makes it useless.
    pub bias: bool,
}

impl Conv2d {
    /// A layer with `channels` outputs and a square kernel; stride 1, no padding, a bias.
    pub fn new(channels: usize, kernel_size: usize) -> Self {
        Conv2d { channels, window: Window::new([kernel_size; 2]), groups: 1, bias: true }
    }

    /// Sets both strides.
    #[must_use]
    pub fn stride(mut self, stride: usize) -> Self {
        self.window = self.window.stride(stride);
        self
    }

    /// Sets the padding of all four sides.
    #[must_use]
    pub fn padding(mut self, padding: usize) -> Self {
        self.window = self.window.padding(padding);
        self
    }

    /// Sets both dilations.
    #[must_use]
    pub fn dilation(mut self, dilation: usize) -> Self {
        self.window = self.window.dilation(dilation);
        self
    }

    /// Sets the groups.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Leaves the bias out.
    #[must_use]
    pub fn no_bias(mut self) -> Self {
        self.bias = false;
        self
    }
}

impl Module for Conv2d {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let inputs = x.shape().last().copied().unwrap_or(1) / self.groups.max(1);
        let [height, width] = self.window.kernel_size;
        let init = Init::fan_in(inputs * self.window.taps());
        let weight = scope.param("weight", &[self.channels, height, width, inputs], init.clone());
        let y = x.conv2d(&weight, self.window, self.groups);
        if self.bias { y + scope.param("bias", &[self.channels], init) } else { y }
    }
}
