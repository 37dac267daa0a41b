//! Softmax along one axis, and its logarithm.
//!
//! softmax(x)ᵢ = exp(xᵢ − m) / Σⱼ exp(xⱼ − m) and log_softmax(x)ᵢ = xᵢ − m − log Σⱼ exp(xⱼ − m), where m is the
//! largest x along the axis: the result does not depend on m, and no exponential overflows. A line with a NaN gives NaN
//! everywhere.
//!
//! Devices run the small operations of the decomposition; the gradients need nothing but the result.

use ndarray::Axis;

use crate::array::{Array, Element, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Accumulator, Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value, expect_inputs};
use crate::ops::reduce::Reduction;
use crate::with_float;

/// exp(x), scaled along `axis` to the sum 1.
#[derive(Clone, Debug)]
pub struct Softmax {
    /// The axis.
    pub axis: usize,
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        infer("softmax", self.axis, inputs)
    }

    fn gradient(&self) -> Gradient<'_> {
        // dx = y·(g − Σ g·y)
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let y = cx.output(0);
            let weighted = cx.graph.mul(g, y)?;
            let mean = cx.graph.sum(weighted, &[self.axis])?;
            let deviation = cx.graph.sub(g, mean)?;
            let gradient = cx.graph.mul(y, deviation)?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        with_float!("softmax", inputs[0], T => {
            let mut y = inputs[0].view::<T>()?.to_owned();
            for mut line in y.lanes_mut(Axis(self.axis)) {
                let largest = line.iter().copied().fold(line[0], largest);
                line.mapv_inplace(|x| (x - largest).exp());
                let sum: T = line.iter().copied().sum();
                line.mapv_inplace(|x| x / sum);
            }
            Ok(vec![<T as Element>::wrap(y)])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let [_, exponential, sum] = exponentials(graph, inputs[0], self.axis)?;
        Ok(vec![graph.div(exponential, sum)?])
    }
}

/// The logarithm of [`Softmax`], without its underflow.
#[derive(Clone, Debug)]
pub struct LogSoftmax {
    /// The axis.
    pub axis: usize,
}

impl Op for LogSoftmax {
    fn name(&self) -> &'static str {
        "log_softmax"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        infer("log_softmax", self.axis, inputs)
    }

    fn gradient(&self) -> Gradient<'_> {
        // dx = g − exp(y)·Σ g
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let y = cx.output(0);
            let softmax = cx.graph.unary("exp", y)?;
            let sum = cx.graph.sum(g, &[self.axis])?;
            let part = cx.graph.mul(softmax, sum)?;
            let gradient = cx.graph.sub(g, part)?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        with_float!("log_softmax", inputs[0], T => {
            let mut y = inputs[0].view::<T>()?.to_owned();
            for mut line in y.lanes_mut(Axis(self.axis)) {
                let largest = line.iter().copied().fold(line[0], largest);
                line.mapv_inplace(|x| x - largest);
                let sum: T = line.iter().map(|x| x.exp()).sum();
                line.mapv_inplace(|x| x - sum.ln());
            }
            Ok(vec![<T as Element>::wrap(y)])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let [shifted, _, sum] = exponentials(graph, inputs[0], self.axis)?;
        let log = graph.unary("log", sum)?;
        Ok(vec![graph.sub(shifted, log)?])
    }
}

fn infer(op: &str, axis: usize, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
    expect_inputs(op, inputs, 1)?;
    let TensorType { shape, dtype } = &inputs[0];
    if !dtype.is_float() {
        return Err(Error::dtype(op, format_args!("takes floats, got {dtype}; cast first")));
    }
    match shape.get(axis) {
        None => Err(Error::shape(op, format_args!("no axis {axis} in {shape:?}"))),
        Some(0) => Err(Error::shape(op, format_args!("no elements on axis {axis} of {shape:?}"))),
        Some(_) => Ok(inputs.to_vec()),
    }
}

/// The larger of two; NaN if one is.
fn largest<T: Float>(a: T, b: T) -> T {
    if a > b || a.is_nan() { a } else { b }
}

/// x − max, its exponential, and the sum of that along `axis`.
fn exponentials(graph: &mut Graph, x: Value, axis: usize) -> Result<[Value; 3]> {
    let largest = graph.emit(Reduction { accumulator: Accumulator::Max, axes: vec![axis] }, &[x])?;
    let shifted = graph.sub(x, largest)?;
    let exponential = graph.unary("exp", shifted)?;
    let sum = graph.sum(exponential, &[axis])?;
    Ok([shifted, exponential, sum])
}

