//! Normalisation within a sample: layer norm, group norm, instance norm and RMS norm.
//!
//! y = (x − μ)·r·γ + β with r = 1/√(σ² + ε), where the mean μ and the biased variance σ² are those of the R elements that
//! are normalised together; RMS norm leaves out μ and takes the mean of squares for σ². The norms differ in which elements
//! these are, and all are one case: x seen as `[N, S, G, K]` (samples, positions, groups, channels of a group), statistics
//! over S and K, weight γ and bias β of `[G, K]`. Layer norm has one position and one group. Devices keep the shape of x, so
//! that the norm fuses with its neighbours: a group's statistics are combined from those of its channels.
//!
//! The gradient goes through the statistics. With h = g·γ it is dβ = Σ g, dγ = Σ g·(x − μ)·r and
//! dx = r·(h − mean h − (x − μ)·r²·mean(h·(x − μ))): sums that read x, and a sweep that writes dx.
//!
//! Sources: Ba, Kiros, Hinton, "Layer normalization", 2016; Wu, He, "Group normalization", 2018; Ulyanov, Vedaldi,
//! Lempitsky, "Instance normalization", 2016; Zhang, Sennrich, "Root mean square layer normalization", 2019.

use std::sync::Arc;

use crate::array::{Array, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Accumulator, Autocast, Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value};
use crate::ops::reduce::Reduction;
use crate::shape::element_count;
use crate::with_float;

/// x, and if wanted a weight, and if wanted a bias as well → x normalised.
#[derive(Clone, Debug)]
pub struct Norm {
    /// Which elements are normalised together.
    pub kind: Kind,
    /// ε: added to the variance, so that its root is not 0.
    pub epsilon: f64,
}

/// Which elements are normalised together, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Those of the last `axes` axes, whose shape the weight and the bias have.
    Layer {
        /// How many.
        axes: usize,
    },
    /// As [`Kind::Layer`], by the root of the mean square; there is no bias.
    Rms {
        /// How many.
        axes: usize,
    },
    /// Of `[N, …, C]`, those of one sample and of one of `groups` equal stretches of channels; weight and bias are `[C]`.
    Group {
        /// How many.
        groups: usize,
    },
    /// Of `[N, …, C]`, those of one sample and one channel; weight and bias are `[C]`.
    Instance,
}

impl Norm {
    fn centred(&self) -> bool {
        !matches!(self.kind, Kind::Rms { .. })
    }

    /// `[N, S, G, K]` of an input of this shape.
    fn layout(&self, shape: &[usize]) -> Result<[usize; 4]> {
        let refuse = |message: String| Err(Error::shape(self.name(), message));
        let groups = match self.kind {
            Kind::Layer { axes } | Kind::Rms { axes } => {
                if axes == 0 || axes > shape.len() {
                    return refuse(format!(
                        "cannot normalise the last {axes} axes of {shape:?}; take one or more of them"
                    ));
                }
                let (outer, inner) = shape.split_at(shape.len() - axes);
                return Ok([element_count(outer), 1, 1, element_count(inner)]);
            }
            Kind::Group { groups } => groups,
            Kind::Instance => shape.last().copied().unwrap_or(0),
        };
        let &[batch, ref positions @ .., channels] = shape else {
            return refuse(format!("takes [N, ..., channels], got {shape:?}"));
        };
        let whole = channels == 0 || (groups > 0 && channels % groups == 0);
        if !whole {
            return refuse(format!("{channels} channels are not {groups} equal groups"));
        }
        let layout = [batch, element_count(positions), groups, channels / groups.max(1)];
        if layout[1] * layout[3] == 1 {
            return refuse(format!("{shape:?} has 1 element a group, which would become the bias; use fewer groups"));
        }
        Ok(layout)
    }

    /// The shape of weight and bias.
    fn parameter_shape(&self, shape: &[usize]) -> Vec<usize> {
        match self.kind {
            Kind::Layer { axes } | Kind::Rms { axes } => shape[shape.len() - axes..].to_vec(),
            Kind::Group { .. } | Kind::Instance => shape[shape.len() - 1..].to_vec(),
        }
    }

