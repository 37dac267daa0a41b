//! Products that are convolutions of 3×3 with stride 1: those that Winograd's minimal filtering F(2×2, 3×3) can compute.
//!
//! A convolution and its input gradient are the same sum over the same window, but for where the window starts and which
//! way round the filters lie; [`Gemm::filtering`] says both, or that a product is no such convolution. It is a fact about
//! the sum, not how a device computes it.
//!
//! Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308.

use super::{Gemm, Matrix, Operand};
use crate::shape::Window;

/// A convolution of 3×3 with stride 1, in one group:
/// `result[n, p, q, o] = Σ_{r, s, c} image[n, p + r + origin, q + s + origin, c] · filter(r, s, c, o)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filtering {
    /// Images.
    pub images: usize,
    /// `[H, W]` of input 0.
    pub image: [usize; 2],
    /// `[P, Q]` of output 0.
    pub result: [usize; 2],
    /// The pixel at which the window of result (0, 0) starts.
    pub origin: [isize; 2],
    /// Channels that are summed over.
    pub channels: usize,
    /// Elements from pixel to pixel of the image.
    pub pixel: usize,
    /// Channels of the result.
    pub outputs: usize,
    /// Elements of input 1 from tap to tap, from channel to channel, and from output to output.
    pub strides: [usize; 3],
    /// Whether the filters are read from the last tap to the first.
    pub turned: bool,
}

impl Filtering {
    /// The element of input 1 that tap (r, s) multiplies channel `channel` by, for channel `output` of the result.
    pub fn filter(&self, [r, s]: [usize; 2], channel: usize, output: usize) -> usize {
        let tap = if self.turned { 8 - (3 * r + s) } else { 3 * r + s };
        let [of_tap, of_channel, of_output] = self.strides;
        tap * of_tap + channel * of_channel + output * of_output
    }
}

impl Gemm {
    /// What convolution of 3×3 this is, if it is one, with something to compute.
    pub fn filtering(&self) -> Option<Filtering> {
        let &Gemm { groups, m, n, k, a, b, output } = self;
        let dense = output.column == 1 && output.row == n;
        if groups != 1 || m == 0 || n == 0 || k == 0 || !dense {
            return None;
        }
        let filtering = match (a, b) {
            (
                Operand::Patches { window, image, positions, channels, pixel },
                Operand::Matrix(Matrix { row, column, .. }),
            ) if is_plain(&window) => Filtering {
                images: 0,
                image,
                result: positions,
                origin: [0, 1].map(|axis| -(window.padding[axis][0] as isize)),
                channels,
                pixel,
                outputs: n,
                strides: [channels * row, row, column],
                turned: false,
            },
            (
                Operand::Covering { window, image, positions, channels, pixel },
                Operand::Filters { taps: 9, outputs, channels: columns },
            ) if is_plain(&window) && outputs == channels && columns == n => Filtering {
                images: 0,
                image: positions,
                result: image,
                origin: [0, 1].map(|axis| window.padding[axis][0] as isize - 2),
                channels,
                pixel,
                outputs: n,
                strides: [n, 9 * n, 1],
                turned: true,
            },
            _ => return None,
        };
        let positions = filtering.result[0] * filtering.result[1];
        (m.is_multiple_of(positions) && k == 9 * filtering.channels)
            .then_some(Filtering { images: m / positions, ..filtering })
    }
}

fn is_plain(window: &Window) -> bool {
    window.kernel_size == [3, 3] && window.stride == [1, 1] && window.dilation == [1, 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(window: Window) -> Gemm {
        let a = Operand::Patches { window, image: [5, 6], positions: [5, 6], channels: 4, pixel: 4 };
        let b = Operand::Matrix(Matrix { row: 1, column: 36, group: 0 });
        Gemm { groups: 1, m: 60, n: 8, k: 36, a, b, output: Matrix { row: 8, column: 1, group: 0 } }
    }

    #[test]
    fn the_filters_of_a_gradient_are_turned() {
        let window = Window::new([3, 3]).padding(1);
        let forward = forward(window);
        let filtering = forward.filtering().unwrap();
        assert_eq!((filtering.images, filtering.origin, filtering.turned), (2, [-1, -1], false));
        // [output, tap, channel].
        assert_eq!(filtering.filter([1, 2], 3, 7), 7 * 36 + 5 * 4 + 3);

        let a = Operand::Covering { window, image: [5, 6], positions: [5, 6], channels: 8, pixel: 8 };
        let b = Operand::Filters { taps: 9, outputs: 8, channels: 4 };
        let gradient = Gemm { m: 60, n: 4, k: 72, a, b, output: Matrix { row: 4, column: 1, group: 0 }, ..forward };
        let filtering = gradient.filtering().unwrap();
        assert_eq!((filtering.origin, filtering.turned), ([-1, -1], true));
        assert_eq!(filtering.filter([1, 2], 7, 3), 7 * 36 + 3 * 4 + 3);
    }

    #[test]
    fn other_windows_and_groups_are_none() {
        let window = Window::new([3, 3]).padding(1);
        assert!(forward(window).filtering().is_some());
        assert!(forward(window.stride(2)).filtering().is_none());
        assert!(forward(window.dilation(2)).filtering().is_none());
        assert!(forward(Window::new([1, 3])).filtering().is_none());
        assert!(Gemm { groups: 2, ..forward(window) }.filtering().is_none());
        assert!(Gemm { m: 0, ..forward(window) }.filtering().is_none());
    }
}
