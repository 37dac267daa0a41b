//! Reductions over axes: sum, product, max, argmax, and mean with variance.
//!
//! Reduced axes stay with extent 1, so that results broadcast against what was reduced; emitters reshape them away where
//! the user wants that. `mean` is a sum and a scale. A reduction over no elements gives 0 for a sum, 1 for a product and
//! NaN for moments; `max` and `argmax` refuse it.
//!
//! The gradient of a product is, for each element, the product of the others: that of those before it times that of those
//! after it. Nothing is divided, so zeros are right, and gradients of gradients too.

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
            Accumulator::Product => "prod",
            Accumulator::Max => "max",
            Accumulator::ArgMax => "argmax",
            Accumulator::Moments => "moments",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        expect_inputs(name, inputs, 1)?;
        let (result, count) = reduced(name, &inputs[0], &self.axes)?;
        let (shape, dtype) = (&inputs[0].shape, inputs[0].dtype);
        let selects = matches!(self.accumulator, Accumulator::Max | Accumulator::ArgMax);
        if selects && count == 0 {
            return Err(Error::shape(name, format_args!("no elements on axes {:?} of {shape:?}", self.axes)));
        }
        if self.accumulator != Accumulator::Sum && !dtype.is_float() {
            return Err(Error::dtype(name, format_args!("takes floats, got {dtype}; cast first")));
        }
        Ok(match self.accumulator {
            Accumulator::Sum | Accumulator::Product | Accumulator::Max => vec![result],
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
            Accumulator::Product => Gradient::rule(|cx| {
                let Some(g) = cx.gradient(0) else { return Ok(()) };
                let x = cx.input(0);
                let others = products_of_others(cx.graph, x, &self.axes)?;
                let gradient = cx.graph.mul(g, others)?;
                cx.give(0, gradient);
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
                Accumulator::Product => vec![reduce(&|slice| slice.iter().fold(T::c(1.0), |product, &x| product * x))],
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

/// The type of what is left of `ty` when `axes` are reduced, and how many elements are combined.
pub(super) fn reduced(op: &str, ty: &TensorType, axes: &[usize]) -> Result<(TensorType, usize)> {
    let mut shape = ty.shape.clone();
    let ascending = axes.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || axes.last().is_some_and(|&axis| axis >= shape.len()) {
        return Err(Error::shape(op, format_args!("axes {axes:?} are not ascending axes of {shape:?}")));
    }
    let count = axes.iter().map(|&axis| std::mem::replace(&mut shape[axis], 1)).product();
    Ok((TensorType::new(ty.dtype, shape), count))
}

/// For each element of `x` the product of the others over `axes`.
///
/// With the reduced axes as the last one, of L elements, the products of all before an element come from log₂ L steps, in
/// each of which an element is multiplied with the one twice as far away as in the step before; likewise of all after it.
fn products_of_others(graph: &mut Graph, x: Value, axes: &[usize]) -> Result<Value> {
    let shape = graph.shape(x).to_vec();
    let mut order: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).collect();
    let outer: usize = order.iter().map(|&axis| shape[axis]).product();
    order.extend(axes);
    let length: usize = axes.iter().map(|&axis| shape[axis]).product();
    let permuted = graph.permute(x, &order)?;
    let moved = graph.shape(permuted).to_vec();
    let lines = graph.reshape(permuted, &[outer, length])?;
    // Each element of `lines` from `distance` places before or after it, 1 where there is none.
    let from = |graph: &mut Graph, lines, distance: usize, before: bool| {
        let distance = distance.min(length);
        let (begin, end) = if before { (0, length - distance) } else { (distance, length) };
        let kept = graph.slice(lines, &[0, begin], &[outer, end], &[1, 1])?;
        let border = |here| [0, if here { distance } else { 0 }];
        graph.pad(kept, &border(before), &border(!before), 1.0)
    };
    let mut sides = Vec::with_capacity(2);
    for before in [true, false] {
        let mut products = from(graph, lines, 1, before)?;
        let mut distance = 1;
        while distance + 1 < length {
            let further = from(graph, products, distance, before)?;
            products = graph.mul(products, further)?;
            distance *= 2;
        }
        sides.push(products);
    }
    let others = graph.mul(sides[0], sides[1])?;
    let others = graph.reshape(others, &moved)?;
    let back: Vec<usize> = (0..shape.len()).map(|axis| order.iter().position(|&o| o == axis).unwrap_or(axis)).collect();
    graph.permute(others, &back)
}

/// The index of the first NaN, else of the first largest element.
pub(super) fn largest<T: Float>(slice: &[T]) -> usize {
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
pub(super) fn variance<T: Float>(slice: &[T]) -> T {
    let mean = mean(slice);
    slice.iter().map(|&x| (x - mean) * (x - mean)).sum::<T>() / T::c(slice.len() as f64)
}

/// `f` of the elements over `axes` in row-major order, for every index of the other axes.
pub(super) fn reduce_slices<T: Copy, R>(x: &[T], shape: &[usize], axes: &[usize], f: impl Fn(&[T]) -> R) -> ArrayD<R> {
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

    /// The product over `axes` (ascending), which stay with extent 1.
    ///
    /// # Errors
    /// When an axis does not exist, or the type is an integer.
    pub fn prod(&mut self, x: Value, axes: &[usize]) -> Result<Value> {
        self.emit(Reduction { accumulator: Accumulator::Product, axes: axes.to_vec() }, &[x])
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
                _ => Tolerance::EXACT,
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
    // The first of the largest may lie with any lane, before or after the lane that it is compared with.
    let ties = Array::from_fn(&[7, 600], |i| f32::from((i[1] * 7 + i[0] * 13) % 97 == 0));
    samples
        .push(Sample::new("far ties", reduction(Accumulator::ArgMax, &[1]), vec![ties], Tolerance::EXACT).not_smooth());
    let empty = |accumulator| {
        Sample::error("no elements", reduction(accumulator, &[1]), vec![data(&[2, 0])], ErrorKind::Shape, "no elements")
    };
    samples.push(empty(Accumulator::Max));
    samples.push(empty(Accumulator::ArgMax));
    for accumulator in [Accumulator::Sum, Accumulator::Product] {
        let inputs = vec![data(&[2, 0])];
        samples.push(Sample::new("no elements", reduction(accumulator, &[1]), inputs, Tolerance::EXACT));
    }
    samples.extend(product_samples());
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

fn product_samples() -> Vec<Sample> {
    let product = |axes: &[usize]| Reduction { accumulator: Accumulator::Product, axes: axes.to_vec() };
    let tolerance = |count: usize| Tolerance {
        absolute: 1e-30,
        relative: 1.2e-7 * (4.0 + count as f64),
        reason: "two roundings of 6e-8 a factor at most; their errors add up",
    };
    let data = |shape: &[usize]| vec![Sample::uniform(shape, 0.5, 1.5, 3)];
    let signed = vec![Sample::uniform(&[3, 4, 5], -2.0, 2.0, 3)];
    let rows = [[1.5, -2.0, 0.5, 3.0], [2.0, 0.0, -1.5, 1.0], [0.0, 2.0, 0.0, 3.0], [0.0; 4]].concat();
    let zeros = vec![Array::new(&[4, 4], rows).expect("16 elements").cast(DType::F32)];
    let special = [[f32::NAN, 0.0, 1.0, 2.0], [f32::INFINITY, 2.0, -1.0, 1.0], [f32::INFINITY, 0.0, 1.0, 1.0]].concat();
    let special = vec![Array::new(&[3, 4], special).expect("12 elements")];
    let integers = vec![Array::full(&[2, 2], 3u32)];
    vec![
        Sample::new("last axis", product(&[1]), data(&[5, 33]), tolerance(33)),
        Sample::new("outer axes", product(&[0, 2]), signed, tolerance(15)),
        Sample::new("long column", product(&[0]), vec![Sample::uniform(&[700, 3], 0.9, 1.1, 3)], tolerance(700)),
        Sample::new("one element", product(&[0]), data(&[1]), Tolerance::EXACT),
        Sample::new("two elements", product(&[0]), data(&[2]), tolerance(2)),
        Sample::new("nothing kept", product(&[1]), data(&[0, 3]), Tolerance::EXACT),
        Sample::new("no zero, one, two, all", product(&[1]), zeros, tolerance(4)),
        Sample::new("NaN, infinity", product(&[1]), special, Tolerance::EXACT).not_smooth(),
        Sample::error("no such axis", product(&[2]), data(&[2, 2]), ErrorKind::Shape, "not ascending axes"),
        Sample::error("integers", product(&[1]), integers, ErrorKind::DType, "takes floats"),
    ]
}
