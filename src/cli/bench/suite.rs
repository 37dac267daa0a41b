//! What `bench` measures: kernels by themselves, and whole training steps.
//!
//! The shapes of products, convolutions and steps are those of `benches/suite.json`, which the programs below
//! `benches/peers` read as well.

use neuropil::loss::cross_entropy;
use neuropil::nn::models::{depthwise_cnn, resnet18, resnet20};
use neuropil::nn::{Activation, Conv2d, Flatten, Linear, MaxPool2d, Module, Sequential};
use neuropil::ops::conv2d::{Conv2dGradInput, Conv2dGradWeight};
use neuropil::optim::{Adam, LossScale, Optimizer};
use neuropil::shape::Window;
use neuropil::tensor::Init;
use neuropil::{DType, Precision, Tensor, Trace};

use serde::Deserialize;

use super::Suite;

/// What a kernel's time is set against.
pub enum Rate {
    /// Floating-point operations of a run.
    Operations(f64),
    /// Bytes that a run must read and write.
    Bytes(f64),
}

/// A kernel to measure.
pub struct Kernel {
    pub name: String,
    pub build: Box<dyn Fn(&Trace)>,
    pub rate: Rate,
}

/// The shapes of `benches/suite.json`.
#[derive(Deserialize)]
struct Shapes {
    products: Vec<Product>,
    convolutions: Vec<Convolution>,
    steps: Vec<Model>,
}

impl Shapes {
    fn read() -> Self {
        serde_json::from_str(include_str!("../../../benches/suite.json")).expect("the file is part of the program")
    }
}

#[derive(Deserialize)]
struct Product {
    side: usize,
    /// Operands and result are stored as `f16`.
    #[serde(default)]
    half: bool,
    suite: Suite,
}

/// A convolution that is padded to the same size.
#[derive(Clone, Copy, Deserialize)]
struct Convolution {
    batch: usize,
    side: usize,
    channels: usize,
    outputs: usize,
    kernel: usize,
    /// Operands and result are stored as `f16`.
    #[serde(default)]
    half: bool,
    suite: Suite,
}

/// A network to train.
#[derive(Deserialize)]
pub struct Model {
    network: Network,
    pub batch: usize,
    image: [usize; 3],
    /// In mixed precision.
    #[serde(default)]
    half: bool,
    suite: Suite,
}

#[derive(Clone, Copy, Deserialize)]
enum Network {
    #[serde(rename = "CNN")]
    TwoConvolutions,
    #[serde(rename = "depthwise CNN")]
    Depthwise,
    #[serde(rename = "ResNet-20")]
    ResNet20,
    #[serde(rename = "ResNet-18")]
    ResNet18,
}

impl Model {
    /// What is trained on what: `CNN, 64 of 28×28×1`.
    pub fn name(&self) -> String {
        let network = match self.network {
            Network::TwoConvolutions => "CNN",
            Network::Depthwise => "depthwise CNN",
            Network::ResNet20 => "ResNet-20",
            Network::ResNet18 => "ResNet-18",
        };
        let [height, width, channels] = self.image;
        let precision = if self.half { " mixed" } else { "" };
        format!("{network}{precision}, {} of {height}×{width}×{channels}", self.batch)
    }

    /// A training step with Adam on one fixed batch.
    pub fn step(&self, trace: &Trace) {
        let [height, width, channels] = self.image;
        let bound = Init::Uniform { bound: 1.0 };
        let images = trace.scope().shared_state("images", &[self.batch, height, width, channels], DType::F32, bound);
        let labels = trace.scope().shared_state("labels", &[self.batch], DType::U32, Init::Constant(3.0));
        let network = match self.network {
            Network::TwoConvolutions => two_convolutions(10),
            Network::Depthwise => depthwise_cnn(10),
            Network::ResNet20 => resnet20(10),
            Network::ResNet18 => resnet18(10),
        };
        trace.set_precision(if self.half { Precision::Mixed } else { Precision::F32 });
        let loss = cross_entropy(&network.forward(&trace.scope(), images), &labels, 0.0);
        trace.output("loss", &loss);
        if self.half {
            LossScale::default().minimize(trace, &loss, &Adam::new(1e-3));
        } else {
            Adam::new(1e-3).update(trace, &trace.gradients(&loss));
        }
    }
}

