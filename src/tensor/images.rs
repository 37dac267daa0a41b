//! Methods for images `[N, H, W, C]`, and sequences `[N, L, C]`: other sizes, pooling, rearranged pixels, borders.

use std::panic::Location;

use super::Tensor;
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::ops::border::Border;
use crate::ops::resample::Interpolation;
use crate::shape::{Window, normalize_axes};

impl Tensor {
    /// The image `[N, H, W, C]` in another size: `[N, size, C]`. The formulas are in [`crate::ops::resample`].
    #[track_caller]
    #[must_use]
    pub fn interpolate(&self, size: [usize; 2], mode: Interpolation) -> Tensor {
        self.apply(&[], 4, Location::caller(), |graph, v| graph.interpolate(v[0], size, mode))
    }

    /// The image `[N, H, W, C]` in the size `floor(H · scale), floor(W · scale)`.
    ///
    /// Where that rounds, pixels follow from the sizes, as with PyTorch's `recompute_scale_factor=True`.
    #[track_caller]
    #[must_use]
    pub fn interpolate_by(&self, scale: [f64; 2], mode: Interpolation) -> Tensor {
        let extent = |axis: usize| self.shape().get(1 + axis).copied().unwrap_or(0);
        self.interpolate([0, 1].map(|axis| (extent(axis) as f64 * scale[axis]).floor() as usize), mode)
    }

    /// The means of `[P, Q]` parts of `[N, H, W, C]`, as even as can be: `[N, P, Q, C]`.
    #[track_caller]
    #[must_use]
    pub fn adaptive_avg_pool2d(&self, size: [usize; 2]) -> Tensor {
        self.apply(&[], 4, Location::caller(), |graph, v| graph.adaptive_avg_pool2d(v[0], size))
    }

    /// The largest pixels of `[P, Q]` parts of `[N, H, W, C]`, as even as can be: `[N, P, Q, C]`.
    #[track_caller]
    #[must_use]
    pub fn adaptive_max_pool2d(&self, size: [usize; 2]) -> Tensor {
        self.apply(&[], 4, Location::caller(), |graph, v| graph.adaptive_max_pool2d(v[0], size))
    }

    /// As [`Tensor::adaptive_max_pool2d`], with the flat index `h · W + w` of each of those pixels (`u32`).
    #[track_caller]
    #[must_use]
    pub fn adaptive_max_pool2d_with_indices(&self, size: [usize; 2]) -> [Tensor; 2] {
        self.apply_several(&[], [4, 4], Location::caller(), |graph, v| {
            graph.adaptive_max_pool2d_with_indices(v[0], size)
        })
    }

    /// `(Σ x^p)^(1/p)` of each window, per channel, of `[N, H, W, C]`, for p = `norm_type`; see [`crate::ops::lp_pool`].
    #[track_caller]
    #[must_use]
    pub fn lp_pool2d(&self, norm_type: f64, window: Window) -> Tensor {
        self.apply(&[], 4, Location::caller(), |graph, v| graph.lp_pool2d(v[0], norm_type, window))
    }

    /// The mean of each window, per channel, of `[N, H, W, C]`; padding counts as zeros if `count_include_pad`, else not at
    /// all.
    #[track_caller]
    #[must_use]
    pub fn avg_pool2d_with(&self, window: Window, count_include_pad: bool) -> Tensor {
        self.apply(&[], 4, Location::caller(), |graph, v| graph.avg_pool2d(v[0], window, count_include_pad))
    }

    /// The largest element of each window, per channel, of `[N, L, C]`.
    #[track_caller]
    #[must_use]
    pub fn max_pool1d(&self, kernel_size: usize, stride: usize, padding: usize) -> Tensor {
        let window = row_window(kernel_size, stride, padding);
        self.as_rows("max_pool1d", Location::caller(), |graph, row| graph.max_pool2d(row, window))
    }

    /// The mean of each window, per channel, of `[N, L, C]`; padding counts as zeros.
    #[track_caller]
    #[must_use]
    pub fn avg_pool1d(&self, kernel_size: usize, stride: usize, padding: usize) -> Tensor {
        let window = row_window(kernel_size, stride, padding);
        self.as_rows("avg_pool1d", Location::caller(), |graph, row| graph.avg_pool2d(row, window, true))
    }

