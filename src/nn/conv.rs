//! The convolution layer.

use super::Module;
use crate::shape::Window;
use crate::tensor::{Init, Scope, Tensor};

/// A 2-D convolution of `[N, H, W, C]`. Parameters: `weight` `[channels, kernel height, kernel width, C / groups]`,
/// `bias` `[channels]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2d {
    /// Output channels.
    pub channels: usize,
    /// Kernel size, stride, padding and dilation.
    pub window: Window,
    /// Groups of channels that do not mix; as many as input channels is a depthwise convolution.
    pub groups: usize,
    /// Whether there is a bias. A batch norm right after makes it useless.
    pub bias: bool,
    /// Initial weights; even within `1 / √(fan in)` if nothing is said.
    pub weight_init: Option<Init>,
    /// Initial bias; as the weights if nothing is said.
    pub bias_init: Option<Init>,
}

impl Conv2d {
    /// A layer with `channels` outputs and a square kernel; stride 1, no padding, a bias.
    pub fn new(channels: usize, kernel_size: usize) -> Self {
        let window = Window::new([kernel_size; 2]);
        Conv2d { channels, window, groups: 1, bias: true, weight_init: None, bias_init: None }
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

impl Module for Conv2d {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let inputs = x.shape().last().copied().unwrap_or(1) / self.groups.max(1);
        let [height, width] = self.window.kernel_size;
        let init = Init::fan_in(inputs * self.window.taps());
        let shape = [self.channels, height, width, inputs];
        let weight = scope.param("weight", &shape, self.weight_init.unwrap_or(init));
        let y = x.conv2d(&weight, self.window, self.groups);
        if self.bias { y + scope.param("bias", &[self.channels], self.bias_init.unwrap_or(init)) } else { y }
    }
}