/// Two convolutions of 32 and 64 channels, each with ReLU and max pool, and two linear layers.
fn two_convolutions(classes: usize) -> Sequential {
    Sequential::new()
        .named("conv1", Conv2d::new(32, 3).padding(1))
        .named("relu1", Activation::Relu)
        .named("pool1", MaxPool2d::new(2))
        .named("conv2", Conv2d::new(64, 3).padding(1))
        .named("relu2", Activation::Relu)
        .named("pool2", MaxPool2d::new(2))
        .named("flatten", Flatten)
        .named("hidden", Linear::new(128))
        .named("relu3", Activation::Relu)
        .named("head", Linear::new(classes))
}

/// The training steps of a suite that a device can do, which may lack `f16`.
pub fn models(suite: Suite, has_f16: bool) -> Vec<Model> {
    Shapes::read().steps.into_iter().filter(|model| suite.holds(model.suite) && (has_f16 || !model.half)).collect()
}

fn operand(trace: &Trace, name: &str, shape: &[usize]) -> Tensor {
    trace.scope().param(name, shape, Init::Uniform { bound: 1.0 })
}

/// An operand that is stored as `f16` or as `f32`.
fn operand_as(half: bool, trace: &Trace, name: &str, shape: &[usize]) -> Tensor {
    let dtype = if half { DType::F16 } else { DType::F32 };
    trace.scope().shared_state(name, shape, dtype, Init::Uniform { bound: 1.0 })
}

/// What the name of a kernel says of its precision.
fn precision(half: bool) -> &'static str {
    if half { " f16" } else { "" }
}

/// The kernels of a suite that a device can run, which may lack `f16`.
pub fn kernels(suite: Suite, has_f16: bool) -> Vec<Kernel> {
    let shapes = Shapes::read();
    let wanted = |part: Suite, half: bool| suite.holds(part) && (has_f16 || !half);
    let products = shapes.products.iter().filter(|product| wanted(product.suite, product.half));
    let mut kernels: Vec<Kernel> = products.map(Product::kernel).collect();
    for convolution in shapes.convolutions.iter().filter(|of| wanted(of.suite, of.half)) {
        kernels.extend(convolution.kernels());
    }
    kernels.extend(at_memory_speed());
    kernels
}

/// Kernels that read and write more than they compute.
fn at_memory_speed() -> Vec<Kernel> {
    let images = [64, 28, 28, 32];
    let len = images.iter().product::<usize>() as f64;
    let x = move |trace: &Trace| operand(trace, "x", &images);
    // The gradient of what an operation gives, weighted by another operand, with respect to `x`.
    let gradient = |trace: &Trace, x: &Tensor, y: &Tensor| {
        let loss = (y * operand(trace, "upstream", y.shape())).sum(&[0, 1, 2, 3]);
        trace.output("gradient", &trace.gradient(&loss, &[x])[0]);
    };
    let pool = Window::new([2, 2]).stride(2);
    vec![
        moving("relu, [64,28,28,32]", 2.0 * len, move |trace| trace.output("y", &x(trace).relu())),
        moving("a + b, [64,28,28,32]", 3.0 * len, move |trace| {
            trace.output("y", &(x(trace) + operand(trace, "b", &images)));
        }),
        moving("sum over rows, [50176,32]", len, move |trace| trace.output("y", &x(trace).sum(&[0, 1, 2]))),
        moving("batch norm statistics, [50176,32]", len, move |trace| {
            trace.output("y", &x(trace).var(&[0, 1, 2], 0));
        }),
        moving("batch norm and its gradient, [50176,32]", 3.0 * len, move |trace| {
            let x = x(trace);
            let [y, ..] = x.batch_norm(&operand(trace, "weight", &[32]), &operand(trace, "bias", &[32]), 1e-5);
            gradient(trace, &x, &y);
        }),
        moving("max pool 2×2, [64,28,28,32]", 1.25 * len, move |trace| {
            trace.output("y", &x(trace).max_pool2d(pool));
        }),
        moving("max pool 2×2 and its gradient, [64,28,28,32]", 2.25 * len, move |trace| {
            let x = x(trace);
            gradient(trace, &x, &x.max_pool2d(pool));
        }),
        moving("depthwise 3×3, [64,28,28,32]", 2.0 * len, move |trace| {
            let weight = operand(trace, "weight", &[32, 3, 3, 1]);
            trace.output("y", &x(trace).conv2d(&weight, Window::new([3, 3]).padding(1), 32));
        }),
        moving("softmax, [4096,400]", 2.0 * 4096.0 * 400.0, |trace| {
            trace.output("y", &operand(trace, "x", &[4096, 400]).softmax(1));
        }),
        moving("cross entropy and its gradient, [4096,400]", 2.0 * 4096.0 * 400.0, |trace| {
            let logits = operand(trace, "x", &[4096, 400]);
            let labels = trace.scope().shared_state("labels", &[4096], DType::U32, Init::Constant(3.0));
            let loss = cross_entropy(&logits, &labels, 0.0);
            trace.output("gradient", &trace.gradient(&loss, &[&logits])[0]);
        }),
        moving("Adam, 1.6 M parameters", 7.0 * len, move |trace| {
            let upstream = trace.scope().shared_state("upstream", &images, DType::F32, Init::Uniform { bound: 1.0 });
            let loss = (x(trace) * upstream).sum(&[0, 1, 2, 3]);
            Adam::new(1e-3).update(trace, &trace.gradients(&loss));
        }),
    ]
}

