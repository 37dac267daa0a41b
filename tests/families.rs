//! Networks of every family train: on the digits, on both devices, with the layers that make them what they are.

mod common;

use std::ops::ControlFlow;

use neuropil::data::{digits, shuffle};
use neuropil::loss::{Reduction, binary_cross_entropy_with_logits};
use neuropil::nn::{
    Activation, BatchNorm, Conv2d, ConvTranspose2d, Flatten, GlobalAvgPool2d, GroupNorm, LayerNorm, Linear, MaxPool2d,
    Module, MultiHeadAttention, Sequential,
};
use neuropil::optim::{Adam, Optimizer};
use neuropil::train::{Settings, Trainer};
use neuropil::{Array, DType, Device, Init, Mode, Program, Scope, Store, Tensor};

/// The accuracy on the test digits after some epochs.
fn accuracy(device: &Device, model: Sequential, epochs: usize) -> f64 {
    let (train, test) = digits().unwrap();
    let settings = Settings { epochs, seed: 5, ..Settings::default() };
    let mut trainer = Trainer::new(device, model, train.image_shape(), settings);
    let epochs = trainer.fit(&train, Some(&test), |_| ControlFlow::Continue(())).unwrap();
    epochs.last().unwrap().test.unwrap().accuracy
}

fn expect(what: &str, least: f64, epochs: usize, model: fn() -> Sequential) {
    for device in common::devices() {
        let accuracy = accuracy(&device, model(), epochs);
        println!("{what} on {}: {:.1} %", device.name(), accuracy * 100.0);
        assert!(accuracy > least, "{what} on {device:?}: {accuracy}");
    }
}

/// A depthwise convolution, then one of 1×1 (Howard et al. 2017), each with batch norm.
fn separable(channels: usize, stride: usize) -> impl Module {
    move |scope: &Scope, x: Tensor| {
        let depth = x.shape().last().copied().unwrap_or(1);
        let depthwise = Conv2d::new(depth, 3).padding(1).stride(stride).groups(depth).no_bias();
        let y = depthwise.forward(&scope.enter("depthwise"), x);
        let y = BatchNorm::default().forward(&scope.enter("norm1"), y).relu6();
        let y = Conv2d::new(channels, 1).no_bias().forward(&scope.enter("pointwise"), y);
        let y = BatchNorm::default().forward(&scope.enter("norm2"), y).relu6();
        scope.resume();
        y
    }
}

#[test]
fn depthwise_separable() {
    expect("depthwise separable", 0.95, 5, || {
        Sequential::new()
            .named("stem", Conv2d::new(16, 3).padding(1))
            .named("block1", separable(32, 1))
            .named("block2", separable(64, 2))
            .named("block3", separable(64, 2))
            .then(GlobalAvgPool2d)
            .named("head", Linear::new(10))
    });
}

/// Two convolutions with group norm around which the input goes (He et al. 2016, Wu & He 2018).
fn residual(scope: &Scope, x: Tensor) -> Tensor {
    let channels = x.shape().last().copied().unwrap_or(1);
    let conv = |name: &str, x: Tensor| Conv2d::new(channels, 3).padding(1).no_bias().forward(&scope.enter(name), x);
    let norm = |name: &str, x: Tensor| GroupNorm::new(4).forward(&scope.enter(name), x);
    let y = norm("norm1", conv("conv1", x.clone())).relu();
    let y = norm("norm2", conv("conv2", y));
    scope.resume();
    (x + y).relu()
}

#[test]
fn residual_with_group_norm() {
    expect("residual with group norm", 0.95, 4, || {
        Sequential::new()
            .named("stem", Conv2d::new(16, 3).padding(1))
            .named("block1", residual)
            .then(MaxPool2d::new(2))
            .named("block2", residual)
            .then(Flatten)
            .named("head", Linear::new(10))
    });
}

/// The patches of a picture as tokens with learned places, and one layer of a transformer before the mean (Dosovitskiy et al.
/// 2021).
fn attention_head(scope: &Scope, x: Tensor) -> Tensor {
    let [batch, height, width, channels] = <[usize; 4]>::try_from(x.shape()).expect("features are [N, H, W, C]");
    let tokens = x.reshape(&[batch, height * width, channels]);
    let places = scope.param("places", &[height * width, channels], Init::Normal { deviation: 0.02 });
    let tokens = tokens + places;
    let normed = LayerNorm::default().forward(&scope.enter("norm1"), tokens.clone());
    let tokens = &tokens + MultiHeadAttention::new(4).forward(&scope.enter("attention"), normed);
    let normed = LayerNorm::default().forward(&scope.enter("norm2"), tokens.clone());
    let hidden = Linear::new(64).forward(&scope.enter("hidden"), normed).gelu();
    let tokens = &tokens + Linear::new(channels).forward(&scope.enter("out"), hidden);
    scope.resume();
    tokens.mean(&[1])
}

