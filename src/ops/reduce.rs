//! Reductions over axes: sum, max, argmax, and mean with variance.
//!
//! Reduced axes stay with extent 1, so that results broadcast against what was reduced; emitters reshape them away where
//! the user wants that. `mean` is a sum and a scale. A reduction over no elements gives 0 for a sum and NaN for moments;
//! `max` and `argmax` refuse it.

use ndarray::{ArrayD, Dimension};

use crate::array::{Array, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{
    Access, Accumulator, Expression, Gradient, Graph, Lowering, Op, Reduce, Sample, TensorType, Tolerance, Value,
    expect_inputs,
};
use crate::with_float;

/// Elements combined over `axes`, which stay with extent 1.
#[derive(Clone, Debug)]
pub struct Reduction {
    /// How.
    pub accumulator: Accumulator,
    /// Ascending.
    pub axes: Vec<usize>,
}

impl Op for Reduction {
    fn name(&self) -> &'static str {
        match self.accumulator {
            Accumulator::Sum => "sum",
            Accumulator::Max => "max",
            Accumulator::ArgMax => "argmax",
            Accumulator::Moments => "moments",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        expect_inputs(name, inputs, 1)?;
        let (mut shape, dtype) = (inputs[0].shape.clone(), inputs[0].dtype);
        let ascending = self.axes.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || self.axes.last().is_some_and(|&axis| axis >= shape.len()) {
            return Err(Error::shape(name, format_args!("axes {:?} are not ascending axes of {shape:?}", self.axes)));
        }
        let count: usize = self.axes.iter().map(|&axis| shape[axis]).product();
        let selects = matches!(self.accumulator, Accumulator::Max | Accumulator::ArgMax);
        if selects && count == 0 {
            return Err(Error::shape(name, format_args!("no elements on axes {:?} of {shape:?}", self.axes)));
        }
        if self.accumulator != Accumulator::Sum && !dtype.is_float() {
            return Err(Error::dtype(name, format_args!("takes floats, got {dtype}; cast first")));
        }
        self.axes.iter().for_each(|&axis| shape[axis] = 1);
        let result = TensorType::new(dtype, shape);
        Ok(match self.accumulator {
            Accumulator::Sum | Accumulator::Max => vec![result],
            Accumulator::ArgMax => vec![TensorType { dtype: DType::U32, ..result }],
            Accumulator::Moments => vec![result.clone(), result],
        })
    }

    fn gradient(&self) -> Gradient<'_> {
        match self.accumulator {
            Accumulator::ArgMax => Gradient::Zero,
            Accumulator::Sum => Gradient::rule(|cx| {
                if let Some(g) = cx.gradient(0) {
                    let shape = cx.input_shape(0);
                    let gradient = cx.graph.broadcast_to(g, &shape)?;
                    cx.give(0, gradient);
                }
                Ok(())
            }),
            // Shared evenly among equals, as PyTorch's amax does.
            Accumulator::Max => Gradient::rule(|cx| {
                let Some(g) = cx.gradient(0) else { return Ok(()) };
                let (x, y) = (cx.input(0), cx.output(0));
                let chosen = cx.graph.elementwise("eq", &[x, y], &[])?;
                let chosen = cx.graph.cast(chosen, cx.graph.type_of(x).dtype)?;
                let count = cx.graph.sum(chosen, &self.axes)?;
                let share = cx.graph.div(g, count)?;
                let gradient = cx.graph.mul(chosen, share)?;
                cx.give(0, gradient);
                Ok(())
            }),
            // dx = dmean/R + dvariance · 2(x - mean)/R
            Accumulator::Moments => Gradient::rule(|cx| {
                let x = cx.input(0);
                let count: usize = self.axes.iter().map(|&axis| cx.graph.shape(x)[axis]).product();
                let share = 1.0 / count as f64;
                let mut total = None;
                if let Some(g) = cx.gradient(0) {
                    let shape = cx.input_shape(0);
                    let scaled = cx.graph.scale(g, share)?;
                    total = Some(cx.graph.broadcast_to(scaled, &shape)?);
                }
                if let Some(g) = cx.gradient(1) {
                    let mean = cx.output(0);
                    let deviation = cx.graph.sub(x, mean)?;
                    let scaled = cx.graph.scale(g, 2.0 * share)?;
                    let part = cx.graph.mul(deviation, scaled)?;
                    total = Some(total.map_or(Ok(part), |first| cx.graph.add(first, part))?);
                }
                if let Some(gradient) = total {
                    cx.give(0, gradient);
                }
                Ok(())
            }),
        }
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        if !inputs[0].dtype().is_float() {
            // Only sums take integers; they wrap.
            let sums = reduce_slices(&inputs[0].to_f64_vec(), inputs[0].shape(), &self.axes, |slice| {
                slice.iter().sum::<f64>()
            });
            let wrapped = sums.mapv(|v| v.rem_euclid(2f64.powi(32)) as u32);
            let signed = inputs[0].dtype() == DType::I32;
            return Ok(vec![if signed { Array::I32(wrapped.mapv(|v| v as i32)) } else { Array::U32(wrapped) }]);
        }
        with_float!(self.name(), inputs[0], T => {
            let (x, shape) = (inputs[0].as_slice::<T>()?, inputs[0].shape());
            let reduce = |f: &dyn Fn(&[T]) -> T| <T as crate::array::Element>::wrap(reduce_slices(x, shape, &self.axes, f));
            Ok(match self.accumulator {
                Accumulator::Sum => vec![reduce(&|slice| slice.iter().copied().sum())],
                Accumulator::Max => vec![reduce(&|slice| slice[largest(slice)])],
                Accumulator::ArgMax => {
                    vec![Array::U32(reduce_slices(x, shape, &self.axes, |slice| largest(slice) as u32))]
                }
                Accumulator::Moments => vec![reduce(&mean), reduce(&variance)],
            })
        })
    }

    fn lowering(&self, inputs: &[TensorType], _: &[TensorType]) -> Lowering {
        let shape = inputs[0].shape.clone();
        let expression = Expression::load(0, Access::identity(&shape), inputs[0].dtype);
        Lowering::Reduce(Reduce { expression, shape, axes: self.axes.clone(), accumulator: self.accumulator })
    }
}

