//! Reductions made of smaller ones: min, argmin, variance, standard deviation, log of a sum of exponentials, vector norms,
//! any, all.
//!
//! ```text
//! var = Σ (x − mean)² / (R − correction)      logsumexp = m + log Σ exp(x − m), m the largest x     norm = (Σ |x|ᵖ)^(1/p)
//! ```
//!
//! Reduced axes stay with extent 1, as in [`crate::ops::reduce`]. The smallest element is minus the largest of −x. A row of
//! minus infinities has the logsumexp minus infinity and the gradient 0. Where a deviation or a norm is 0 it has no
//! derivative, and the gradient is 0, as in PyTorch.

use std::sync::Arc;

use crate::array::{Array, Element, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{
    Accumulator, Backward, Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value, expect_inputs,
};
use crate::ops::reduce::{Reduction, largest, reduce_slices, reduced, variance};
use crate::with_float;

/// Elements combined over `axes`, which stay with extent 1.
#[derive(Clone, Debug)]
pub struct Statistic {
    /// How.
    pub kind: Kind,
    /// Ascending.
    pub axes: Vec<usize>,
}

/// How elements are combined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The smallest; NaN if there is one.
    Min,
    /// The row-major position (`u32`) of the smallest among the reduced elements: the first of equals, or of NaNs.
    ArgMin,
    /// The variance: squared deviations from the mean, summed and divided by the number of elements less `correction`.
    Variance {
        /// 0 for the variance of a population, 1 to estimate it from a sample.
        correction: usize,
    },
    /// The root of [`Kind::Variance`].
    Deviation {
        /// As in [`Kind::Variance`].
        correction: usize,
    },
    /// log Σ exp(x).
    LogSumExp,
    /// (Σ |x|ᵖ)^(1/p); for p = ∞ the largest |x|.
    Norm {
        /// p.
        order: f64,
    },
    /// 1 (`u32`) if some element is not 0, else 0.
    Any,
    /// 1 (`u32`) if every element is not 0, else 0.
    All,
}

impl Statistic {
    fn combine(&self, graph: &mut Graph, accumulator: Accumulator, x: Value) -> Result<Vec<Value>> {
        graph.apply(Arc::new(Reduction { accumulator, axes: self.axes.clone() }), &[x])
    }

    /// What squared deviations are divided by, for an input of this shape.
    fn freedom(&self, shape: &[usize], correction: usize) -> f64 {
        (self.count(shape) - correction) as f64
    }

    fn count(&self, shape: &[usize]) -> usize {
        self.axes.iter().map(|&axis| shape[axis]).product()
    }

    fn variance(&self, graph: &mut Graph, x: Value, correction: usize) -> Result<Value> {
        let count = self.count(graph.shape(x)) as f64;
        let freedom = self.freedom(graph.shape(x), correction);
        let biased = self.combine(graph, Accumulator::Moments, x)?[1];
        graph.scale(biased, count / freedom)
    }

    /// dx = g·(x − mean)/(s·(R − correction))
    fn deviation_gradient(&self, cx: &mut Backward<'_>, g: Value, correction: usize) -> Result<()> {
        let (x, s) = (cx.input(0), cx.output(0));
        let freedom = self.freedom(cx.graph.shape(x), correction);
        let mean = self.combine(cx.graph, Accumulator::Moments, x)?[0];
        let deviation = cx.graph.sub(x, mean)?;
        let s = one_for(cx.graph, s, 0.0, 1.0)?;
        let share = cx.graph.div(g, s)?;
        let share = cx.graph.scale(share, 1.0 / freedom)?;
        let gradient = cx.graph.mul(deviation, share)?;
        cx.give(0, gradient);
        Ok(())
    }

    /// dx = g·exp(x − y)
    fn exponential_gradient(&self, cx: &mut Backward<'_>, g: Value) -> Result<()> {
        let (x, y) = (cx.input(0), cx.output(0));
        // Minus infinity less minus infinity is NaN; less 0 it has the exponential 0.
        let y = one_for(cx.graph, y, f64::NEG_INFINITY, 0.0)?;
        let shifted = cx.graph.sub(x, y)?;
        let share = cx.graph.unary("exp", shifted)?;
        let gradient = cx.graph.mul(g, share)?;
        cx.give(0, gradient);
        Ok(())
    }

