//! Extents: counting, strides, broadcasting, axes, and the sliding windows of convolution and pooling.
//!
//! Shapes are plain `&[usize]`, row-major. Everything here is a function of sizes alone; no data, no graph.

use crate::error::{Error, Result};

/// The product of the extents; 1 for no axes.
pub fn element_count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Row-major strides, in elements.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// The shape that `shapes` broadcast to (NumPy's rule: aligned at the last axis, an extent of 1 stretches).
///
/// # Errors
/// Names `op` and the two extents that differ.
pub fn broadcast(op: &str, shapes: &[&[usize]]) -> Result<Vec<usize>> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut result = vec![1; rank];
    for shape in shapes {
        for (axis, &extent) in (rank - shape.len()..).zip(shape.iter()) {
            if result[axis] == 1 {
                result[axis] = extent;
            } else if extent != 1 && extent != result[axis] {
                return Err(Error::shape(
                    op,
                    format_args!(
                        "shapes {shapes:?} do not broadcast: {} against {extent} on axis {axis}",
                        result[axis]
                    ),
                ));
            }
        }
    }
    Ok(result)
}

/// Axes of `rank` as given by the user (negative ones count from the end), sorted.
///
/// # Errors
/// An axis out of range, or named twice.
pub fn normalize_axes(op: &str, axes: &[isize], rank: usize) -> Result<Vec<usize>> {
    let mut result = Vec::with_capacity(axes.len());
    for &axis in axes {
        let positive = if axis < 0 { axis + rank as isize } else { axis };
        if positive < 0 || positive >= rank as isize {
            return Err(Error::shape(op, format_args!("axis {axis} is out of range for {rank} axes")));
        }
        result.push(positive as usize);
    }
    result.sort_unstable();
    if result.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::shape(op, format_args!("axes {axes:?} name one axis twice")));
    }
    Ok(result)
}

/// A row-major `shape` as `[outer, extent, inner]` around `axis`: all axes before it as one, and all after it.
pub fn around_axis(shape: &[usize], axis: usize) -> [usize; 3] {
    [element_count(&shape[..axis]), shape[axis], element_count(&shape[axis + 1..])]
}

/// The multi-index of the row-major `flat` index in `shape`.
pub fn unravel(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        index[axis] = flat % shape[axis];
        flat /= shape[axis];
    }
    index
}

/// A window that slides over the two spatial axes of an image, as in convolution and pooling.
///
/// All pairs are (height, width); padding is (before, after) for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Extents of the window.
    pub kernel_size: [usize; 2],
    /// Steps between two positions.
    pub stride: [usize; 2],
    /// Rows (columns) added `[before, after]` the image.
    pub padding: [[usize; 2]; 2],
    /// Steps between two taps of the window.
    pub dilation: [usize; 2],
}

impl Window {
    /// A window of `kernel_size` with stride 1, no padding and no dilation.
    pub fn new(kernel_size: [usize; 2]) -> Self {
        Window { kernel_size, stride: [1, 1], padding: [[0; 2]; 2], dilation: [1, 1] }
    }

    /// Sets both strides.
    #[must_use]
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = [stride; 2];
        self
    }

    /// Sets the padding of all four sides.
    #[must_use]
    pub fn padding(mut self, padding: usize) -> Self {
        self.padding = [[padding; 2]; 2];
        self
    }

    /// Sets both dilations.
    #[must_use]
    pub fn dilation(mut self, dilation: usize) -> Self {
        self.dilation = [dilation; 2];
        self
    }

    /// The number of taps.
    pub fn taps(&self) -> usize {
        self.kernel_size[0] * self.kernel_size[1]
    }

    /// The extents of the output over an image of `size`:
    /// `(size + before + after - dilation * (kernel_size - 1) - 1) / stride + 1`.
    ///
    /// # Errors
    /// Names `op`: a zero stride, dilation or kernel, or a window larger than the padded image.
    pub fn output_size(&self, op: &str, size: [usize; 2]) -> Result<[usize; 2]> {
        let mut output = [0; 2];
        for axis in 0..2 {
            let (kernel, stride, dilation) = (self.kernel_size[axis], self.stride[axis], self.dilation[axis]);
            if kernel == 0 || stride == 0 || dilation == 0 {
                return Err(Error::shape(
                    op,
                    format_args!(
                        "kernel_size {:?}, stride {:?} and dilation {:?} must be at least 1",
                        self.kernel_size, self.stride, self.dilation
                    ),
                ));
            }
            let padded = size[axis].saturating_add(self.padding[axis][0]).saturating_add(self.padding[axis][1]);
            let extent = dilation.saturating_mul(kernel - 1).saturating_add(1);
            if extent > padded {
                return Err(Error::shape(
                    op,
                    format_args!(
                        "a window of {extent} (kernel_size {kernel}, dilation {dilation}) is larger than the padded image of \
                     {padded} (size {}, padding {:?}); pad more or use a smaller window",
                        size[axis], self.padding[axis]
                    ),
                ));
            }
            output[axis] = (padded - extent) / stride + 1;
        }
        Ok(output)
    }

    /// Where tap `tap` of the window at output position `position` reads on `axis`, if inside an image of `size`.
    pub fn source(&self, axis: usize, position: usize, tap: usize, size: usize) -> Option<usize> {
        (position * self.stride[axis] + tap * self.dilation[axis])
            .checked_sub(self.padding[axis][0])
            .filter(|&source| source < size)
    }

    /// The output position whose tap `tap` reads `source` on `axis`, if there is one among `positions`.
    pub fn position(&self, axis: usize, source: usize, tap: usize, positions: usize) -> Option<usize> {
        let shifted = (source + self.padding[axis][0]).checked_sub(tap * self.dilation[axis])?;
        let position = shifted / self.stride[axis];
        (shifted % self.stride[axis] == 0 && position < positions).then_some(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn broadcasting_follows_numpy() {
        assert_eq!(broadcast("add", &[&[3, 1], &[4]]).unwrap(), [3, 4]);
        assert_eq!(broadcast("add", &[&[], &[2, 0]]).unwrap(), [2, 0]);
        let error = broadcast("add", &[&[3, 2], &[4]]).unwrap_err().to_string();
        assert!(error.contains("add") && error.contains("2 against 4 on axis 1"), "{error}");
    }

    proptest! {
        #[test]
        fn window_positions_and_sources_are_inverse(
            size in 1usize..12, kernel in 1usize..5, stride in 1usize..4, before in 0usize..3, after in 0usize..3, dilation in 1usize..4,
        ) {
            let window = Window {
                kernel_size: [kernel; 2], stride: [stride; 2], padding: [[before, after]; 2], dilation: [dilation; 2],
            };
            let Ok([positions, _]) = window.output_size("test", [size; 2]) else { return Ok(()) };
            for tap in 0..kernel {
                for position in 0..positions {
                    if let Some(source) = window.source(0, position, tap, size) {
                        prop_assert_eq!(window.position(0, source, tap, positions), Some(position));
                    }
                }
                for source in 0..size {
                    if let Some(position) = window.position(0, source, tap, positions) {
                        prop_assert_eq!(window.source(0, position, tap, size), Some(source));
                    }
                }
            }
        }

        #[test]
        fn strides_and_unravel_agree(shape in proptest::collection::vec(1usize..5, 0..5)) {
            let strides = strides(&shape);
            for flat in 0..element_count(&shape) {
                let index = unravel(flat, &shape);
                prop_assert_eq!(index.iter().zip(&strides).map(|(i, s)| i * s).sum::<usize>(), flat);
            }
        }
    }
}
