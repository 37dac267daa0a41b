//! Layers without parameters for images `[N, H, W, C]`: other sizes, rearranged pixels, borders.

use super::Module;
use crate::ops::resample::Interpolation;
use crate::tensor::{Scope, Tensor};

/// Images in another size: `[N, H, W, C]` to `[N, P, Q, C]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Upsample {
    /// Which size.
    pub size: UpsampleSize,
    /// How.
    pub mode: Interpolation,
}

/// The size that [`Upsample`] gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UpsampleSize {
    /// `[P, Q]`.
    Pixels([usize; 2]),
    /// Factors of height and width; what they give is rounded down.
    Factors([f64; 2]),
}

impl Upsample {
    /// To `[P, Q]` pixels, by nearest neighbours.
    pub fn to(size: [usize; 2]) -> Self {
        Upsample { size: UpsampleSize::Pixels(size), mode: Interpolation::Nearest }
    }

    /// By a factor, by nearest neighbours.
    pub fn by(factor: f64) -> Self {
        Upsample { size: UpsampleSize::Factors([factor; 2]), mode: Interpolation::Nearest }
    }

    /// Sets how.
    #[must_use]
    pub fn mode(mut self, mode: Interpolation) -> Self {
        self.mode = mode;
        self
    }
}

impl Module for Upsample {
    fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
        match self.size {
            UpsampleSize::Pixels(size) => x.interpolate(size, self.mode),
            UpsampleSize::Factors(factors) => x.interpolate_by(factors, self.mode),
        }
    }
}

/// Channels to pixels: `[N, H, W, C · r²]` to `[N, H · r, W · r, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelShuffle {
    /// The factor r.
    pub upscale_factor: usize,
}

impl Module for PixelShuffle {
    fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
        x.pixel_shuffle(self.upscale_factor)
    }
}

/// Pixels to channels: `[N, H · r, W · r, C]` to `[N, H, W, C · r²]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelUnshuffle {
    /// The factor r.
    pub downscale_factor: usize,
}

impl Module for PixelUnshuffle {
    fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
        x.pixel_unshuffle(self.downscale_factor)
    }
}

macro_rules! padding_layer {
    ($($(#[$doc:meta])* $name:ident, $method:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            /// Rows and columns added (before, after).
            pub padding: [(usize, usize); 2],
        }

        impl $name {
            /// The same on all four sides.
            pub fn new(padding: usize) -> Self {
                $name { padding: [(padding, padding); 2] }
            }
        }

        impl Module for $name {
            fn forward(&self, _: &Scope, x: Tensor) -> Tensor {
                x.$method(&[(0, 0), self.padding[0], self.padding[1], (0, 0)])
            }
        }
    )+};
}
padding_layer! {
    /// A border that mirrors the image at its edge pixels: [`Tensor::pad_reflect`].
    ReflectionPad2d, pad_reflect;
    /// A border that repeats the edge pixels: [`Tensor::pad_replicate`].
    ReplicationPad2d, pad_replicate;
    /// A border that continues at the other end of the image: [`Tensor::pad_circular`].
    CircularPad2d, pad_circular;
}