impl Product {
    fn kernel(&self) -> Kernel {
        let Product { side, half, .. } = *self;
        let build = move |trace: &Trace| {
            let operand = |name| operand_as(half, trace, name, &[side, side]);
            trace.output("c", &operand("a").matmul(&operand("b")));
        };
        let rate = Rate::Operations(2.0 * (side as f64).powi(3));
        Kernel { name: format!("matmul {side}{}", precision(half)), build: Box::new(build), rate }
    }
}

#[derive(Clone, Copy)]
enum Pass {
    Forward,
    GradInput,
    GradWeight,
}

impl Convolution {
    /// Forward, and both gradients.
    fn kernels(self) -> [Kernel; 3] {
        let Convolution { batch, side, channels, outputs, kernel, half, .. } = self;
        let name = format!("conv {kernel}×{kernel} [{batch},{side},{side},{channels}]→{outputs}{}", precision(half));
        let operations = 2.0 * (batch * side * side * channels * outputs * kernel * kernel) as f64;
        let passes =
            [(Pass::Forward, ""), (Pass::GradInput, ", input gradient"), (Pass::GradWeight, ", weight gradient")];
        passes.map(|(pass, of)| Kernel {
            name: format!("{name}{of}"),
            build: Box::new(move |trace| self.trace(pass, trace)),
            rate: Rate::Operations(operations),
        })
    }

    fn trace(self, pass: Pass, trace: &Trace) {
        let Convolution { batch, side, channels, outputs, kernel, half, .. } = self;
        let window = Window::new([kernel, kernel]).padding(kernel / 2);
        let x = || operand_as(half, trace, "x", &[batch, side, side, channels]);
        let weight = || operand_as(half, trace, "weight", &[outputs, kernel, kernel, channels]);
        let upstream = || operand_as(half, trace, "upstream", &[batch, side, side, outputs]);
        let result = match pass {
            Pass::Forward => x().conv2d(&weight(), window, 1),
            Pass::GradInput => {
                upstream().custom(Conv2dGradInput { window, groups: 1, image: [side, side] }, &[&weight()])
            }
            Pass::GradWeight => upstream().custom(Conv2dGradWeight { window, groups: 1 }, &[&x()]),
        };
        trace.output("y", &result);
    }
}

/// A kernel that moves so many floats.
fn moving(name: &str, floats: f64, build: impl Fn(&Trace) + 'static) -> Kernel {
    Kernel { name: name.to_owned(), build: Box::new(build), rate: Rate::Bytes(4.0 * floats) }
}