    /// The axes whose elements are normalised together, all of them or within each channel.
    fn axes(&self, rank: usize) -> Vec<usize> {
        match self.kind {
            Kind::Layer { axes } | Kind::Rms { axes } => (rank - axes..rank).collect(),
            Kind::Group { .. } | Kind::Instance => (1..rank - 1).collect(),
        }
    }

    /// Channels that are normalised together.
    fn channels(&self, shape: &[usize]) -> usize {
        match (self.kind, shape.last()) {
            (Kind::Group { groups }, Some(&channels)) => channels / groups.max(1),
            _ => 1,
        }
    }

    /// Of statistics `[N, 1, …, C]` of single channels `factor` times the sum over the channels of each group, for every
    /// channel; without groups they are complete.
    fn over_group(&self, graph: &mut Graph, statistic: Value, factor: f64) -> Result<Value> {
        let shape = graph.shape(statistic).to_vec();
        let channels = self.channels(&shape);
        if channels <= 1 {
            return if factor == 1.0 { Ok(statistic) } else { graph.scale(statistic, factor) };
        }
        let grouped = [shape[0], shape[shape.len() - 1] / channels, channels];
        let statistic = graph.reshape(statistic, &grouped)?;
        let sum = graph.sum(statistic, &[2])?;
        let scaled = graph.scale(sum, factor)?;
        let spread = graph.broadcast_to(scaled, &grouped)?;
        graph.reshape(spread, &shape)
    }

    /// The mean of `terms` over what is normalised together; broadcasts against them.
    fn mean(&self, graph: &mut Graph, terms: Value) -> Result<Value> {
        let shape = graph.shape(terms).to_vec();
        let axes = self.axes(shape.len());
        let count = axes.iter().map(|&axis| shape[axis]).product::<usize>() * self.channels(&shape);
        let sum = graph.sum(terms, &axes)?;
        self.over_group(graph, sum, 1.0 / count as f64)
    }

    /// x − μ (x itself if not centred), and 1/√(σ² + ε), which broadcasts against it.
    fn statistics(&self, graph: &mut Graph, x: Value) -> Result<[Value; 2]> {
        let (deviation, variance) = if self.centred() {
            let axes = self.axes(graph.shape(x).len());
            let moments = graph.apply(Arc::new(Reduction { accumulator: Accumulator::Moments, axes }), &[x])?;
            // The variance of a group: the mean of its channels' variances about the mean of the group.
            let share = 1.0 / self.channels(graph.shape(x)).max(1) as f64;
            let mean = self.over_group(graph, moments[0], share)?;
            let mut variance = moments[1];
            if mean != moments[0] {
                let apart = graph.sub(moments[0], mean)?;
                let apart = graph.unary("square", apart)?;
                let about = graph.add(variance, apart)?;
                variance = self.over_group(graph, about, share)?;
            }
            (graph.sub(x, mean)?, variance)
        } else {
            let squares = graph.unary("square", x)?;
            (x, self.mean(graph, squares)?)
        };
        let shifted = graph.shift(variance, self.epsilon)?;
        Ok([deviation, graph.unary("rsqrt", shifted)?])
    }
}

