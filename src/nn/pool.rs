//! Pooling and flattening.

use super::Module;
use crate::shape::Window;
use crate::tensor::{Scope, Tensor};

/// The largest pixel of each window, per channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool2d {
    /// Kernel size, stride, padding and dilation.
    pub window: Window,
}

impl MaxPool2d {
    /// Square windows side by side.
    pub fn new(kernel_size: usize) -> Self {
        MaxPool2d { window: Window::new([kernel_size; 2]).stride(kernel_size) }
    }
}

impl Module for MaxPool2d {
    fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
        x.max_pool2d(self.window)
    }
}

/// The mean of each window, per channel; padding counts as zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool2d {
    /// Kernel size, stride, padding and dilation.
    pub window: Window,
}

impl AvgPool2d {
    /// Square windows side by side.
    pub fn new(kernel_size: usize) -> Self {
        AvgPool2d { window: Window::new([kernel_size; 2]).stride(kernel_size) }
    }
}

impl Module for AvgPool2d {
    fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
        x.avg_pool2d(self.window)
    }
}

/// The mean of each channel: `[N, H, W, C]` to `[N, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalAvgPool2d;

impl Module for GlobalAvgPool2d {
    fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
        x.global_avg_pool2d()
    }
}

/// All axes but the first as one: `[N, …]` to `[N, features]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten;

impl Module for Flatten {
    fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
        x.flatten(1)
    }
}