    /// The means of `size` parts of `[N, L, C]`, as even as can be: `[N, size, C]`.
    #[track_caller]
    #[must_use]
    pub fn adaptive_avg_pool1d(&self, size: usize) -> Tensor {
        self.as_rows("adaptive_avg_pool1d", Location::caller(), |graph, row| graph.adaptive_avg_pool2d(row, [1, size]))
    }

    /// The largest elements of `size` parts of `[N, L, C]`, as even as can be: `[N, size, C]`.
    #[track_caller]
    #[must_use]
    pub fn adaptive_max_pool1d(&self, size: usize) -> Tensor {
        self.as_rows("adaptive_max_pool1d", Location::caller(), |graph, row| graph.adaptive_max_pool2d(row, [1, size]))
    }

    /// What `build` makes of `[N, L, C]` as images of one row.
    fn as_rows(
        &self,
        name: &str,
        location: &'static Location<'static>,
        build: impl FnOnce(&mut Graph, Value) -> Result<Value>,
    ) -> Tensor {
        self.apply(&[], 3, location, |graph, v| {
            let [batch, length, channels] = *graph.shape(v[0]) else {
                return Err(Error::shape(name, format_args!("takes [N, L, C], got {:?}", graph.shape(v[0]))));
            };
            let rows = graph.reshape(v[0], &[batch, 1, length, channels])?;
            let pooled = build(graph, rows)?;
            let length = graph.shape(pooled)[2];
            graph.reshape(pooled, &[batch, length, channels])
        })
    }

    /// Channels to pixels: `[N, H, W, C · r²]` to `[N, H · r, W · r, C]`.
    #[track_caller]
    #[must_use]
    pub fn pixel_shuffle(&self, upscale_factor: usize) -> Tensor {
        self.apply(&[], 4, Location::caller(), |graph, v| graph.pixel_shuffle(v[0], upscale_factor))
    }

    /// Pixels to channels: `[N, H · r, W · r, C]` to `[N, H, W, C · r²]`.
    #[track_caller]
    #[must_use]
    pub fn pixel_unshuffle(&self, downscale_factor: usize) -> Tensor {
        self.apply(&[], 4, Location::caller(), |graph, v| graph.pixel_unshuffle(v[0], downscale_factor))
    }

    /// The elements of `axes` (negative ones count from the end) in reverse order.
    #[track_caller]
    #[must_use]
    pub fn flip(&self, axes: &[isize]) -> Tensor {
        let rank = self.shape().len();
        self.apply(&[], rank, Location::caller(), |graph, v| graph.flip(v[0], &normalize_axes("flip", axes, rank)?))
    }

    /// `borders[axis]` elements (before, after) every axis, mirrored at the edge element, which is not repeated.
    #[track_caller]
    #[must_use]
    pub fn pad_reflect(&self, borders: &[(usize, usize)]) -> Tensor {
        self.pad_border(Border::Reflect, borders)
    }

    /// `borders[axis]` elements (before, after) every axis, equal to the edge element.
    #[track_caller]
    #[must_use]
    pub fn pad_replicate(&self, borders: &[(usize, usize)]) -> Tensor {
        self.pad_border(Border::Replicate, borders)
    }

    /// `borders[axis]` elements (before, after) every axis, taken from the other end.
    #[track_caller]
    #[must_use]
    pub fn pad_circular(&self, borders: &[(usize, usize)]) -> Tensor {
        self.pad_border(Border::Circular, borders)
    }

    #[track_caller]
    fn pad_border(&self, border: Border, borders: &[(usize, usize)]) -> Tensor {
        let (before, after): (Vec<usize>, Vec<usize>) = borders.iter().copied().unzip();
        let rank = self.shape().len();
        self.apply(&[], rank, Location::caller(), |graph, v| graph.pad_border(v[0], border, &before, &after))
    }
}

/// A window over images of one row.
fn row_window(kernel_size: usize, stride: usize, padding: usize) -> Window {
    Window { stride: [1, stride], padding: [[0; 2], [padding; 2]], ..Window::new([1, kernel_size]) }
}
