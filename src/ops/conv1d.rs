//! Convolution over one spatial axis, and its transpose: those of two axes on images of one row.
//!
//! ```text
//! conv1d            y[n, p, o] = Σ_{r, c} x[n, l, c] · weight[o, r, c],    zero where l is outside
//! conv_transpose1d  y[n, l, o] = Σ x[n, p, i] · weight[i, r, o]    over p, r, i
//!                   l = p · stride + r · dilation - padding before
//! ```
//!
//! The input is `[N, L, Cin]`, the weight `[Cout, K, Cin / groups]`, or `[Cin, K, Cout / groups]` of the transpose. Both are
//! views before and after [`super::conv2d`] and [`super::conv_transpose2d`], where groups and output padding are explained.

use ndarray::Array3;

use crate::array::{Array, Element, Float};
use crate::error::{ErrorKind, Result};
use crate::graph::{Autocast, Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value};
use crate::ops::conv2d::{axes, check_groups, check_weight};
use crate::shape::Window1d;
use crate::with_float;

const INPUT: &str = "the input must be [N, L, Cin]";

/// The convolution: (input, weight) → `[N, P, Cout]`.
#[derive(Clone, Debug)]
pub struct Conv1d {
    /// Kernel, stride, padding and dilation.
    pub window: Window1d,
    /// Independent runs of channels.
    pub groups: usize,
}

/// The transposed convolution: (input, weight) → `[N, L, Cout]`.
#[derive(Clone, Debug)]
pub struct ConvTranspose1d {
    /// Kernel, stride, padding and dilation of the convolution whose input is the result.
    pub window: Window1d,
    /// Elements added to the result.
    pub output_padding: usize,
    /// Independent runs of channels.
    pub groups: usize,
}