/// The index of the first NaN, else of the first largest element.
fn largest<T: Float>(slice: &[T]) -> usize {
    let mut best = 0;
    for (i, &value) in slice.iter().enumerate() {
        if (value > slice[best] || value.is_nan()) && !slice[best].is_nan() {
            best = i;
        }
    }
    best
}

fn mean<T: Float>(slice: &[T]) -> T {
    slice.iter().copied().sum::<T>() / T::c(slice.len() as f64)
}

/// Biased: divided by the number of elements.
fn variance<T: Float>(slice: &[T]) -> T {
    let mean = mean(slice);
    slice.iter().map(|&x| (x - mean) * (x - mean)).sum::<T>() / T::c(slice.len() as f64)
}

/// `f` of the elements over `axes` in row-major order, for every index of the other axes.
fn reduce_slices<T: Copy, R>(x: &[T], shape: &[usize], axes: &[usize], f: impl Fn(&[T]) -> R) -> ArrayD<R> {
    let strides = crate::shape::strides(shape);
    let mut kept = shape.to_vec();
    axes.iter().for_each(|&axis| kept[axis] = 1);
    let reduced: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
    ArrayD::from_shape_fn(kept, |index| {
        let origin: usize = index.slice().iter().zip(&strides).map(|(i, s)| i * s).sum();
        let slice: Vec<T> = (0..crate::shape::element_count(&reduced))
            .map(|flat| {
                let inner = crate::shape::unravel(flat, &reduced);
                x[origin + inner.iter().zip(axes).map(|(i, &axis)| i * strides[axis]).sum::<usize>()]
            })
            .collect();
        f(&slice)
    })
}

impl Graph {
    /// The sum over `axes` (ascending), which stay with extent 1.
    ///
    /// # Errors
    /// When an axis does not exist.
    pub fn sum(&mut self, x: Value, axes: &[usize]) -> Result<Value> {
        if axes.iter().all(|&axis| self.shape(x).get(axis) == Some(&1)) {
            return Ok(x);
        }
        self.emit(Reduction { accumulator: Accumulator::Sum, axes: axes.to_vec() }, &[x])
    }

    /// The mean over `axes` (ascending), which stay with extent 1.
    ///
    /// # Errors
    /// When an axis does not exist, or the type is an integer.
    pub fn mean(&mut self, x: Value, axes: &[usize]) -> Result<Value> {
        let sum = self.sum(x, axes)?;
        let count: usize = axes.iter().map(|&axis| self.shape(x)[axis]).product();
        self.scale(sum, 1.0 / count as f64)
    }

