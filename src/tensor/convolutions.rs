//! Convolutions over one axis, and transposed ones; that of two axes is with the other methods.

use std::panic::Location;

use super::Tensor;
use crate::shape::{Window, Window1d};

impl Tensor {
    /// Convolution of `[N, L, Cin]` with `[Cout, K, Cin / groups]`: `[N, P, Cout]` with
    /// `P = (L + padding - dilation · (K - 1) - 1) / stride + 1`.
    #[track_caller]
    #[must_use]
    pub fn conv1d(&self, weight: &Tensor, window: Window1d, groups: usize) -> Tensor {
        self.apply(&[weight], 3, Location::caller(), |graph, v| graph.conv1d(v[0], v[1], window, groups))
    }

    /// Transposed convolution of `[N, H, W, Cin]` with `[Cin, Kh, Kw, Cout / groups]`: `[N, H', W', Cout]` with
    /// `H' = (H - 1) · stride - padding + dilation · (Kh - 1) + output_padding + 1`.
    #[track_caller]
    #[must_use]
    pub fn conv_transpose2d(
        &self,
        weight: &Tensor,
        window: Window,
        output_padding: [usize; 2],
        groups: usize,
    ) -> Tensor {
        self.apply(&[weight], 4, Location::caller(), |graph, v| {
            graph.conv_transpose2d(v[0], v[1], window, output_padding, groups)
        })
    }

    /// Transposed convolution of `[N, L, Cin]` with `[Cin, K, Cout / groups]`: `[N, L', Cout]` with
    /// `L' = (L - 1) · stride - padding + dilation · (K - 1) + output_padding + 1`.
    #[track_caller]
    #[must_use]
    pub fn conv_transpose1d(&self, weight: &Tensor, window: Window1d, output_padding: usize, groups: usize) -> Tensor {
        self.apply(&[weight], 3, Location::caller(), |graph, v| {
            graph.conv_transpose1d(v[0], v[1], window, output_padding, groups)
        })
    }
}
