//! Pooling and flattening.

use super::Module;
use crate::shape::Window;
use crate::tensor::{Scope, Tensor};

/// The largest pixel of each window, per channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool2d {
    /// Kernel size, stride, padding and dilation.
    pub window: Window,
    /// Whether a last window may reach beyond the padded image.
    pub ceil_mode: bool,
}

impl MaxPool2d {
    /// Square windows side by side.
    pub fn new(kernel_size: usize) -> Self {
        MaxPool2d { window: Window::new([kernel_size; 2]).stride(kernel_size), ceil_mode: false }
    }

    /// Lets a last window reach beyond the padded image.
    #[must_use]
    pub fn ceil_mode(mut self) -> Self {
        self.ceil_mode = true;
        self
    }
}

impl Module for MaxPool2d {
    fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
        x.max_pool2d(if self.ceil_mode { self.window.ceil_mode(image_size(&x)) } else { self.window })
    }
}

/// The mean of each window, per channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool2d {
    /// Kernel size, stride, padding and dilation.
    pub window: Window,
    /// Whether padding counts as zeros, else not at all.
    pub count_include_pad: bool,
    /// Whether a last window may reach beyond the padded image; what is beyond does not count.
    pub ceil_mode: bool,
}

impl AvgPool2d {
    /// Square windows side by side; padding counts.
    pub fn new(kernel_size: usize) -> Self {
        let window = Window::new([kernel_size; 2]).stride(kernel_size);
        AvgPool2d { window, count_include_pad: true, ceil_mode: false }
    }

    /// Divides by the number of pixels inside the image.
    #[must_use]
    pub fn exclude_pad(mut self) -> Self {
        self.count_include_pad = false;
        self
    }

    /// Lets a last window reach beyond the padded image.
    #[must_use]
    pub fn ceil_mode(mut self) -> Self {
        self.ceil_mode = true;
        self
    }
}

impl Module for AvgPool2d {
    fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
        if !self.ceil_mode {
            return x.avg_pool2d_with(self.window, self.count_include_pad);
        }
        let mut window = self.window.ceil_mode(image_size(&x));
        if !self.count_include_pad || x.shape().len() != 4 {
            return x.avg_pool2d_with(window, false);
        }
        // Padding counts and what is beyond does not: the one becomes part of the image, the other stays padding.
        let [rows, columns] = self.window.padding.map(|[before, after]| (before, after));
        let padded = x.pad(&[(0, 0), rows, columns, (0, 0)], 0.0);
        for (padding, counted) in window.padding.iter_mut().zip(self.window.padding) {
            *padding = [0, padding[1] - counted[1]];
        }
        padded.avg_pool2d_with(window, false)
    }
}

/// `[H, W]`; zeros for what is no image, which pooling then refuses.
fn image_size(x: &Tensor) -> [usize; 2] {
    [1, 2].map(|axis| x.shape().get(axis).copied().unwrap_or(0))
}

/// `(Σ x^p)^(1/p)` of each window, per channel: [`Tensor::lp_pool2d`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LpPool2d {
    /// The power p.
    pub norm_type: f64,
    /// Kernel size, stride, padding and dilation.
    pub window: Window,
}

impl LpPool2d {
    /// Square windows side by side.
    pub fn new(norm_type: f64, kernel_size: usize) -> Self {
        LpPool2d { norm_type, window: Window::new([kernel_size; 2]).stride(kernel_size) }
    }
}

impl Module for LpPool2d {
    fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
        x.lp_pool2d(self.norm_type, self.window)
    }
}

/// The means of `[P, Q]` parts of the image, as even as can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveAvgPool2d {
    /// `[P, Q]`.
    pub size: [usize; 2],
}

impl Module for AdaptiveAvgPool2d {
    fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
        x.adaptive_avg_pool2d(self.size)
    }
}

/// The largest pixels of `[P, Q]` parts of the image, as even as can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveMaxPool2d {
    /// `[P, Q]`.
    pub size: [usize; 2],
}

impl Module for AdaptiveMaxPool2d {
    fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
        x.adaptive_max_pool2d(self.size)
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