    /// dx = g·sign(x)·(|x|/y)^(p − 1), 0 where x is 0.
    fn norm_gradient(&self, cx: &mut Backward<'_>, g: Value, order: f64) -> Result<()> {
        let (x, y) = (cx.input(0), cx.output(0));
        let y = one_for(cx.graph, y, 0.0, 1.0)?;
        let ratio = cx.graph.div(x, y)?;
        let slope = if order == 2.0 {
            ratio
        } else {
            let magnitude = cx.graph.unary("abs", ratio)?;
            let magnitude = one_for(cx.graph, magnitude, 0.0, 1.0)?;
            let power = cx.graph.elementwise("pow", &[magnitude], &[order - 1.0])?;
            let sign = cx.graph.unary("sign", x)?;
            cx.graph.mul(sign, power)?
        };
        let gradient = cx.graph.mul(g, slope)?;
        cx.give(0, gradient);
        Ok(())
    }
}

/// `x` with `replacement` for every element equal to `special`.
fn one_for(graph: &mut Graph, x: Value, special: f64, replacement: f64) -> Result<Value> {
    let dtype = graph.type_of(x).dtype;
    let (special, replacement) = (graph.constant(special, dtype)?, graph.constant(replacement, dtype)?);
    let is_special = graph.elementwise("eq", &[x, special], &[])?;
    graph.select(is_special, replacement, x)
}