#[test]
fn attention_on_features_of_convolutions() {
    expect("attention head", 0.9, 12, || {
        Sequential::new()
            .named("stem", Conv2d::new(32, 3).padding(1).stride(2))
            .then(Activation::Gelu)
            .named("transformer", attention_head)
            .named("head", Linear::new(10))
    });
}

/// The binary cross entropy a pixel of drawing the mean of all digits for each, and the least there is, that of the digits
/// themselves, which are not black or white.
fn costs_of_mean_and_of_itself(images: &Array) -> [f64; 2] {
    let pixels = images.to_f64_vec();
    let (size, count) = (images.len() / images.shape()[0], images.shape()[0]);
    let mean: Vec<f64> =
        (0..size).map(|pixel| pixels.iter().skip(pixel).step_by(size).sum::<f64>() / count as f64).collect();
    let cost = |wanted: f64, drawn: f64| {
        let part = |share: f64, p: f64| if share == 0.0 { 0.0 } else { -share * p.ln() };
        part(wanted, drawn) + part(1.0 - wanted, 1.0 - drawn)
    };
    let of = |drawn: &dyn Fn(usize) -> f64| {
        pixels.iter().enumerate().map(|(i, &wanted)| cost(wanted, drawn(i))).sum::<f64>() / pixels.len() as f64
    };
    [of(&|i| mean[i % size]), of(&|i| pixels[i])]
}

/// Eight numbers a digit, from which transposed convolutions draw it again: at least half of what the mean digit lacks.
#[test]
fn autoencoder_with_transposed_convolutions() {
    let encoder = Sequential::new()
        .named("conv1", Conv2d::new(16, 3).padding(1).stride(2))
        .then(Activation::Relu)
        .named("conv2", Conv2d::new(32, 3).padding(1).stride(2))
        .then(Activation::Relu)
        .then(Flatten)
        .named("code", Linear::new(8));
    let decoder = Sequential::new()
        .named("expand", Linear::new(2 * 2 * 32))
        .then(Activation::Relu)
        .then(|_: &Scope, x: Tensor| x.reshape(&[x.shape()[0], 2, 2, 32]))
        .named("deconv1", ConvTranspose2d::new(16, 3).padding(1).stride(2).output_padding(1))
        .then(Activation::Relu)
        .named("deconv2", ConvTranspose2d::new(1, 3).padding(1).stride(2).output_padding(1));
    let (train, test) = digits().unwrap();
    let [of_mean, of_itself] = costs_of_mean_and_of_itself(&test.images().unwrap());
    for device in common::devices() {
        let store = Store::new(&device, 3);
        let compile = |mode, batch: usize| {
            Program::compile("autoencoder", &store, mode, |trace| {
                let images = trace.input("images", &[batch, 8, 8, 1], DType::F32);
                let code = encoder.forward(&trace.scope().enter("encoder"), images.clone());
                let logits = decoder.forward(&trace.scope().enter("decoder"), code);
                let loss = binary_cross_entropy_with_logits(&logits, &images, None, None, Reduction::Mean);
                if mode == Mode::Train {
                    Adam::new(3e-3).update(trace, &trace.gradients(&loss));
                }
                trace.output("loss", &loss);
            })
            .unwrap()
        };
        let (step, evaluate) = (compile(Mode::Train, 64), compile(Mode::Evaluate, test.len()));
        for epoch in 0..20 {
            let order = shuffle(train.len(), 3, epoch);
            for batch in train.batches(&order, 64).unwrap().filter(|batch| batch.len() == 64) {
                step.run(&[("images", &train.batch(batch).unwrap().0)]).unwrap();
            }
        }
        evaluate.run(&[("images", &test.images().unwrap())]).unwrap();
        let loss = evaluate.read("loss").unwrap().item().unwrap();
        println!("autoencoder on {}: {loss:.3} a pixel, from {of_mean:.3} to {of_itself:.3}", device.name());
        assert!(loss - of_itself < 0.5 * (of_mean - of_itself), "{device:?}: {loss}");
    }
}