impl Graph {
    /// exp(x), scaled along `axis` to the sum 1.
    ///
    /// # Errors
    /// When `x` has no such axis, no elements on it, or is not of floats.
    pub fn softmax(&mut self, x: Value, axis: usize) -> Result<Value> {
        self.emit(Softmax { axis }, &[x])
    }

    /// The logarithm of the softmax along `axis`.
    ///
    /// # Errors
    /// As [`Graph::softmax`].
    pub fn log_softmax(&mut self, x: Value, axis: usize) -> Result<Value> {
        self.emit(LogSoftmax { axis }, &[x])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let softmax_error = Tolerance {
        absolute: 1e-9,
        relative: 1e-5,
        reason: "WGSL allows exp(-d) an error of 3 + 2d ulp: 1e-5 up to d = 40, far below 1e-9 beyond",
    };
    let log_softmax_error = Tolerance {
        absolute: 2e-6,
        relative: 4e-7,
        reason: "WGSL allows log 2^-21 near 1 and 3 ulp elsewhere, on a sum right to 6e-7; x - max is rounded",
    };
    let mut samples = Vec::new();
    let mut both = |name: &str, axis: usize, x: Array, smooth: bool| {
        let inputs = vec![x];
        samples.extend(
            [
                Sample::new(name, Softmax { axis }, inputs.clone(), softmax_error),
                Sample::new(name, LogSoftmax { axis }, inputs, log_softmax_error),
            ]
            .map(|sample| if smooth { sample } else { sample.not_smooth() }),
        );
    };
    let data = |shape: &[usize]| Sample::uniform(shape, -4.0, 4.0, 5);
    both("ten classes", 1, data(&[6, 10]), true);
    both("one row", 1, data(&[1, 10]), true);
    both("one class", 1, data(&[5, 1]), true);
    both("one element", 0, data(&[1]), true);
    both("no axes but one", 0, data(&[7]), true);
    both("first axis", 0, data(&[5, 3]), true);
    both("middle axis", 1, data(&[3, 5, 7]), true);
    both("channels of an image", 3, data(&[2, 3, 3, 5]), true);
    both("65 classes", 1, data(&[3, 65]), true);
    both("1000 classes", 1, data(&[2, 1000]), true);
    both("no rows", 1, data(&[0, 10]), true);
    let rows = |rows: Vec<f32>| Array::new(&[rows.len() / 4, 4], rows).expect("rows of four");
    both("ties", 1, rows(vec![0.0, 0.0, 0.0, 0.0, 2.0, 2.0, -1.0, 2.0]), true);
    both("logits of ±80", 1, rows(vec![80.0, -80.0, 0.0, 79.0, -80.0, -79.5, -80.0, -81.0]), true);
    both("logits of ±10000", 1, rows(vec![1e4, 9999.0, -1e4, 9998.5, -1e4, -1e4, -10001.0, -9999.0]), true);
    both("NaN", 1, rows(vec![0.0, f32::NAN, 1.0, 2.0, f32::NAN, 0.5, 1.5, 2.5, 0.0, 1.0, 2.0, 3.0]), false);
    let x = || vec![data(&[2, 3])];
    let empty = || vec![data(&[2, 0])];
    let integers = || vec![data(&[2, 3]).cast(DType::U32)];
    samples.extend([
        Sample::error("axis out of range", Softmax { axis: 2 }, x(), ErrorKind::Shape, "no axis 2 in [2, 3]"),
        Sample::error("axis out of range", LogSoftmax { axis: 2 }, x(), ErrorKind::Shape, "no axis 2 in [2, 3]"),
        Sample::error("no classes", Softmax { axis: 1 }, empty(), ErrorKind::Shape, "no elements on axis 1"),
        Sample::error("no classes", LogSoftmax { axis: 1 }, empty(), ErrorKind::Shape, "no elements on axis 1"),
        Sample::error("integers", Softmax { axis: 1 }, integers(), ErrorKind::DType, "takes floats"),
        Sample::error("integers", LogSoftmax { axis: 1 }, integers(), ErrorKind::DType, "takes floats"),
    ]);
    samples
}