impl Op for Statistic {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Min => "min",
            Kind::ArgMin => "argmin",
            Kind::Variance { .. } => "var",
            Kind::Deviation { .. } => "std",
            Kind::LogSumExp => "logsumexp",
            Kind::Norm { .. } => "norm",
            Kind::Any => "any",
            Kind::All => "all",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        expect_inputs(name, inputs, 1)?;
        let (mut result, count) = reduced(name, &inputs[0], &self.axes)?;
        let truth = matches!(self.kind, Kind::Any | Kind::All);
        if !truth && !inputs[0].dtype.is_float() {
            return Err(Error::dtype(name, format_args!("takes floats, got {}; cast first", inputs[0].dtype)));
        }
        match self.kind {
            Kind::Min | Kind::ArgMin | Kind::LogSumExp if count == 0 => {
                let message = format_args!("no elements on axes {:?} of {:?}", self.axes, inputs[0].shape);
                return Err(Error::shape(name, message));
            }
            Kind::Variance { correction } | Kind::Deviation { correction } if count <= correction => {
                let message = format_args!(
                    "{count} elements on axes {:?} of {:?}, a correction of {correction} takes more",
                    self.axes, inputs[0].shape
                );
                return Err(Error::shape(name, message));
            }
            Kind::Norm { order } if order.is_nan() || order <= 0.0 => {
                let message = format!("norm: an order of {order} is not positive; 1, 2 and infinity are usual");
                return Err(Error::new(ErrorKind::Config, message));
            }
            Kind::Norm { order } if order.is_infinite() && count == 0 => {
                let message = format_args!("no elements on axes {:?} of {:?}", self.axes, inputs[0].shape);
                return Err(Error::shape(name, message));
            }
            _ => {}
        }
        if truth || self.kind == Kind::ArgMin {
            result.dtype = DType::U32;
        }
        Ok(vec![result])
    }

    fn gradient(&self) -> Gradient<'_> {
        match self.kind {
            Kind::ArgMin | Kind::Any | Kind::All => Gradient::Zero,
            Kind::Min | Kind::Variance { .. } => Gradient::Decompose,
            Kind::Norm { order } if order == 1.0 || order.is_infinite() => Gradient::Decompose,
            kind => Gradient::rule(move |cx| match (kind, cx.gradient(0)) {
                (Kind::Deviation { correction }, Some(g)) => self.deviation_gradient(cx, g, correction),
                (Kind::Norm { order }, Some(g)) => self.norm_gradient(cx, g, order),
                (_, Some(g)) => self.exponential_gradient(cx, g),
                (_, None) => Ok(()),
            }),
        }
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let shape = inputs[0].shape();
        if matches!(self.kind, Kind::Any | Kind::All) {
            let truth = reduce_slices(&inputs[0].to_f64_vec(), shape, &self.axes, |slice| {
                let mut elements = slice.iter();
                u32::from(match self.kind {
                    Kind::Any => elements.any(|&x| x != 0.0),
                    _ => elements.all(|&x| x != 0.0),
                })
            });
            return Ok(vec![Array::U32(truth)]);
        }
        with_float!(self.name(), inputs[0], T => {
            let x = inputs[0].as_slice::<T>()?;
            let smallest = |slice: &[T]| largest(&slice.iter().map(|&x| -x).collect::<Vec<T>>());
            if self.kind == Kind::ArgMin {
                let positions = reduce_slices(x, shape, &self.axes, |slice| smallest(slice) as u32);
                return Ok(vec![Array::U32(positions)]);
            }
            let unbiased = |slice: &[T], correction: usize| {
                variance(slice) * T::c(slice.len() as f64) / T::c((slice.len() - correction) as f64)
            };
            let result = reduce_slices(x, shape, &self.axes, |slice| match self.kind {
                Kind::Variance { correction } => unbiased(slice, correction),
                Kind::Deviation { correction } => unbiased(slice, correction).sqrt(),
                Kind::LogSumExp => {
                    let top = slice[largest(slice)];
                    let shift = if top.is_infinite() { T::c(0.0) } else { top };
                    shift + slice.iter().map(|&x| (x - shift).exp()).sum::<T>().ln()
                }
                Kind::Norm { order } if order.is_infinite() => {
                    let magnitudes: Vec<T> = slice.iter().map(|x| x.abs()).collect();
                    magnitudes[largest(&magnitudes)]
                }
                Kind::Norm { order } => {
                    slice.iter().map(|x| x.abs().powf(T::c(order))).sum::<T>().powf(T::c(1.0 / order))
                }
                _ => slice[smallest(slice)],
            });
            Ok(vec![<T as Element>::wrap(result)])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let x = inputs[0];
        let result = match self.kind {
            Kind::Min => {
                let negative = graph.unary("neg", x)?;
                let largest = self.combine(graph, Accumulator::Max, negative)?[0];
                graph.unary("neg", largest)?
            }
            Kind::ArgMin => {
                let negative = graph.unary("neg", x)?;
                self.combine(graph, Accumulator::ArgMax, negative)?[0]
            }
            Kind::Variance { correction } => self.variance(graph, x, correction)?,
            Kind::Deviation { correction } => {
                let variance = self.variance(graph, x, correction)?;
                graph.unary("sqrt", variance)?
            }
            Kind::LogSumExp => {
                let largest = self.combine(graph, Accumulator::Max, x)?[0];
                let shift = one_for(graph, largest, f64::NEG_INFINITY, 0.0)?;
                let shift = one_for(graph, shift, f64::INFINITY, 0.0)?;
                let shifted = graph.sub(x, shift)?;
                let exponential = graph.unary("exp", shifted)?;
                let sum = graph.sum(exponential, &self.axes)?;
                let log = graph.unary("log", sum)?;
                graph.add(log, shift)?
            }
            Kind::Norm { order } => {
                let magnitude = graph.unary("abs", x)?;
                if order.is_infinite() {
                    self.combine(graph, Accumulator::Max, magnitude)?[0]
                } else if order == 1.0 {
                    graph.sum(magnitude, &self.axes)?
                } else if order == 2.0 {
                    let square = graph.unary("square", x)?;
                    let sum = graph.sum(square, &self.axes)?;
                    graph.unary("sqrt", sum)?
                } else {
                    let power = graph.elementwise("pow", &[magnitude], &[order])?;
                    let sum = graph.sum(power, &self.axes)?;
                    graph.elementwise("pow", &[sum], &[1.0 / order])?
                }
            }
            Kind::Any | Kind::All => {
                // Some are not 0; or none is.
                let (compare, decide) = if self.kind == Kind::Any { ("ne", "ne") } else { ("eq", "eq") };
                let zero = graph.constant(0.0, graph.type_of(x).dtype)?;
                let found = graph.elementwise(compare, &[x, zero], &[])?;
                let count = graph.sum(found, &self.axes)?;
                let none = graph.constant(0.0, DType::U32)?;
                graph.elementwise(decide, &[count, none], &[])?
            }
        };
        Ok(vec![result])
    }
}

