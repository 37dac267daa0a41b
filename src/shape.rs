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

    /// The window on one axis.
    pub fn axis(&self, axis: usize) -> Window1d {
        Window1d {
            kernel_size: self.kernel_size[axis],
            stride: self.stride[axis],
            padding: self.padding[axis],
            dilation: self.dilation[axis],
        }
    }

    /// The extents of the output over an image of `size`: [`Window1d::output_size`] of both axes.
    ///
    /// # Errors
    /// Names `op`: a zero stride, dilation or kernel, or a window larger than the padded image.
    pub fn output_size(&self, op: &str, size: [usize; 2]) -> Result<[usize; 2]> {
        Ok([self.axis(0).output_size(op, size[0])?, self.axis(1).output_size(op, size[1])?])
    }

    /// The window with padding added behind an image of `size`, so that the number of positions is rounded up (PyTorch's
    /// `ceil_mode`); a position that would start behind the image is left out.
    #[must_use]
    pub fn ceil_mode(mut self, size: [usize; 2]) -> Self {
        for (axis, size) in size.into_iter().enumerate() {
            let (stride, [before, after]) = (self.stride[axis], self.padding[axis]);
            let extent = self.dilation[axis].saturating_mul(self.kernel_size[axis].saturating_sub(1)).saturating_add(1);
            let padded = size.saturating_add(before).saturating_add(after);
            // Other windows are no windows; `output_size` says so.
            if stride == 0 || extent > padded || (padded - extent).is_multiple_of(stride) {
                continue;
            }
            let next = ((padded - extent) / stride + 1) * stride;
            if next < size + before {
                self.padding[axis][1] += next + extent - padded;
            }
        }
        self
    }

    /// Where tap `tap` of the window at output position `position` reads on `axis`, if inside an image of `size`.
    pub fn source(&self, axis: usize, position: usize, tap: usize, size: usize) -> Option<usize> {
        self.axis(axis).source(position, tap, size)
    }

    /// The output position whose tap `tap` reads `source` on `axis`, if there is one among `positions`.
    pub fn position(&self, axis: usize, source: usize, tap: usize, positions: usize) -> Option<usize> {
        let shifted = (source + self.padding[axis][0]).checked_sub(tap * self.dilation[axis])?;
        let position = shifted / self.stride[axis];
        (shifted % self.stride[axis] == 0 && position < positions).then_some(position)
    }
}

/// A window that slides over the one spatial axis of `[N, L, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window1d {
    /// Extent of the window.
    pub kernel_size: usize,
    /// Steps between two positions.
    pub stride: usize,
    /// Elements added `[before, after]`.
    pub padding: [usize; 2],
    /// Steps between two taps of the window.
    pub dilation: usize,
}

impl Window1d {
    /// A window of `kernel_size` with stride 1, no padding and no dilation.
    pub fn new(kernel_size: usize) -> Self {
        Window1d { kernel_size, stride: 1, padding: [0; 2], dilation: 1 }
    }

    /// Sets the stride.
    #[must_use]
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the padding of both sides.
    #[must_use]
    pub fn padding(mut self, padding: usize) -> Self {
        self.padding = [padding; 2];
        self
    }

    /// Sets the dilation.
    #[must_use]
    pub fn dilation(mut self, dilation: usize) -> Self {
        self.dilation = dilation;
        self
    }

    /// The same on an image of one row.
    pub fn in_one_row(&self) -> Window {
        Window {
            kernel_size: [1, self.kernel_size],
            stride: [1, self.stride],
            padding: [[0; 2], self.padding],
            dilation: [1, self.dilation],
        }
    }

    /// From the first tap to behind the last: `dilation * (kernel_size - 1) + 1`.
    fn extent(&self, op: &str) -> Result<usize> {
        let Window1d { kernel_size, stride, dilation, .. } = *self;
        if kernel_size == 0 || stride == 0 || dilation == 0 {
            return Err(Error::shape(
                op,
                format_args!("kernel_size {kernel_size}, stride {stride} and dilation {dilation} must be at least 1"),
            ));
        }
        Ok(dilation.saturating_mul(kernel_size - 1).saturating_add(1))
    }

    /// The extent of the output over `size`: `(size + before + after - dilation * (kernel_size - 1) - 1) / stride + 1`.
    ///
    /// # Errors
    /// Names `op`: a zero stride, dilation or kernel, or a window larger than the padded input.
    pub fn output_size(&self, op: &str, size: usize) -> Result<usize> {
        let (extent, [before, after]) = (self.extent(op)?, self.padding);
        let padded = size.saturating_add(before).saturating_add(after);
        if extent > padded {
            return Err(Error::shape(
                op,
                format_args!(
                    "a window of {extent} (kernel_size {}, dilation {}) is larger than the padded image of {padded} \
                     (size {size}, padding {:?}); pad more or use a smaller window",
                    self.kernel_size, self.dilation, self.padding
                ),
            ));
        }
        Ok((padded - extent) / self.stride + 1)
    }

    /// The extent of the output of the transposed window over `size` positions:
    /// `(size - 1) * stride + dilation * (kernel_size - 1) + 1 + output_padding - before - after`.
    ///
    /// Strides round down, so several sizes have as many positions; `output_padding` chooses among them.
    ///
    /// # Errors
    /// Names `op`: a zero stride, dilation, kernel or size, an output padding not below stride or dilation, or padding that
    /// leaves nothing.
    pub fn transposed_size(&self, op: &str, size: usize, output_padding: usize) -> Result<usize> {
        let (extent, [before, after]) = (self.extent(op)?, self.padding);
        if output_padding >= self.stride.max(self.dilation) {
            return Err(Error::shape(
                op,
                format_args!(
                    "output_padding {output_padding} must be less than the stride {} or the dilation {}",
                    self.stride, self.dilation
                ),
            ));
        }
        let reach = size.saturating_sub(1).saturating_mul(self.stride).saturating_add(extent);
        let full = reach.saturating_add(output_padding);
        match full.checked_sub(before.saturating_add(after)) {
            Some(left) if left > 0 && size > 0 => Ok(left),
            _ => Err(Error::shape(
                op,
                format_args!(
                    "nothing is left of the result (size {size}, stride {}, window {extent}, output_padding \
                     {output_padding}) without its padding {:?}; pad less",
                    self.stride, self.padding
                ),
            )),
        }
    }

    /// The taps that may read the element `source`, and with it every `stride`-th from there: evenly spaced.
    pub fn taps_reading(&self, source: usize) -> impl Iterator<Item = usize> + use<> {
        let Window1d { kernel_size, stride, padding, dilation } = *self;
        (0..kernel_size).filter(move |tap| (source + padding[0]) % stride == tap * dilation % stride)
    }

    /// Where tap `tap` of the window at output position `position` reads, if inside an input of `size`.
    pub fn source(&self, position: usize, tap: usize, size: usize) -> Option<usize> {
        (position * self.stride + tap * self.dilation).checked_sub(self.padding[0]).filter(|&source| source < size)
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
