//! Transposed convolution, channels last: the gradient of a convolution's image, as an operation of its own.
//!
//! ```text
//! y[n, h, w, o] = Σ x[n, p, q, i] · weight[i, r, s, o]    over p, q, r, s, i with
//! h = p · stride + r · dilation - padding before,    w likewise from q and s
//! ```
//!
//! The image is `[N, H, W, Cin]`, the weight `[Cin, Kh, Kw, Cout / groups]`: that of the convolution `Cout → Cin` of which
//! this is the gradient. The result has `(H - 1) · stride - padding + dilation · (Kh - 1) + output padding + 1` rows. Output
//! padding adds rows after the last, which tells apart the image sizes that a stride rounds to one result; no zeros are
//! added, as in PyTorch. The work is that of [`Conv2dGradInput`]. Where the dilation is above the stride, output padding may
//! make room for further positions of the window; the image is then filled up with zeros.

use ndarray::Array4;

use crate::array::{Array, Element, Float};
use crate::error::{ErrorKind, Result};
use crate::graph::{Autocast, Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value};
use crate::ops::conv2d::{Conv2dGradInput, axes, check_groups, check_weight};
use crate::shape::Window;
use crate::with_float;

/// The transposed convolution: (image, weight) → result.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    /// Kernel, stride, padding and dilation of the convolution whose image is the result.
    pub window: Window,
    /// Rows and columns added to the result.
    pub output_padding: [usize; 2],
    /// Independent runs of channels.
    pub groups: usize,
}

impl ConvTranspose2d {
    fn output_size(&self, size: [usize; 2]) -> Result<[usize; 2]> {
        let extent =
            |axis| self.window.axis(axis).transposed_size("conv_transpose2d", size[axis], self.output_padding[axis]);
        Ok([extent(0)?, extent(1)?])
    }
}

