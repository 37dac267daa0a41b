//! Convolution layers.

use super::Module;
use crate::shape::{Window, Window1d};
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

/// A 1-D convolution of `[N, L, C]`. Parameters: `weight` `[channels, kernel size, C / groups]`, `bias` `[channels]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv1d {
    /// Output channels.
    pub channels: usize,
    /// Kernel size, stride, padding and dilation.
    pub window: Window1d,
    /// Groups of channels that do not mix.
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// Initial weights; even within `1 / √(fan in)` if nothing is said.
    pub weight_init: Option<Init>,
    /// Initial bias; as the weights if nothing is said.
    pub bias_init: Option<Init>,
}

/// A 2-D transposed convolution of `[N, H, W, C]`, which goes back from the positions of a window to the pixels. Parameters:
/// `weight` `[C, kernel height, kernel width, channels / groups]`, `bias` `[channels]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvTranspose2d {
    /// Output channels.
    pub channels: usize,
    /// Kernel size, stride, padding and dilation.
    pub window: Window,
    /// Rows and columns added to the result, to choose among the sizes that the stride rounds to one.
    pub output_padding: [usize; 2],
    /// Groups of channels that do not mix.
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// Initial weights; even within `1 / √(fan in)` if nothing is said.
    pub weight_init: Option<Init>,
    /// Initial bias; as the weights if nothing is said.
    pub bias_init: Option<Init>,
}

/// A 1-D transposed convolution of `[N, L, C]`. Parameters: `weight` `[C, kernel size, channels / groups]`,
/// `bias` `[channels]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvTranspose1d {
    /// Output channels.
    pub channels: usize,
    /// Kernel size, stride, padding and dilation.
    pub window: Window1d,
    /// Elements added to the result, to choose among the lengths that the stride rounds to one.
    pub output_padding: usize,
    /// Groups of channels that do not mix.
    pub groups: usize,
    /// Whether there is a bias.
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
}

impl Conv1d {
    /// A layer with `channels` outputs; stride 1, no padding, a bias.
    pub fn new(channels: usize, kernel_size: usize) -> Self {
        let window = Window1d::new(kernel_size);
        Conv1d { channels, window, groups: 1, bias: true, weight_init: None, bias_init: None }
    }
}

impl ConvTranspose2d {
    /// A layer with `channels` outputs and a square kernel; stride 1, no padding, a bias.
    pub fn new(channels: usize, kernel_size: usize) -> Self {
        let window = Window::new([kernel_size; 2]);
        ConvTranspose2d {
            channels,
            window,
            output_padding: [0; 2],
            groups: 1,
            bias: true,
            weight_init: None,
            bias_init: None,
        }
    }

    /// Sets the output padding of both axes.
    #[must_use]
    pub fn output_padding(mut self, output_padding: usize) -> Self {
        self.output_padding = [output_padding; 2];
        self
    }
}

impl ConvTranspose1d {
    /// A layer with `channels` outputs; stride 1, no padding, a bias.
    pub fn new(channels: usize, kernel_size: usize) -> Self {
        let window = Window1d::new(kernel_size);
        ConvTranspose1d {
            channels,
            window,
            output_padding: 0,
            groups: 1,
            bias: true,
            weight_init: None,
            bias_init: None,
        }
    }

    /// Sets the output padding.
    #[must_use]
    pub fn output_padding(mut self, output_padding: usize) -> Self {
        self.output_padding = output_padding;
        self
    }
}

macro_rules! settings {
    ($($layer:ty),+) => {$(
        impl $layer {
            /// Sets the stride of every axis.
            #[must_use]
            pub fn stride(mut self, stride: usize) -> Self {
                self.window = self.window.stride(stride);
                self
            }

            /// Sets the padding of all sides.
            #[must_use]
            pub fn padding(mut self, padding: usize) -> Self {
                self.window = self.window.padding(padding);
                self
            }

            /// Sets the dilation of every axis.
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
        }
    )+};
}
settings!(Conv2d, Conv1d, ConvTranspose2d, ConvTranspose1d);
weight_and_bias!(Conv2d, Conv1d, ConvTranspose2d, ConvTranspose1d);

/// The weight of shape `[outer, …kernel, inner]`, and `convolve` with it plus the bias if there is one. PyTorch's initial
/// values take `inner` for the channels that a sum goes over, of transposed convolutions as well, where it is not.
fn layer(
    scope: &Scope,
    [outer, inner]: [usize; 2],
    kernel: &[usize],
    bias: Option<usize>,
    [weight_init, bias_init]: [Option<Init>; 2],
    convolve: impl FnOnce(&Tensor) -> Tensor,
) -> Tensor {
    let init = Init::fan_in(inner * kernel.iter().product::<usize>());
    let shape = [&[outer], kernel, &[inner]].concat();
    let y = convolve(&scope.param("weight", &shape, weight_init.unwrap_or(init)));
    match bias {
        Some(channels) => y + scope.param("bias", &[channels], bias_init.unwrap_or(init)),
        None => y,
    }
}

/// Channels of `x`, its last axis.
fn channels(x: &Tensor) -> usize {
    x.shape().last().copied().unwrap_or(1)
}

impl Module for Conv2d {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let weight = [self.channels, channels(&x) / self.groups.max(1)];
        layer(
            scope,
            weight,
            &self.window.kernel_size,
            self.bias.then_some(self.channels),
            [self.weight_init, self.bias_init],
            |weight| x.conv2d(weight, self.window, self.groups),
        )
    }
}

impl Module for Conv1d {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let weight = [self.channels, channels(&x) / self.groups.max(1)];
        layer(
            scope,
            weight,
            &[self.window.kernel_size],
            self.bias.then_some(self.channels),
            [self.weight_init, self.bias_init],
            |weight| x.conv1d(weight, self.window, self.groups),
        )
    }
}

impl Module for ConvTranspose2d {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let weight = [channels(&x), self.channels / self.groups.max(1)];
        layer(
            scope,
            weight,
            &self.window.kernel_size,
            self.bias.then_some(self.channels),
            [self.weight_init, self.bias_init],
            |weight| x.conv_transpose2d(weight, self.window, self.output_padding, self.groups),
        )
    }
}

impl Module for ConvTranspose1d {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        let weight = [channels(&x), self.channels / self.groups.max(1)];
        layer(
            scope,
            weight,
            &[self.window.kernel_size],
            self.bias.then_some(self.channels),
            [self.weight_init, self.bias_init],
            |weight| x.conv_transpose1d(weight, self.window, self.output_padding, self.groups),
        )
    }
}
