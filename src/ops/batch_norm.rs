//! Batch normalisation over all axes but the last, the channels.
//!
//! In training, with the mean μ and the biased variance σ² of each channel over its R elements and r = 1/√(σ² + ε):
//! y = (x − μ)·γr + β. The gradient goes through the statistics; with x̂ = (x − μ)·r it is dβ = Σ g, dγ = Σ g·x̂ and
//! dx = γr·(g − dβ/R − x̂·dγ/R): two sums in one sweep over x and g, and a second sweep that writes dx.
//!
//! In evaluation running averages stand for μ and σ²; they move by a share, the momentum, towards those of each batch,
//! as in PyTorch: see [`Graph::running_update`].
//!
//! Source: Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
//! shift", 2015.

use std::sync::Arc;

use crate::array::{Array, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{
    Accumulator, Autocast, Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value, expect_inputs,
};
use crate::ops::reduce::Reduction;
use crate::with_float;

/// x `[…, C]`, weight γ `[C]` and bias β `[C]` → y `[…, C]`, and the mean and the biased variance of the batch, each
/// `[C]`.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// ε: added to the variance, so that its root is not 0.
    pub epsilon: f64,
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs("batch_norm", inputs, 3)?;
        let x = &inputs[0];
        let channels = expect_channels(self.epsilon, x, &[("weight", &inputs[1]), ("bias", &inputs[2])])?;
        let count = x.shape[..x.shape.len() - 1].iter().product::<usize>();
        if count < 2 {
            return Err(Error::shape(
                "batch_norm",
                format_args!("{x} has {count} elements a channel, training needs 2 or more; use a larger batch"),
            ));
        }
        let statistics = TensorType::new(x.dtype, [channels]);
        Ok(vec![x.clone(), statistics.clone(), statistics])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Restore
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let x = cx.input(0);
            let (mean, variance) = (cx.output(1), cx.output(2));
            let axes = leading_axes(cx.graph, x);
            let share = 1.0 / cx.graph.shape(x)[..axes.len()].iter().product::<usize>() as f64;
            let deviation = cx.graph.sub(x, mean)?;
            let mut total = None;
            if let Some(g) = cx.gradient(0) {
                let grad_bias = channel_sum(cx.graph, g, &axes)?;
                let weighted = cx.graph.mul(g, deviation)?;
                let weighted = channel_sum(cx.graph, weighted, &axes)?;
                let reciprocal = reciprocal_deviation(cx.graph, variance, self.epsilon)?;
                let grad_weight = cx.graph.mul(weighted, reciprocal)?;
                cx.give(1, grad_weight);
                cx.give(2, grad_bias);
                // dx = (g − dβ/R − (x − μ)·(r·dγ/R))·γr
                let weight = cx.input(1);
                let scale = cx.graph.mul(weight, reciprocal)?;
                let centre = cx.graph.scale(grad_bias, share)?;
                let slope = cx.graph.mul(grad_weight, reciprocal)?;
                let slope = cx.graph.scale(slope, share)?;
                let centred = cx.graph.sub(g, centre)?;
                let along = cx.graph.mul(deviation, slope)?;
                let projected = cx.graph.sub(centred, along)?;
                total = Some(cx.graph.mul(projected, scale)?);
            }
            // dμ/dx = 1/R
            if let Some(g) = cx.gradient(1) {
                let shape = cx.input_shape(0);
                let scaled = cx.graph.scale(g, share)?;
                let part = cx.graph.broadcast_to(scaled, &shape)?;
                total = Some(total.map_or(Ok(part), |first| cx.graph.add(first, part))?);
            }
            // dσ²/dx = 2(x − μ)/R
            if let Some(g) = cx.gradient(2) {
                let scaled = cx.graph.scale(g, 2.0 * share)?;
                let part = cx.graph.mul(deviation, scaled)?;
                total = Some(total.map_or(Ok(part), |first| cx.graph.add(first, part))?);
            }
            if let Some(gradient) = total {
                cx.give(0, gradient);
            }
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        with_float!("batch_norm", inputs[0], T => {
            let x = inputs[0].as_slice::<T>()?;
            let (weight, bias) = (inputs[1].as_slice::<T>()?, inputs[2].as_slice::<T>()?);
            let channels = weight.len();
            let count = T::c((x.len() / channels.max(1)) as f64);
            let (mut y, mut means, mut variances) = (x.to_vec(), Vec::new(), Vec::new());
            for channel in 0..channels {
                let elements = || x.iter().skip(channel).step_by(channels);
                let mean = elements().copied().sum::<T>() / count;
                let variance = elements().map(|&x| (x - mean) * (x - mean)).sum::<T>() / count;
                let scale = weight[channel] / (variance + T::c(self.epsilon)).sqrt();
                for y in y.iter_mut().skip(channel).step_by(channels) {
                    *y = (*y - mean) * scale + bias[channel];
                }
                means.push(mean);
                variances.push(variance);
            }
            let shape = inputs[0].shape();
            Ok(vec![Array::new(shape, y)?, Array::new(&[channels], means)?, Array::new(&[channels], variances)?])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let (x, weight, bias) = (inputs[0], inputs[1], inputs[2]);
        let axes = leading_axes(graph, x);
        let channels = [graph.shape(x)[axes.len()]];
        let moments = graph.apply(Arc::new(Reduction { accumulator: Accumulator::Moments, axes }), &[x])?;
        let mean = graph.reshape(moments[0], &channels)?;
        let variance = graph.reshape(moments[1], &channels)?;
        let y = normalise(graph, x, [weight, bias], [mean, variance], self.epsilon)?;
        Ok(vec![y, mean, variance])
    }
}

/// x `[…, C]`, weight, bias, running mean and running variance, each `[C]` → y `[…, C]`.
#[derive(Clone, Debug)]
pub struct BatchNormInference {
    /// As in [`BatchNorm`].
    pub epsilon: f64,
}

impl Op for BatchNormInference {
    fn name(&self) -> &'static str {
        "batch_norm.inference"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 5)?;
        let names = ["weight", "bias", "running mean", "running variance"];
        let parameters: Vec<(&str, &TensorType)> = names.into_iter().zip(&inputs[1..]).collect();
        expect_channels(self.epsilon, &inputs[0], &parameters)?;
        Ok(vec![inputs[0].clone()])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Decompose
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        with_float!(self.name(), inputs[0], T => {
            let arrays = inputs.iter().map(|array| array.as_slice::<T>()).collect::<Result<Vec<_>>>()?;
            let [x, weight, bias, mean, variance] = five(&arrays)?;
            let y = x.iter().enumerate().map(|(i, &x)| {
                let c = i % weight.len();
                (x - mean[c]) / (variance[c] + T::c(self.epsilon)).sqrt() * weight[c] + bias[c]
            });
            Ok(vec![Array::new(inputs[0].shape(), y.collect())?])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let [x, weight, bias, mean, variance] = five(inputs)?;
        Ok(vec![normalise(graph, x, [weight, bias], [mean, variance], self.epsilon)?])
    }
}

/// The inputs of [`BatchNormInference`], of whatever kind.
fn five<T: Copy>(inputs: &[T]) -> Result<[T; 5]> {
    let error = |_| Error::new(ErrorKind::Graph, format!("batch_norm.inference: takes 5 inputs, got {}", inputs.len()));
    <[T; 5]>::try_from(inputs).map_err(error)
}

/// The channels of `x`, which every one of `parameters` must have; also checks ε.
fn expect_channels(epsilon: f64, x: &TensorType, parameters: &[(&str, &TensorType)]) -> Result<usize> {
    if !(0.0..f64::INFINITY).contains(&epsilon) {
        let message = format!("batch_norm: an epsilon of {epsilon} is not a small positive number, such as 1e-5");
        return Err(Error::new(ErrorKind::Config, message));
    }
    if !x.dtype.is_float() {
        return Err(Error::dtype("batch_norm", format_args!("takes floats, got {x}; cast first")));
    }
    let Some(&channels) = x.shape.last() else {
        return Err(Error::shape("batch_norm", format_args!("takes [..., channels], got {x}")));
    };
    let wanted = TensorType::new(x.dtype, [channels]);
    match parameters.iter().find(|(_, ty)| **ty != wanted) {
        None => Ok(channels),
        Some((name, ty)) => {
            Err(Error::shape("batch_norm", format_args!("the {name} is {ty}, an input {x} needs {wanted}")))
        }
    }
}

/// All axes but the last.
fn leading_axes(graph: &Graph, x: Value) -> Vec<usize> {
    (0..graph.shape(x).len() - 1).collect()
}

/// 1/√(σ² + ε)
fn reciprocal_deviation(graph: &mut Graph, variance: Value, epsilon: f64) -> Result<Value> {
    let shifted = graph.shift(variance, epsilon)?;
    let deviation = graph.unary("sqrt", shifted)?;
    let one = graph.constant(1.0, graph.type_of(variance).dtype)?;
    graph.div(one, deviation)
}

/// (x − μ)·γr + β
fn normalise(
    graph: &mut Graph,
    x: Value,
    [weight, bias]: [Value; 2],
    [mean, variance]: [Value; 2],
    epsilon: f64,
) -> Result<Value> {
    let reciprocal = reciprocal_deviation(graph, variance, epsilon)?;
    let scale = graph.mul(weight, reciprocal)?;
    let deviation = graph.sub(x, mean)?;
    let scaled = graph.mul(deviation, scale)?;
    graph.add(scaled, bias)
}

/// The sum over `axes`, all but the last, as `[C]`.
fn channel_sum(graph: &mut Graph, x: Value, axes: &[usize]) -> Result<Value> {
    let channels = graph.shape(x)[axes.len()];
    let sum = graph.sum(x, axes)?;
    graph.reshape(sum, &[channels])
}

impl Graph {
    /// Batch normalisation in training: `x` `[…, C]`, `weight` and `bias` `[C]` give the normalised `x`, and the mean
    /// and the biased variance of each channel, `[C]`.
    ///
    /// # Errors
    /// When shapes or types do not fit, a channel has fewer than two elements, or `epsilon` is negative.
    pub fn batch_norm(&mut self, x: Value, weight: Value, bias: Value, epsilon: f64) -> Result<[Value; 3]> {
        let outputs = self.apply(Arc::new(BatchNorm { epsilon }), &[x, weight, bias])?;
        Ok([outputs[0], outputs[1], outputs[2]])
    }

    /// Batch normalisation in evaluation, by running statistics: (x − mean)·weight/√(variance + ε) + bias.
    ///
    /// # Errors
    /// When shapes or types do not fit, or `epsilon` is negative.
    pub fn batch_norm_inference(
        &mut self,
        x: Value,
        weight: Value,
        bias: Value,
        running_mean: Value,
        running_variance: Value,
        epsilon: f64,
    ) -> Result<Value> {
        self.emit(BatchNormInference { epsilon }, &[x, weight, bias, running_mean, running_variance])
    }

    /// The running average after a batch: (1 − momentum)·running + momentum·batch.
    ///
    /// PyTorch's momentum is 0.1, and its running variance averages *unbiased* variances: for R elements a channel the
    /// caller multiplies the variance that [`Graph::batch_norm`] gives by R/(R − 1) first.
    ///
    /// # Errors
    /// When shapes or types differ.
    pub fn running_update(&mut self, running: Value, batch: Value, momentum: f64) -> Result<Value> {
        let (before, after) = (self.type_of(running), self.type_of(batch));
        if before != after {
            let message = format_args!("the running average is {before}, the batch gives {after}");
            return Err(Error::shape("running_update", message));
        }
        let kept = self.scale(running, 1.0 - momentum)?;
        let added = self.scale(batch, momentum)?;
        self.add(kept, added)
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let tolerance = Tolerance {
        absolute: 2e-6,
        relative: 1e-6,
        reason: "a few roundings in mean and variance, division and sqrt 2.5 ulp each; y up to 4 cancels against bias",
    };
    let op = BatchNorm { epsilon: 1e-5 };
    let data = |shape: &[usize], seed| Sample::uniform(shape, -2.0, 2.0, seed);
    let parameters = |x: Array| {
        let channels = x.shape()[x.shape().len() - 1];
        vec![x, data(&[channels], 11), data(&[channels], 12)]
    };
    let drawn = |shape: &[usize]| parameters(data(shape, 10));
    let large_mean = Tolerance {
        absolute: 1e-4,
        relative: 1e-6,
        reason: "a mean near 100 may be 3 ulp of 8e-6 off, times weight over deviation up to 3.5",
    };
    let offset = parameters(Sample::uniform(&[6, 5, 5, 3], 99.0, 101.0, 13));
    // Not an ulp off: both moments are small integers. ε keeps the channel of equal values finite.
    let constant = Array::from_fn(&[4, 2], |i| if i[1] == 0 { 3.0f32 } else { i[0] as f32 });
    let mut undefined = data(&[5, 3], 10).to_f64_vec();
    undefined[4] = f64::NAN;
    let undefined = Array::new(&[5, 3], undefined).expect("15 elements").cast(DType::F32);
    let with = |x: Array, weight: Array, bias: Array| vec![x, weight, bias];
    let epsilon = |epsilon| BatchNorm { epsilon };
    let inference = BatchNormInference { epsilon: 1e-5 };
    // With a running mean and a running variance.
    let running = |x: Array| {
        let channels = x.shape()[x.shape().len() - 1];
        let mut inputs = parameters(x);
        inputs.extend([data(&[channels], 16), Sample::uniform(&[channels], 0.5, 3.0, 17)]);
        inputs
    };
    let mut two_variances = running(data(&[4, 3], 10));
    two_variances[4] = data(&[2], 17);
    vec![
        Sample::new("image", op.clone(), drawn(&[4, 3, 5, 6]), tolerance),
        Sample::new("batch 1", op.clone(), drawn(&[1, 4, 3, 5]), tolerance),
        Sample::new("vectors", op.clone(), drawn(&[9, 4]), tolerance),
        Sample::new("one channel", op.clone(), drawn(&[7, 5, 1]), tolerance),
        Sample::new("two elements a channel", op.clone(), drawn(&[2, 5]), tolerance),
        Sample::new("100 channels", op.clone(), drawn(&[3, 2, 2, 100]), tolerance),
        Sample::new("many elements", op.clone(), drawn(&[5, 17, 19, 2]), tolerance),
        Sample::new("no channels", op.clone(), drawn(&[4, 0]), tolerance),
        Sample::new("large epsilon", epsilon(0.7), drawn(&[6, 3]), tolerance),
        Sample::new("no epsilon", epsilon(0.0), drawn(&[6, 3]), tolerance),
        Sample::new("large mean", op.clone(), offset, large_mean),
        Sample::new("equal values", op.clone(), parameters(constant), tolerance),
        Sample::new("NaN in one channel", op.clone(), parameters(undefined), tolerance).not_smooth(),
        Sample::error(
            "one element a channel",
            op.clone(),
            drawn(&[1, 1, 3]),
            ErrorKind::Shape,
            "has 1 elements a channel",
        ),
        Sample::error("one element", op.clone(), drawn(&[1, 1]), ErrorKind::Shape, "has 1 elements a channel"),
        Sample::error("no elements", op.clone(), drawn(&[0, 3]), ErrorKind::Shape, "has 0 elements a channel"),
        Sample::error(
            "weight of other channels",
            op.clone(),
            with(data(&[4, 3], 10), data(&[4], 11), data(&[3], 12)),
            ErrorKind::Shape,
            "the weight is f32[4], an input f32[4, 3] needs f32[3]",
        ),
        Sample::error(
            "bias of one element",
            op.clone(),
            with(data(&[4, 3], 10), data(&[3], 11), data(&[1], 12)),
            ErrorKind::Shape,
            "the bias is f32[1]",
        ),
        Sample::error(
            "no axes",
            op.clone(),
            with(data(&[], 10), data(&[1], 11), data(&[1], 12)),
            ErrorKind::Shape,
            "takes [..., channels]",
        ),
        Sample::error(
            "integers",
            op.clone(),
            with(Array::full(&[4, 3], 1u32), data(&[3], 11), data(&[3], 12)),
            ErrorKind::DType,
            "takes floats",
        ),
        Sample::new("image", inference.clone(), running(data(&[3, 4, 2, 5], 10)), tolerance),
        Sample::new("one element", inference.clone(), running(data(&[1, 1], 10)), tolerance),
        Sample::new("no rows", inference.clone(), running(data(&[0, 3], 10)), tolerance),
        Sample::error(
            "variance of other channels",
            inference,
            two_variances,
            ErrorKind::Shape,
            "the running variance is f32[2], an input f32[4, 3] needs f32[3]",
        ),
        Sample::error("negative epsilon", epsilon(-1e-5), drawn(&[4, 3]), ErrorKind::Config, "an epsilon of -0.00001"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::reference;
    use crate::graph::Leaf;

    /// What `build` adds to a graph with `inputs` as leaves, in `f64`.
    fn evaluate(inputs: &[Array], build: impl Fn(&mut Graph, &[Value]) -> Result<Value>) -> Result<Vec<f64>> {
        let mut graph = Graph::new();
        let (mut values, mut leaves) = (Vec::new(), reference::Leaves::new());
        for (i, array) in inputs.iter().enumerate() {
            values.push(graph.leaf(Leaf::Input, &i.to_string(), TensorType::new(array.dtype(), array.shape()))?);
            leaves.insert((Leaf::Input, i.to_string()), array.clone());
        }
        let result = build(&mut graph, &values)?;
        graph.outputs = vec![("result".to_owned(), result)];
        Ok(reference::run(&graph, &leaves, DType::F64)?.output("result")?.to_f64_vec())
    }

    fn vector(elements: &[f32]) -> Array {
        Array::new(&[elements.len()], elements.to_vec()).unwrap()
    }

    #[test]
    fn inference_uses_the_running_statistics() {
        let x = Array::new(&[2, 2], vec![1.0f32, 10.0, 3.0, -2.0]).unwrap();
        let (weight, bias) = (vector(&[2.0, -1.0]), vector(&[0.5, 1.0]));
        let (mean, variance) = (vector(&[1.0, 2.0]), vector(&[3.0, 15.0]));
        let inputs = [x, weight, bias, mean, variance];
        let inference = |graph: &mut Graph, v: &[Value]| graph.batch_norm_inference(v[0], v[1], v[2], v[3], v[4], 1.0);
        // Channel 0: (x - 1)·2/2 + 0.5; channel 1: (x - 2)·(-1)/4 + 1.
        assert_eq!(evaluate(&inputs, inference).unwrap(), [0.5, -1.0, 2.5, 2.0]);
        let mut wrong = inputs;
        wrong[4] = vector(&[3.0]);
        let error = evaluate(&wrong, inference).unwrap_err().to_string();
        assert!(error.contains("the running variance is f32[1]") && error.contains("needs f32[2]"), "{error}");
    }

    #[test]
    fn training_and_inference_agree_on_the_statistics_of_the_batch() {
        let x = Sample::uniform(&[5, 3, 2], -2.0, 2.0, 1);
        let inputs = [x, vector(&[2.0, -1.0]), vector(&[0.5, 1.0])];
        let training = |graph: &mut Graph, v: &[Value]| Ok(graph.batch_norm(v[0], v[1], v[2], 1e-5)?[0]);
        let both = |graph: &mut Graph, v: &[Value]| {
            let [_, mean, variance] = graph.batch_norm(v[0], v[1], v[2], 1e-5)?;
            graph.batch_norm_inference(v[0], v[1], v[2], mean, variance, 1e-5)
        };
        let pairs = evaluate(&inputs, training).unwrap().into_iter().zip(evaluate(&inputs, both).unwrap());
        pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-12, "{a} {b}"));
    }

    #[test]
    fn running_averages_move_by_the_momentum() {
        let inputs = [vector(&[1.0, 2.0]), vector(&[3.0, -2.0])];
        let update = |graph: &mut Graph, v: &[Value]| graph.running_update(v[0], v[1], 0.25);
        assert_eq!(evaluate(&inputs, update).unwrap(), [1.5, 1.0]);
        let error = evaluate(&[vector(&[1.0, 2.0]), vector(&[3.0])], update).unwrap_err().to_string();
        assert!(error.contains("the running average is f32[2], the batch gives f32[1]"), "{error}");
    }
}