impl Op for ConvTranspose2d {
    fn name(&self) -> &'static str {
        "conv_transpose2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let what =
            ["the image must be [N, H, W, Cin]", "the weight must be [Cin, Kh, Kw, Cout / groups], inputs first"];
        let [[batch, height, width, channels], weight] = axes(self.name(), inputs, what)?;
        let outputs = weight[3].saturating_mul(self.groups);
        check_groups(self.name(), self.groups, channels, outputs)?;
        let [kernel_height, kernel_width] = self.window.kernel_size;
        check_weight(self.name(), &weight, &[channels, kernel_height, kernel_width, weight[3]])?;
        let [rows, columns] = self.output_size([height, width])?;
        Ok(vec![TensorType::new(inputs[0].dtype, [batch, rows, columns, outputs])])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Parts
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Decompose
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        with_float!(self.name(), inputs[0], T => {
            let (x, weight) = (inputs[0].view4::<T>()?, inputs[1].view4::<T>()?);
            let (batch, height, width, channels) = x.dim();
            let (_, kernel_height, kernel_width, outputs) = weight.dim();
            let [rows, columns] = self.output_size([height, width])?;
            let mut y = Array4::from_elem((batch, rows, columns, self.groups * outputs), T::c(0.0));
            for ((n, p, q, i), &x) in x.indexed_iter() {
                let first_output = i / (channels / self.groups) * outputs;
                for r in 0..kernel_height {
                    for s in 0..kernel_width {
                        let (h, w) = (self.window.source(0, p, r, rows), self.window.source(1, q, s, columns));
                        let (Some(h), Some(w)) = (h, w) else { continue };
                        for o in 0..outputs {
                            y[[n, h, w, first_output + o]] += x * weight[[i, r, s, o]];
                        }
                    }
                }
            }
            Ok(vec![<T as Element>::wrap(y.into_dyn())])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let size = [graph.shape(inputs[0])[1], graph.shape(inputs[0])[2]];
        let image = self.output_size(size)?;
        let positions = self.window.output_size(self.name(), image)?;
        let missing = [0, positions[0] - size[0], positions[1] - size[1], 0];
        let filled = graph.pad(inputs[0], &[0; 4], &missing, 0.0)?;
        let op = Conv2dGradInput { window: self.window, groups: self.groups, image };
        Ok(vec![graph.emit(op, &[filled, inputs[1]])?])
    }
}

impl Graph {
    /// The transposed convolution of `image` `[N, H, W, Cin]` with `weight` `[Cin, Kh, Kw, Cout / groups]`, which is the
    /// gradient of the image of a convolution with this window.
    ///
    /// # Errors
    /// When the shapes, the window and the groups do not fit, the types are not one float type, the output padding is not
    /// below stride or dilation, or nothing is left of the result.
    pub fn conv_transpose2d(
        &mut self,
        image: Value,
        weight: Value,
        window: Window,
        output_padding: [usize; 2],
        groups: usize,
    ) -> Result<Value> {
        self.emit(ConvTranspose2d { window, output_padding, groups }, &[image, weight])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let window = |height, width| Window::new([height, width]);
    let sample = |name, image: [usize; 4], outputs: usize, window: Window, output_padding, groups| {
        let x = Sample::uniform(&image, -1.0, 1.0, 35);
        let [kernel_height, kernel_width] = window.kernel_size;
        let shape = [image[3], kernel_height, kernel_width, outputs / groups];
        let weight = Sample::uniform(&shape, -1.0, 1.0, 36);
        let op = ConvTranspose2d { window, output_padding, groups };
        Sample::new(name, op, vec![x, weight], Tolerance::sum(window.taps() * image[3] / groups))
    };
    let skewed = Window { kernel_size: [2, 5], stride: [3, 1], padding: [[1, 0], [2, 3]], dilation: [1, 2] };
    let mut samples = vec![
        sample("3×3", [2, 4, 5, 4], 8, window(3, 3).padding(1), [0, 0], 1),
        sample("one element", [1, 1, 1, 1], 1, window(1, 1), [0, 0], 1),
        sample("2×2, stride 2", [2, 3, 4, 5], 3, window(2, 2).stride(2), [0, 0], 1),
        sample("stride 2, output padding", [2, 4, 3, 4], 4, window(3, 3).stride(2).padding(1), [1, 1], 1),
        sample("stride 2, uneven output padding", [1, 3, 4, 3], 2, window(3, 3).stride(2).padding(1), [1, 0], 1),
        sample("kernel below stride", [1, 3, 3, 2], 3, window(2, 1).stride(3), [2, 1], 1),
        sample("dilation and stride", [1, 3, 4, 3], 2, window(3, 3).stride(2).padding(1).dilation(4), [1, 3], 1),
        sample("output padding above stride", [1, 4, 3, 2], 3, window(2, 3).padding(2).dilation(3), [2, 1], 1),
        sample("everything uneven", [2, 3, 4, 4], 6, skewed, [2, 1], 2),
        sample("depthwise, multiplier 2", [1, 4, 4, 3], 6, window(3, 3).stride(2).padding(1), [1, 1], 3),
        sample("no images", [0, 3, 3, 2], 3, window(3, 3).stride(2), [0, 0], 1),
        sample("no channels", [2, 3, 3, 0], 3, window(3, 3).stride(2), [1, 0], 1),
    ];

    let data = |shapes: [&[usize]; 2]| shapes.map(|shape| Sample::uniform(shape, -1.0, 1.0, 37)).to_vec();
    let op = |window, output_padding, groups| ConvTranspose2d { window, output_padding, groups };
    let error = |name, op, inputs, words| Sample::error(name, op, inputs, ErrorKind::Shape, words);
    let image: &[usize] = &[2, 3, 3, 4];
    let weight: &[usize] = &[4, 3, 3, 2];
    samples.extend([
        error(
            "image of three axes",
            op(window(3, 3), [0, 0], 1),
            data([&[3, 3, 4], weight]),
            "conv_transpose2d: the image must be [N, H, W, Cin], got [3, 3, 4]",
        ),
        error(
            "outputs first",
            op(window(3, 3), [0, 0], 1),
            data([image, &[2, 3, 3, 4]]),
            "the weight is [2, 3, 3, 4], channels, window and groups need [4, 3, 3, 4]",
        ),
        error(
            "groups",
            op(window(3, 3), [0, 0], 3),
            data([image, weight]),
            "3 groups must divide the 4 channels of the input and the 6 of the result",
        ),
        error("no groups", op(window(3, 3), [0, 0], 0), data([image, weight]), "0 groups must divide"),
        error(
            "output padding",
            op(window(3, 3).stride(2), [0, 2], 1),
            data([image, weight]),
            "output_padding 2 must be less than the stride 2 or the dilation 1",
        ),
        error(
            "only padding",
            op(window(3, 3).padding(3), [0, 0], 1),
            data([image, weight]),
            "nothing is left of the result",
        ),
        error("no rows", op(window(3, 3), [0, 0], 1), data([&[2, 0, 3, 4], weight]), "nothing is left of the result"),
        error("stride 0", op(window(3, 3).stride(0), [0, 0], 1), data([image, weight]), "must be at least 1"),
        Sample::error(
            "integers",
            op(window(3, 3), [0, 0], 1),
            vec![Array::full(image, 1u32), Array::full(weight, 1u32)],
            ErrorKind::DType,
            "takes floats of one type, got u32[2, 3, 3, 4] and u32[4, 3, 3, 2]",
        ),
    ]);
    samples
}
