//! The suite of `neuropil bench` in burn, on the shapes of `benches/suite.json`: `peer-burn [flex|wgpu] [quick|full]`.
//!
//! Operands are made once, every number is the median of ten runs after two (which tune), and every run waits for the
//! device. Images are NCHW, as burn has them. The gradients of a convolution are those of burn's automatic differentiation,
//! timed from `backward` on, with the other operand untracked.

mod networks;

use std::time::Instant;

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams};
use burn::prelude::*;
use burn::tensor::Distribution;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use networks::ResNet;
use serde::Deserialize;

#[derive(Deserialize)]
struct Suite {
    products: Vec<Product>,
    convolutions: Vec<Convolution>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Product {
    side: usize,
    #[serde(default)]
    half: bool,
    suite: String,
}

#[derive(Deserialize)]
struct Convolution {
    batch: usize,
    side: usize,
    channels: usize,
    outputs: usize,
    kernel: usize,
    #[serde(default)]
    half: bool,
    suite: String,
}

#[derive(Deserialize)]
struct Step {
    network: String,
    batch: usize,
    image: [usize; 3],
    #[serde(default)]
    half: bool,
    suite: String,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize, default: &str| arguments.get(i).cloned().unwrap_or_else(|| default.to_owned());
    let device = match argument(0, "flex").as_str() {
        "wgpu" => Device::wgpu(Default::default()),
        _ => Device::flex(),
    };
    let full = argument(1, "quick") == "full";
    // Its CPU and lavapipe backends have no half precision worth a comparison.
    let wanted = |suite: &str, half: bool| !half && (full || suite == "quick");
    let suite: Suite = serde_json::from_str(include_str!("../../../suite.json")).expect("suite.json is a suite");
    println!("burn 0.22.1, {}", argument(0, "flex"));
    for product in suite.products.iter().filter(|p| wanted(&p.suite, p.half)) {
        product.measure(&device);
    }
    for convolution in suite.convolutions.iter().filter(|c| wanted(&c.suite, c.half)) {
        convolution.measure(&device);
    }
    for step in suite.steps.iter().filter(|s| wanted(&s.suite, s.half)) {
        step.measure(&device);
    }
}

/// Seconds: the median of ten runs after two. `prepare` is not timed.
fn median<T>(device: &Device, mut prepare: impl FnMut() -> T, mut run: impl FnMut(T)) -> f64 {
    let mut seconds: Vec<f64> = (0..12)
        .map(|_| {
            let prepared = prepare();
            device.sync().expect("the device works");
            let start = Instant::now();
            run(prepared);
            device.sync().expect("the device works");
            start.elapsed().as_secs_f64()
        })
        .skip(2)
        .collect();
    seconds.sort_by(f64::total_cmp);
    (seconds[4] + seconds[5]) / 2.0
}

fn report(name: &str, seconds: f64, operations: Option<f64>) {
    let rate = operations.map_or(String::new(), |o| format!("{:8.1} GFLOP/s", o / seconds / 1e9));
    println!("{name:<44} {:10.3} ms {rate}", 1e3 * seconds);
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
}

impl Product {
    fn measure(&self, device: &Device) {
        let (a, b) = (random([self.side; 2], device), random([self.side; 2], device));
        let seconds = median(device, || (), |()| drop(a.clone().matmul(b.clone())));
        report(&format!("matmul {}", self.side), seconds, Some(2.0 * (self.side as f64).powi(3)));
    }
}

impl Convolution {
    fn measure(&self, device: &Device) {
        let &Convolution { batch, side, channels, outputs, kernel, .. } = self;
        let name = format!("conv {kernel}×{kernel} [{batch},{side},{side},{channels}]→{outputs}");
        let operations = Some(2.0 * (batch * side * side * channels * outputs * kernel * kernel) as f64);
        let padding = kernel / 2;
        let options = || ConvOptions::new([1, 1], [padding, padding], [1, 1], 1);
        let (image, filters) = ([batch, channels, side, side], [outputs, channels, kernel, kernel]);
        let (x, weight) = (random(image, device), random(filters, device));
        let forward = median(device, || (), |()| drop(conv2d(x.clone(), weight.clone(), None, options())));
        report(&name, forward, operations);
        let tracked = device.clone().autodiff();
        for (of, [x_tracked, weight_tracked]) in [("input", [true, false]), ("weight", [false, true])] {
            let (x, weight) = (random(image, &tracked), random(filters, &tracked));
            let track = |tensor: Tensor<4>, yes: bool| if yes { tensor.require_grad() } else { tensor };
            let prepare = || {
                let (x, weight) = (track(x.clone(), x_tracked), track(weight.clone(), weight_tracked));
                let y = conv2d(x.clone(), weight.clone(), None, options());
                (x, weight, y)
            };
            let backward = |(x, weight, y): (Tensor<4>, Tensor<4>, Tensor<4>)| {
                let gradients = y.backward();
                drop(if x_tracked { x.grad(&gradients) } else { weight.grad(&gradients) });
            };
            report(&format!("{name}, {of} gradient"), median(&tracked, prepare, backward), operations);
        }
    }
}

impl Step {
    fn measure(&self, device: &Device) {
        let [height, width, channels] = self.image;
        let name = format!("{}, {} of {height}×{width}×{channels}", self.network, self.batch);
        let device = device.clone().autodiff();
        let images = random([self.batch, channels, height, width], &device);
        let labels = Tensor::<1, Int>::full([self.batch], 3, &device);
        let data = (images, labels);
        match self.network.as_str() {
            "CNN" => train(&name, networks::Cnn::new(&device), networks::Cnn::forward, data, &device),
            "ResNet-20" => train(&name, ResNet::of_20_layers(&device), ResNet::forward, data, &device),
            "ResNet-18" => train(&name, ResNet::of_18_layers(&device), ResNet::forward, data, &device),
            "depthwise CNN" => {
                train(&name, networks::DepthwiseCnn::new(&device), networks::DepthwiseCnn::forward, data, &device);
            }
            other => println!("{other}: not in burn here"),
        }
    }
}

/// Times training steps with Adam on one fixed batch; says how long the first took.
fn train<M: Module>(
    name: &str,
    model: M,
    forward: fn(&M, Tensor<4>) -> Tensor<2>,
    (images, labels): (Tensor<4>, Tensor<1, Int>),
    device: &Device,
) {
    let loss = CrossEntropyLossConfig::new().init(device);
    let mut optimizer = AdamConfig::new().init();
    let mut model = Some(model);
    let mut step = || {
        let current = model.take().expect("it is put back");
        let value = loss.forward(forward(&current, images.clone()), labels.clone());
        let gradients = GradientsParams::from_grads(value.backward(), &current);
        model = Some(optimizer.step(1e-3, current, gradients));
    };
    let start = Instant::now();
    step();
    device.sync().expect("the device works");
    let first = start.elapsed().as_secs_f64();
    report(name, median(device, || (), |()| step()), None);
    report(&format!("{name}, first step"), first, None);
}

/// Padding to the same size.
fn same(kernel: usize) -> PaddingConfig2d {
    let side = kernel / 2;
    PaddingConfig2d::Explicit(side, side, side, side)
}
