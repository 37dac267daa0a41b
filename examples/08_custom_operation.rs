//! An operation of one's own, with its shader, its reference and its gradient: checked like every operation of the crate, then
//! trained with.
//!
//! The operation sums over neighbouring channels; local response normalisation, the layer that AlexNet has after its first
//! convolutions (Krizhevsky, Sutskever, Hinton 2012), is made of it.
//!
//! `cargo run --release --example 08_custom_operation [device]`

use std::ops::ControlFlow;

use neuropil::check::parity;
use neuropil::data::digits;
use neuropil::graph::{Sample, TensorType, Tolerance, expect_inputs};
use neuropil::nn::{Activation, Conv2d, Flatten, Linear, MaxPool2d, Sequential};
use neuropil::ops::custom::{Custom, Kernel};
use neuropil::train::{Settings, Trainer};
use neuropil::{Array, Device, Error, ErrorKind, Result, Scope, Tensor};

/// `y[…, c] = Σ x[…, j]` over `|j - c| <= reach`, for the last axis.
pub fn channel_sum(reach: usize) -> Custom {
    // The shape rule. Messages name the operation and show the shapes.
    let shape = |inputs: &[TensorType]| {
        expect_inputs("channel_sum", inputs, 1)?;
        match inputs[0].shape[..] {
            [.., _] if inputs[0].dtype.is_float() => Ok(inputs.to_vec()),
            _ => Err(Error::shape("channel_sum", format_args!("takes floats […, C], got {}", inputs[0]))),
        }
    };
    // The reference: plain loops in f64. It judges the shader, and is what the CPU device runs.
    let reference = |op: &Custom, inputs: &[Array]| {
        let (x, shape) = (inputs[0].as_slice::<f64>()?, inputs[0].shape());
        let (channels, reach) = (shape[shape.len() - 1], op.get("REACH") as usize);
        let element = |i: usize| {
            let channel = i % channels;
            let neighbours = channel.saturating_sub(reach)..(channel + reach + 1).min(channels);
            x[i - channel..][neighbours].iter().sum::<f64>()
        };
        Ok(vec![Array::new(shape, (0..x.len()).map(element).collect())?])
    };
    // What the shader is told. The number of elements depends on the batch size, so it is no constant of the text.
    let kernel = |inputs: &[TensorType], _: &[TensorType]| Kernel {
        constants: vec![("CHANNELS", inputs[0].shape[inputs[0].shape.len() - 1])],
        extents: vec![inputs[0].len()],
        workgroups: inputs[0].len().div_ceil(64),
    };
    let wgsl = include_str!("08_custom_operation.wgsl");
    Custom::new("channel_sum", wgsl, shape, reference, kernel)
        .parameter("REACH", reach as f64)
        // x[j] is in the sums of its neighbours: the gradient is the same operation.
        .gradient(|op, cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let gradient = cx.graph.emit(op.clone(), &[g])?;
            cx.give(0, gradient);
            Ok(())
        })
}

/// `x / (2 + 1e-4 · Σ x²)^0.75` over five neighbouring channels: AlexNet's numbers.
pub fn local_response_norm(_: &Scope, x: Tensor) -> Tensor {
    let power = x.square().custom(channel_sum(2), &[]);
    &x * (power * 1e-4 + 2.0).pow(-0.75)
}

fn main() -> Result<()> {
    let device = Device::select(std::env::args().nth(1).as_deref().unwrap_or("auto"))?;

    // Before it is trusted: samples with a tolerance and its reason. Odd sizes are where kernels break.
    let sample = |name: &str, shape: &[usize], reach: usize| {
        let inputs = vec![Sample::uniform(shape, -1.0, 1.0, 3)];
        Sample::new(name, channel_sum(reach), inputs, Tolerance::sum(2 * reach + 1))
    };
    let samples = [
        sample("image", &[3, 5, 7, 9], 2),
        sample("more reach than channels", &[67, 3], 5),
        sample("one channel", &[5, 1], 1),
        sample("no rows", &[0, 3], 1),
        Sample::error("a number", channel_sum(1), vec![Array::scalar(1f32)], ErrorKind::Shape, "takes floats […, C]"),
    ];
    let summary = parity::check_samples(&device, &samples)?;
    println!(
        "channel_sum on {}: {} cases, worst {:.3} of the allowed error",
        device.name(),
        summary.cases,
        summary.worst
    );

    let model = Sequential::new()
        .named("conv1", Conv2d::new(16, 3).padding(1))
        .then(Activation::Relu)
        .then(local_response_norm)
        .then(MaxPool2d::new(2))
        .named("conv2", Conv2d::new(32, 3).padding(1))
        .then(Activation::Relu)
        .then(Flatten)
        .named("head", Linear::new(10));
    let (train, test) = digits()?;
    let settings = Settings { epochs: 5, seed: 1, ..Settings::default() };
    let mut trainer = Trainer::new(&device, model, train.image_shape(), settings);
    trainer.fit(&train, Some(&test), |epoch| {
        let accuracy = epoch.test.map_or(f64::NAN, |test| test.accuracy * 100.0);
        println!("epoch {}: loss {:.4}, test accuracy {accuracy:.1} %", epoch.number, epoch.train.loss);
        ControlFlow::Continue(())
    })?;
    Ok(())
}