impl Op for Conv1d {
    fn name(&self) -> &'static str {
        "conv1d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let what = [INPUT, "the weight must be [Cout, K, Cin / groups]"];
        let [[batch, length, channels], weight] = axes(self.name(), inputs, what)?;
        check_groups(self.name(), self.groups, channels, weight[0])?;
        check_weight(self.name(), &weight, &[weight[0], self.window.kernel_size, channels / self.groups])?;
        let positions = self.window.output_size(self.name(), length)?;
        Ok(vec![TensorType::new(inputs[0].dtype, [batch, positions, weight[0]])])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Parts
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Decompose
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        with_float!(self.name(), inputs[0], T => {
            let x = inputs[0].view3::<T>()?;
            let weight = inputs[1].view3::<T>()?;
            let (batch, length, _) = x.dim();
            let (outputs, kernel, channels) = weight.dim();
            let positions = self.window.output_size(self.name(), length)?;
            let y = Array3::from_shape_fn((batch, positions, outputs), |(n, p, o)| {
                let first_input = o / (outputs / self.groups) * channels;
                let mut sum = T::c(0.0);
                for r in 0..kernel {
                    let Some(l) = self.window.source(p, r, length) else { continue };
                    for c in 0..channels {
                        sum += x[[n, l, first_input + c]] * weight[[o, r, c]];
                    }
                }
                sum
            });
            Ok(vec![<T as Element>::wrap(y.into_dyn())])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let (image, weight) = (in_one_row(graph, inputs[0])?, in_one_row(graph, inputs[1])?);
        let y = graph.conv2d(image, weight, self.window.in_one_row(), self.groups)?;
        Ok(vec![without_rows(graph, y)?])
    }
}

impl Op for ConvTranspose1d {
    fn name(&self) -> &'static str {
        "conv_transpose1d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let what = [INPUT, "the weight must be [Cin, K, Cout / groups], inputs first"];
        let [[batch, length, channels], weight] = axes(self.name(), inputs, what)?;
        let outputs = weight[2].saturating_mul(self.groups);
        check_groups(self.name(), self.groups, channels, outputs)?;
        check_weight(self.name(), &weight, &[channels, self.window.kernel_size, weight[2]])?;
        let length = self.window.transposed_size(self.name(), length, self.output_padding)?;
        Ok(vec![TensorType::new(inputs[0].dtype, [batch, length, outputs])])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Parts
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Decompose
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        with_float!(self.name(), inputs[0], T => {
            let x = inputs[0].view3::<T>()?;
            let weight = inputs[1].view3::<T>()?;
            let (batch, positions, channels) = x.dim();
            let (_, kernel, outputs) = weight.dim();
            let length = self.window.transposed_size(self.name(), positions, self.output_padding)?;
            let mut y = Array3::from_elem((batch, length, self.groups * outputs), T::c(0.0));
            for ((n, p, i), &x) in x.indexed_iter() {
                let first_output = i / (channels / self.groups) * outputs;
                for r in 0..kernel {
                    let Some(l) = self.window.source(p, r, length) else { continue };
                    for o in 0..outputs {
                        y[[n, l, first_output + o]] += x * weight[[i, r, o]];
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
        let (image, weight) = (in_one_row(graph, inputs[0])?, in_one_row(graph, inputs[1])?);
        let (window, output_padding) = (self.window.in_one_row(), [0, self.output_padding]);
        let y = graph.conv_transpose2d(image, weight, window, output_padding, self.groups)?;
        Ok(vec![without_rows(graph, y)?])
    }
}

/// `[A, B, C]` as `[A, 1, B, C]`.
fn in_one_row(graph: &mut Graph, x: Value) -> Result<Value> {
    let shape = graph.shape(x).to_vec();
    graph.reshape(x, &[shape[0], 1, shape[1], shape[2]])
}

/// `[A, 1, B, C]` as `[A, B, C]`.
fn without_rows(graph: &mut Graph, x: Value) -> Result<Value> {
    let shape = graph.shape(x).to_vec();
    graph.reshape(x, &[shape[0], shape[2], shape[3]])
}

impl Graph {
    /// The convolution of `x` `[N, L, Cin]` with `weight` `[Cout, K, Cin / groups]`: `[N, P, Cout]`.
    ///
    /// # Errors
    /// When the shapes, the window and the groups do not fit, or the types are not one float type.
    pub fn conv1d(&mut self, x: Value, weight: Value, window: Window1d, groups: usize) -> Result<Value> {
        self.emit(Conv1d { window, groups }, &[x, weight])
    }

    /// The transposed convolution of `x` `[N, L, Cin]` with `weight` `[Cin, K, Cout / groups]`.
    ///
    /// # Errors
    /// As [`Graph::conv_transpose2d`].
    pub fn conv_transpose1d(
        &mut self,
        x: Value,
        weight: Value,
        window: Window1d,
        output_padding: usize,
        groups: usize,
    ) -> Result<Value> {
        self.emit(ConvTranspose1d { window, output_padding, groups }, &[x, weight])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let window = Window1d::new;
    let data = |shapes: [&[usize]; 2]| shapes.map(|shape| Sample::uniform(shape, -1.0, 1.0, 38)).to_vec();
    let conv = |name, input: [usize; 3], outputs: usize, window: Window1d, groups| {
        let inputs = data([&input, &[outputs, window.kernel_size, input[2] / groups]]);
        let op = Conv1d { window, groups };
        Sample::new(name, op, inputs, Tolerance::sum(window.kernel_size * input[2] / groups))
    };
    let transposed = |name, input: [usize; 3], outputs: usize, window: Window1d, output_padding, groups| {
        let inputs = data([&input, &[input[2], window.kernel_size, outputs / groups]]);
        let op = ConvTranspose1d { window, output_padding, groups };
        Sample::new(name, op, inputs, Tolerance::sum(window.kernel_size * input[2] / groups))
    };
    let uneven = Window1d { padding: [0, 3], ..window(3).stride(2).dilation(2) };
    let mut samples = vec![
        conv("kernel 3", [2, 9, 4], 8, window(3).padding(1), 1),
        conv("one element", [1, 1, 1], 1, window(1), 1),
        conv("stride 2, odd channels", [3, 10, 3], 5, window(4).stride(2).padding(1), 1),
        conv("uneven padding, stride and dilation", [2, 8, 3], 2, uneven, 1),
        conv("kernel above length", [1, 2, 3], 2, window(5).padding(2), 1),
        conv("depthwise", [2, 7, 4], 4, window(3).padding(1), 4),
        conv("no sequences", [0, 7, 4], 4, window(3), 2),
        transposed("kernel 3", [2, 6, 4], 8, window(3).padding(1), 0, 1),
        transposed("one element", [1, 1, 1], 1, window(1), 0, 1),
        transposed("stride 2, output padding", [2, 5, 3], 4, window(3).stride(2).padding(1), 1, 1),
        transposed("output padding above stride", [1, 4, 2], 3, window(3).padding(2).dilation(3), 2, 1),
        transposed("groups 2, uneven padding", [2, 4, 4], 6, uneven, 1, 2),
        transposed("no sequences", [0, 7, 4], 4, window(3), 0, 2),
    ];

    fn error(name: &str, op: impl Op, inputs: Vec<Array>, words: &'static str) -> Sample {
        Sample::error(name, op, inputs, ErrorKind::Shape, words)
    }
    let op = |window, groups| Conv1d { window, groups };
    let transpose = |window, output_padding| ConvTranspose1d { window, output_padding, groups: 1 };
    let input: &[usize] = &[2, 5, 4];
    samples.extend([
        error(
            "input of four axes",
            op(window(3), 1),
            data([&[2, 1, 5, 4], &[8, 3, 4]]),
            "conv1d: the input must be [N, L, Cin], got [2, 1, 5, 4]",
        ),
        error(
            "weight of four axes",
            op(window(3), 1),
            data([input, &[8, 1, 3, 4]]),
            "conv1d: the weight must be [Cout, K, Cin / groups], got [8, 1, 3, 4]",
        ),
        error(
            "channels",
            op(window(3), 2),
            data([input, &[8, 3, 4]]),
            "conv1d: the weight is [8, 3, 4], channels, window and groups need [8, 3, 2]",
        ),
        error(
            "groups",
            op(window(3), 3),
            data([input, &[6, 3, 1]]),
            "conv1d: 3 groups must divide the 4 channels of the input and the 6 of the result",
        ),
        error(
            "window too large",
            op(window(7).padding(0), 1),
            data([input, &[8, 7, 4]]),
            "conv1d: a window of 7 (kernel_size 7, dilation 1) is larger than the padded image of 5",
        ),
        Sample::error(
            "integers",
            op(window(3), 1),
            vec![Array::full(input, 1u32), Array::full(&[8, 3, 4], 1u32)],
            ErrorKind::DType,
            "conv1d: takes floats of one type, got u32[2, 5, 4] and u32[8, 3, 4]",
        ),
        error(
            "outputs first",
            transpose(window(3), 0),
            data([input, &[8, 3, 4]]),
            "conv_transpose1d: the weight is [8, 3, 4], channels, window and groups need [4, 3, 4]",
        ),
        error(
            "output padding",
            transpose(window(3).stride(2), 2),
            data([input, &[4, 3, 8]]),
            "conv_transpose1d: output_padding 2 must be less than the stride 2 or the dilation 1",
        ),
        error(
            "only padding",
            transpose(window(3).padding(4), 0),
            data([input, &[4, 3, 8]]),
            "conv_transpose1d: nothing is left of the result",
        ),
    ]);
    samples
}