    /// `x` summed over the axes along which `shape` was stretched to its shape: undoes broadcasting.
    ///
    /// # Errors
    /// When `shape` does not broadcast to the shape of `x`.
    pub fn sum_to(&mut self, x: Value, shape: &[usize]) -> Result<Value> {
        let from = self.shape(x).to_vec();
        if from == shape {
            return Ok(x);
        }
        if crate::shape::broadcast("sum_to", &[&from, shape])? != from {
            return Err(Error::shape("sum_to", format_args!("{shape:?} does not stretch to {from:?}")));
        }
        let lead = from.len() - shape.len();
        let stretched = |axis: &usize| *axis < lead || (shape[axis - lead] == 1 && from[*axis] != 1);
        let axes: Vec<usize> = (0..from.len()).filter(stretched).collect();
        let sum = self.sum(x, &axes)?;
        self.reshape(sum, shape)
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let data = |shape: &[usize]| Sample::uniform(shape, -1.0, 1.0, 3);
    let reduction = |accumulator, axes: &[usize]| Reduction { accumulator, axes: axes.to_vec() };
    let shapes: &[(&str, &[usize], &[usize])] = &[
        ("last axis", &[5, 33], &[1]),
        ("first axis", &[70, 6], &[0]),
        ("middle axes", &[3, 4, 5, 6], &[1, 2]),
        ("outer axes", &[3, 4, 5], &[0, 2]),
        ("all axes", &[3, 4, 5], &[0, 1, 2]),
        ("one element", &[1], &[0]),
        ("long row", &[2, 5000], &[1]),
        ("long column", &[5000, 3], &[0]),
        ("nothing kept", &[0, 3], &[1]),
    ];
    let mut samples = Vec::new();
    for &accumulator in &[Accumulator::Sum, Accumulator::Max, Accumulator::ArgMax, Accumulator::Moments] {
        for &(name, shape, axes) in shapes {
            let count: usize = axes.iter().map(|&axis| shape[axis]).product();
            let tolerance = match accumulator {
                Accumulator::Sum => Tolerance::sum(count),
                Accumulator::Moments => Tolerance {
                    absolute: 5e-7,
                    relative: 1e-6,
                    reason: "Welford's update: errors stay near one rounding of the magnitude",
                },
                Accumulator::Max | Accumulator::ArgMax => Tolerance::EXACT,
            };
            samples.push(Sample::new(name, reduction(accumulator, axes), vec![data(shape)], tolerance));
        }
        let shape = vec![data(&[2, 2])];
        samples.push(Sample::error(
            "no such axis",
            reduction(accumulator, &[2]),
            shape,
            ErrorKind::Shape,
            "not ascending axes",
        ));
    }
    let special = Array::new(
        &[4, 4],
        vec![1.0, f32::NAN, 3.0, f32::NAN, 2.0, 2.0, 2.0, 2.0, -1.0, f32::INFINITY, 0.0, 1.0, -5.0, -6.0, -5.0, -7.0],
    )
    .expect("16 elements");
    for accumulator in [Accumulator::Max, Accumulator::ArgMax, Accumulator::Sum] {
        let sample =
            Sample::new("NaN, ties, infinity", reduction(accumulator, &[1]), vec![special.clone()], Tolerance::EXACT);
        samples.push(sample.not_smooth());
    }
    let empty = |accumulator| {
        Sample::error("no elements", reduction(accumulator, &[1]), vec![data(&[2, 0])], ErrorKind::Shape, "no elements")
    };
    samples.push(empty(Accumulator::Max));
    samples.push(empty(Accumulator::ArgMax));
    samples.push(Sample::new("no elements", reduction(Accumulator::Sum, &[1]), vec![data(&[2, 0])], Tolerance::EXACT));
    let integers = Array::from_fn(&[3, 40], |i| (i[0] * 7 + i[1]) as u32);
    samples.push(Sample::new("integers", reduction(Accumulator::Sum, &[1]), vec![integers], Tolerance::EXACT));
    let offset = Sample::uniform(&[64, 5], 99.0, 101.0, 4);
    let cancels = Tolerance {
        absolute: 5e-6,
        relative: 1e-6,
        reason: "a running mean of 100 rounds by 3.8e-6, which twice a deviation of 0.6 carries into the variance",
    };
    samples.push(Sample::new("large mean", reduction(Accumulator::Moments, &[0]), vec![offset], cancels).not_smooth());
    samples
}