impl Op for Norm {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Layer { .. } => "layer_norm",
            Kind::Rms { .. } => "rms_norm",
            Kind::Group { .. } => "group_norm",
            Kind::Instance => "instance_norm",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        let most = if self.centred() { 3 } else { 2 };
        if inputs.is_empty() || inputs.len() > most {
            let message = format!("{name}: takes 1 to {most} inputs, got {}", inputs.len());
            return Err(Error::new(ErrorKind::Graph, message));
        }
        if !(0.0..f64::INFINITY).contains(&self.epsilon) {
            let message =
                format!("{name}: an epsilon of {} is not a small positive number, such as 1e-5", self.epsilon);
            return Err(Error::new(ErrorKind::Config, message));
        }
        let x = &inputs[0];
        if !x.dtype.is_float() {
            return Err(Error::dtype(name, format_args!("takes floats, got {x}; cast first")));
        }
        self.layout(&x.shape)?;
        let wanted = TensorType::new(x.dtype, self.parameter_shape(&x.shape));
        for (parameter, ty) in ["weight", "bias"].iter().zip(&inputs[1..]) {
            if *ty != wanted {
                return Err(Error::shape(name, format_args!("the {parameter} is {ty}, an input {x} needs {wanted}")));
            }
        }
        Ok(vec![x.clone()])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Restore
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let (x, shape) = (cx.input(0), cx.input_shape(0));
            let [deviation, reciprocal] = self.statistics(cx.graph, x)?;
            let mut h = g;
            if cx.input_count() > 1 {
                let weight = cx.input(1);
                h = cx.graph.mul(g, weight)?;
                let along = cx.graph.mul(g, deviation)?;
                let along = cx.graph.mul(along, reciprocal)?;
                let of_parameter = self.parameter_shape(&shape);
                let others: Vec<usize> = (0..shape.len() - of_parameter.len()).collect();
                for (parameter, terms) in [(1, along), (2, g)].into_iter().take(cx.input_count() - 1) {
                    let gradient = cx.graph.sum(terms, &others)?;
                    let gradient = cx.graph.reshape(gradient, &of_parameter)?;
                    cx.give(parameter, gradient);
                }
            }
            // h − mean h − (x − μ)·r²·mean(h·(x − μ))
            let product = cx.graph.mul(h, deviation)?;
            let slope = self.mean(cx.graph, product)?;
            let square = cx.graph.unary("square", reciprocal)?;
            let slope = cx.graph.mul(slope, square)?;
            let along = cx.graph.mul(deviation, slope)?;
            if self.centred() {
                let mean = self.mean(cx.graph, h)?;
                h = cx.graph.sub(h, mean)?;
            }
            let projected = cx.graph.sub(h, along)?;
            let gradient = cx.graph.mul(projected, reciprocal)?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [batch, positions, groups, channels] = self.layout(inputs[0].shape())?;
        with_float!(self.name(), inputs[0], T => {
            let x = inputs[0].as_slice::<T>()?;
            let parameters = inputs[1..].iter().map(|array| array.as_slice::<T>()).collect::<Result<Vec<_>>>()?;
            let count = T::c((positions * channels) as f64);
            let mut y = x.to_vec();
            for (n, group) in (0..batch).flat_map(|n| (0..groups).map(move |group| (n, group))) {
                let rows = (0..positions).map(|s| ((n * positions + s) * groups + group) * channels);
                let together: Vec<usize> = rows.flat_map(|first| first..first + channels).collect();
                let mean_of = |f: &dyn Fn(T) -> T| together.iter().map(|&i| f(x[i])).sum::<T>() / count;
                let mut mean = T::c(0.0);
                if self.centred() {
                    mean = mean_of(&|x| x);
                    // Once more, so that in f32 a large mean is as right as f32 can hold it.
                    mean += mean_of(&|x| x - mean);
                }
                let deviation = (mean_of(&|x| (x - mean) * (x - mean)) + T::c(self.epsilon)).sqrt();
                for &i in &together {
                    let parameter = group * channels + i % channels;
                    let weight = parameters.first().map_or(T::c(1.0), |weight| weight[parameter]);
                    let bias = parameters.get(1).map_or(T::c(0.0), |bias| bias[parameter]);
                    y[i] = (x[i] - mean) / deviation * weight + bias;
                }
            }
            Ok(vec![Array::new(inputs[0].shape(), y)?])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let [deviation, reciprocal] = self.statistics(graph, inputs[0])?;
        let mut y = graph.mul(deviation, reciprocal)?;
        if let Some(&weight) = inputs.get(1) {
            y = graph.mul(y, weight)?;
        }
        if let Some(&bias) = inputs.get(2) {
            y = graph.add(y, bias)?;
        }
        Ok(vec![y])
    }
}

impl Graph {
    /// `x` normalised within each sample; `parameters` are nothing, a weight, or a weight and a bias.
    ///
    /// # Errors
    /// When shapes or types do not fit, or `epsilon` is negative.
    pub fn norm(&mut self, kind: Kind, x: Value, parameters: &[Value], epsilon: f64) -> Result<Value> {
        let inputs: Vec<Value> = std::iter::once(x).chain(parameters.iter().copied()).collect();
        self.emit(Norm { kind, epsilon }, &inputs)
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let tolerance = Tolerance {
        absolute: 2e-6,
        relative: 1e-6,
        reason: "a few roundings in mean and variance, inverse root 2 ulp; y up to 4 cancels against the bias",
    };
    let large_mean = |mean: f64, absolute| Tolerance {
        absolute,
        relative: 1e-6,
        reason: if mean < 1e3 {
            "a mean near 100 may be 3 ulp of 8e-6 off, times weight over deviation up to 3.5"
        } else {
            "a mean near 10,000 may be 4 ulp of 1e-3 off, times weight over deviation up to 0.4"
        },
    };
    let op = |kind| Norm { kind, epsilon: 1e-5 };
    let (layer, rms, instance) = (Kind::Layer { axes: 1 }, Kind::Rms { axes: 1 }, Kind::Instance);
    let group = |groups| Kind::Group { groups };
    let data = |shape: &[usize]| Sample::uniform(shape, -2.0, 2.0, 14);
    // `x` with as many parameters of `shape` as `count` says.
    let with = |x: Array, shape: &[usize], count: u64| -> Vec<Array> {
        let parameters = (0..count).map(|i| Sample::uniform(shape, -2.0, 2.0, 15 + i));
        std::iter::once(x).chain(parameters).collect()
    };
    let sample = |name: &str, kind, inputs| Sample::new(name, op(kind), inputs, tolerance);
    let refuse = |name, norm: Norm, inputs, words| Sample::error(name, norm, inputs, ErrorKind::Shape, words);
    let near = |mean: f64, spread: f64| Sample::uniform(&[3, 70], mean - spread, mean + spread, 13);
    let equal = Array::from_fn(&[3, 4], |i| if i[0] == 1 { 3.0f32 } else { (i[0] + i[1] * i[1]) as f32 });
    let undefined = |shape: &[usize], at: usize| {
        let mut elements = data(shape).to_f64_vec();
        elements[at] = f64::NAN;
        Array::new(shape, elements).expect("as many as before").cast(DType::F32)
    };
    let mut samples = vec![
        sample("rows", layer, with(data(&[6, 10]), &[10], 2)),
        sample("last two axes", Kind::Layer { axes: 2 }, with(data(&[3, 4, 5]), &[4, 5], 2)),
        sample("all axes", Kind::Layer { axes: 2 }, with(data(&[4, 5]), &[4, 5], 2)),
        sample("one row of 700", layer, with(data(&[1, 700]), &[700], 2)),
        sample("one element", layer, with(data(&[4, 1]), &[1], 2)),
        sample("one element in all", layer, with(data(&[1]), &[1], 2)),
        sample("no parameters", layer, with(data(&[5, 7]), &[], 0)),
        sample("weight alone", layer, with(data(&[2, 3, 7]), &[7], 1)),
        sample("no rows", layer, with(data(&[0, 5]), &[5], 2)),
        sample("no elements", layer, with(data(&[3, 0]), &[0], 2)),
        sample("equal values in a row", layer, with(equal, &[4], 2)),
        Sample::new("no epsilon", Norm { kind: layer, epsilon: 0.0 }, with(data(&[5, 7]), &[7], 2), tolerance),
        Sample::new("mean 100", op(layer), with(near(100.0, 1.0), &[70], 2), large_mean(1e2, 1e-4)),
        Sample::new("mean 10000", op(layer), with(near(1e4, 10.0), &[70], 2), large_mean(1e4, 1.6e-3)),
        sample("NaN in one row", layer, with(undefined(&[3, 4], 5), &[4], 2)).not_smooth(),
        sample("image", group(3), with(data(&[2, 3, 5, 6]), &[6], 2)),
        sample("one group", group(1), with(data(&[2, 3, 2, 5]), &[5], 2)),
        sample("a group a channel", group(4), with(data(&[1, 3, 3, 4]), &[4], 2)),
        sample("vectors", group(2), with(data(&[5, 6]), &[6], 2)),
        sample("no channels", group(2), with(data(&[3, 4, 0]), &[0], 2)),
        sample("NaN in one group", group(2), with(undefined(&[2, 3, 4], 7), &[4], 2)).not_smooth(),
        sample("image", instance, with(data(&[2, 4, 5, 3]), &[3], 2)),
        sample("no channels", instance, with(data(&[2, 3, 0]), &[0], 2)),
        sample("no parameters", instance, with(data(&[2, 3, 3, 5]), &[], 0)),
        sample("a sequence of one channel", instance, with(data(&[3, 9, 1]), &[1], 2)),
        Sample::new("mean 100", op(instance), with(near(100.0, 1.0).reshape(&[1, 35, 6]).expect("210"), &[6], 2), {
            large_mean(1e2, 1e-4)
        }),
        sample("rows", rms, with(data(&[6, 10]), &[10], 1)),
        sample("last two axes", Kind::Rms { axes: 2 }, with(data(&[3, 4, 5]), &[4, 5], 1)),
        sample("no parameters", rms, with(data(&[1, 65]), &[], 0)),
        sample("mean 10000", rms, with(near(1e4, 10.0), &[70], 1)),
        sample("one element", rms, with(data(&[1]), &[1], 1)),
        sample("no rows", rms, with(data(&[0, 5]), &[5], 1)),
        sample("a row of zeros", rms, with(Array::from_fn(&[2, 4], |i| (i[0] * (i[1] + 1)) as f32), &[4], 1)),
        sample("NaN in one row", rms, with(undefined(&[3, 4], 5), &[4], 1)).not_smooth(),
        refuse("no axes", op(Kind::Layer { axes: 0 }), with(data(&[2, 3]), &[], 0), "the last 0 axes of [2, 3]"),
        refuse("too many axes", op(Kind::Rms { axes: 3 }), with(data(&[2, 3]), &[], 0), "the last 3 axes of [2, 3]"),
        refuse("weight of other extents", op(layer), with(data(&[4, 3]), &[4], 1), "the weight is f32[4]"),
        refuse(
            "bias of one element",
            op(instance),
            vec![data(&[2, 4, 3]), data(&[3]), data(&[1])],
            "the bias is f32[1]",
        ),
        refuse(
            "groups that do not divide",
            op(group(4)),
            with(data(&[2, 4, 6]), &[6], 2),
            "6 channels are not 4 equal",
        ),
        refuse("no groups", op(group(0)), with(data(&[2, 4, 6]), &[6], 2), "6 channels are not 0 equal groups"),
        refuse("one axis", op(group(1)), with(data(&[6]), &[6], 2), "takes [N, ..., channels]"),
        refuse("one element", op(group(1)), with(data(&[1, 1]), &[1], 2), "has 1 element a group"),
        refuse("one element", op(instance), with(data(&[1, 1, 1]), &[1], 2), "has 1 element a group"),
        refuse("one element a group", op(group(6)), with(data(&[2, 6]), &[6], 2), "has 1 element a group"),
        refuse("one pixel a channel", op(instance), with(data(&[2, 1, 1, 6]), &[6], 2), "has 1 element a group"),
    ];
    samples.extend([
        Sample::error("bias", op(rms), with(data(&[2, 3]), &[3], 2), ErrorKind::Graph, "takes 1 to 2 inputs, got 3"),
        Sample::error("integers", op(layer), vec![Array::full(&[4, 3], 1u32)], ErrorKind::DType, "takes floats"),
        Sample::error(
            "negative epsilon",
            Norm { kind: layer, epsilon: -1e-5 },
            vec![data(&[4, 3])],
            ErrorKind::Config,
            "an epsilon of -0.00001",
        ),
    ]);
    samples
}