impl Graph {
    /// `x` combined over `axes` (ascending), which stay with extent 1.
    ///
    /// # Errors
    /// When an axis does not exist, there are too few elements, or the type does not fit.
    pub fn statistic(&mut self, kind: Kind, x: Value, axes: &[usize]) -> Result<Value> {
        self.emit(Statistic { kind, axes: axes.to_vec() }, &[x])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let op = |kind, axes: &[usize]| Statistic { kind, axes: axes.to_vec() };
    let data = |shape: &[usize]| Sample::uniform(shape, -2.0, 2.0, 18);
    let rows = |rows: &[[f32; 4]]| Array::new(&[rows.len(), 4], rows.concat()).expect("rows of four");
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let special =
        rows(&[[1.0, nan, -3.0, nan], [2.0, 2.0, 2.0, 2.0], [-1.0, infinity, -infinity, 1.0], [-5.0, 0.0, -7.0, -7.0]]);
    let spread = Tolerance {
        absolute: 1e-6,
        relative: 2e-6,
        reason: "Welford's update, near one rounding of the magnitude; sqrt and division 2.5 ulp",
    };
    let exponentials = Tolerance {
        absolute: 2e-6,
        relative: 4e-7,
        reason: "WGSL allows log 2^-21 near 1 and 3 ulp elsewhere, on a sum of exp right to 6e-7",
    };
    let powers = |count: usize| Tolerance { relative: 1.2e-5, ..Tolerance::sum(4 * count) };
    let (variance, deviation) =
        (|correction| Kind::Variance { correction }, |correction| Kind::Deviation { correction });
    let norm = |order| Kind::Norm { order };
    let mut samples = Vec::new();
    for (kind, tolerance) in [
        (Kind::Min, Tolerance::EXACT),
        (Kind::ArgMin, Tolerance::EXACT),
        (variance(1), spread),
        (deviation(0), spread),
        (Kind::LogSumExp, exponentials),
        (norm(1.0), Tolerance::sum(140)),
        (norm(2.0), Tolerance::sum(140)),
        (norm(f64::INFINITY), Tolerance::EXACT),
        (norm(3.0), powers(70)),
    ] {
        for (name, shape, axes) in [
            ("last axis", &[5, 33][..], &[1][..]),
            ("outer axes", &[3, 4, 5], &[0, 2]),
            ("long column", &[70, 3], &[0]),
            ("nothing kept", &[0, 3], &[1]),
        ] {
            samples.push(Sample::new(name, op(kind, axes), vec![data(shape)], tolerance));
        }
        samples.push(Sample::error(
            "no such axis",
            op(kind, &[2]),
            vec![data(&[2, 2])],
            ErrorKind::Shape,
            "not ascending",
        ));
        let integers = vec![Array::full(&[2, 2], 1u32)];
        samples.push(Sample::error("integers", op(kind, &[1]), integers, ErrorKind::DType, "takes floats"));
    }
    for kind in [Kind::Min, Kind::ArgMin, norm(f64::INFINITY), norm(1.0)] {
        let inputs = vec![special.clone()];
        samples.push(Sample::new("NaN, ties, infinity", op(kind, &[1]), inputs, Tolerance::EXACT).not_smooth());
    }
    for kind in [Kind::Min, Kind::ArgMin, Kind::LogSumExp, norm(f64::INFINITY)] {
        let inputs = vec![data(&[2, 0])];
        samples.push(Sample::error("no elements", op(kind, &[1]), inputs, ErrorKind::Shape, "no elements on axes [1]"));
    }
    let extremes = rows(&[[1e4, 9999.0, -1e4, 9998.5], [-1e4, -1e4, -10001.0, -9999.0], [80.0, -80.0, 79.0, 0.0]]);
    let infinite =
        rows(&[[-infinity; 4], [-infinity, 1.0, 2.0, -infinity], [1.0, infinity, 0.0, 2.0], [nan, 0.0, 1.0, 2.0]]);
    let far = Sample::uniform(&[64, 3], 99.0, 101.0, 4);
    let cancels = Tolerance {
        absolute: 5e-6,
        relative: 1e-5,
        reason: "a running mean of 100 rounds by 3.8e-6, which twice a deviation of 0.6 carries into the variance",
    };
    let zeros = || vec![rows(&[[0.0; 4], [0.0, 3.0, -4.0, 0.0], [1.0, 0.0, 0.0, 0.0]])];
    let level = vec![rows(&[[1.5; 4], [1.0, 2.0, -1.0, 0.5]])];
    let equal = || vec![rows(&[[1.5; 4], [-2.0; 4]])];
    let truth = || vec![rows(&[[0.0; 4], [0.0, nan, 0.0, 0.0], [1.0, -2.0, 0.5, nan], [0.0, 0.0, -0.0, 0.0]])];
    let counts = |bound: u32| vec![Array::from_fn(&[3, 5, 2], |i| (i[0] + i[1] * i[2]) as u32 % bound)];
    samples.extend([
        Sample::new("logits of ±10000", op(Kind::LogSumExp, &[1]), vec![extremes], exponentials),
        Sample::new("infinities and NaN", op(Kind::LogSumExp, &[1]), vec![infinite], exponentials).not_smooth(),
        Sample::new("one element", op(Kind::LogSumExp, &[0]), vec![data(&[1])], exponentials),
        Sample::new("one element", op(Kind::Min, &[0]), vec![data(&[1])], Tolerance::EXACT),
        Sample::new("one element", op(Kind::ArgMin, &[0]), vec![data(&[1])], Tolerance::EXACT),
        Sample::new("one element", op(deviation(0), &[0]), vec![data(&[1])], spread).not_smooth(),
        Sample::new("one element", op(norm(2.0), &[0]), vec![data(&[1])], Tolerance::ROUNDED),
        Sample::new("one element", op(Kind::Any, &[0]), vec![data(&[1])], Tolerance::EXACT),
        Sample::new("one element", op(Kind::All, &[0]), vec![data(&[1])], Tolerance::EXACT),
        Sample::new("large mean", op(variance(1), &[0]), vec![far.clone()], cancels),
        Sample::new("large mean", op(deviation(1), &[0]), vec![far], cancels),
        Sample::new("a row of equal elements", op(variance(1), &[1]), level, spread),
        Sample::new("equal elements", op(deviation(1), &[1]), equal(), spread).not_smooth(),
        Sample::new("one element", op(variance(0), &[0]), vec![data(&[1])], spread),
        Sample::error(
            "one element",
            op(variance(1), &[0]),
            vec![data(&[1])],
            ErrorKind::Shape,
            "1 elements on axes [0]",
        ),
        Sample::error(
            "no elements",
            op(deviation(0), &[1]),
            vec![data(&[2, 0])],
            ErrorKind::Shape,
            "0 elements on axes",
        ),
        Sample::new("zeros, order 1", op(norm(1.0), &[1]), zeros(), Tolerance::ROUNDED).not_smooth(),
        Sample::new("zeros, order 2", op(norm(2.0), &[1]), zeros(), Tolerance::ROUNDED).not_smooth(),
        Sample::new("zeros, order 3", op(norm(3.0), &[1]), zeros(), powers(4)).not_smooth(),
        Sample::new("zeros, order 0.5", op(norm(0.5), &[1]), zeros(), powers(4)).not_smooth(),
        Sample::new("order 0.5", op(norm(0.5), &[1]), vec![Sample::uniform(&[3, 5], 0.3, 1.0, 19)], powers(25)),
        Sample::new("no elements", op(norm(2.0), &[1]), vec![data(&[2, 0])], Tolerance::EXACT),
        Sample::error("order 0", op(norm(0.0), &[1]), zeros(), ErrorKind::Config, "an order of 0 is not positive"),
        Sample::error("order NaN", op(norm(f64::NAN), &[1]), zeros(), ErrorKind::Config, "an order of NaN"),
        Sample::new("floats, NaN", op(Kind::Any, &[1]), truth(), Tolerance::EXACT),
        Sample::new("floats, NaN", op(Kind::All, &[1]), truth(), Tolerance::EXACT),
        Sample::new("integers", op(Kind::Any, &[1]), counts(2), Tolerance::EXACT),
        Sample::new("integers", op(Kind::All, &[0, 2]), counts(3), Tolerance::EXACT),
        Sample::new("no elements", op(Kind::Any, &[1]), vec![data(&[2, 0])], Tolerance::EXACT),
        Sample::new("no elements", op(Kind::All, &[1]), vec![data(&[2, 0])], Tolerance::EXACT),
    ]);
    samples
}
