//! What `bench` measures: kernels by themselves, and whole training steps.

use neuropil::loss::cross_entropy;
use neuropil::nn::models::{depthwise_cnn, resnet20};
use neuropil::nn::{Activation, Conv2d, Flatten, Linear, MaxPool2d, Module, Sequential};
use neuropil::ops::conv2d::{Conv2dGradInput, Conv2dGradWeight};
use neuropil::optim::{Adam, Optimizer};
use neuropil::shape::Window;
use neuropil::tensor::Init;
use neuropil::{DType, Tensor, Trace};

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
    pub name: &'static str,
    pub build: Box<dyn Fn(&Trace)>,
    pub rate: Rate,
}

/// A network to train.
pub struct Model {
    pub name: &'static str,
    pub batch: usize,
    image: [usize; 3],
    network: fn(usize) -> Sequential,
}

impl Model {
    /// A training step with Adam on one fixed batch.
    pub fn step(&self, trace: &Trace) {
        let [height, width, channels] = self.image;
        let bound = Init::Uniform { bound: 1.0 };
        let images = trace.scope().shared_state("images", &[self.batch, height, width, channels], DType::F32, bound);
        let labels = trace.scope().shared_state("labels", &[self.batch], DType::U32, Init::Constant(3.0));
        let logits = (self.network)(10).forward(&trace.scope(), images);
        let loss = cross_entropy(&logits, &labels, 0.0);
        trace.output("loss", &loss);
        Adam::new(1e-3).update(trace, &trace.gradients(&loss));
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

/// The training steps of a suite.
pub fn models(suite: Suite) -> Vec<Model> {
    let model = |name, batch, image, network| Model { name, batch, image, network };
    let mut models: Vec<Model> = vec![model("CNN, 64 of 28×28×1", 64, [28, 28, 1], two_convolutions)];
    models.push(model("depthwise CNN, 32 of 28×28×1", 32, [28, 28, 1], depthwise_cnn));
    match suite {
        Suite::Quick => models.push(model("ResNet-20, 16 of 32×32×3", 16, [32, 32, 3], resnet20)),
        Suite::Full => models.push(model("ResNet-20, 128 of 32×32×3", 128, [32, 32, 3], resnet20)),
    }
    models
}

fn operand(trace: &Trace, name: &str, shape: &[usize]) -> Tensor {
    trace.scope().param(name, shape, Init::Uniform { bound: 1.0 })
}

/// The kernels of a suite.
pub fn kernels(suite: Suite) -> Vec<Kernel> {
    let mut kernels = vec![
        product("matmul 256", 256),
        product("matmul 512", 512),
        product("matmul 1024", 1024),
        convolution("conv 3×3 [64,28,28,32]→64", Pass::Forward, [64, 28, 32, 64, 3]),
        convolution("conv 3×3 [64,28,28,32]→64, input gradient", Pass::GradInput, [64, 28, 32, 64, 3]),
        convolution("conv 3×3 [64,28,28,32]→64, weight gradient", Pass::GradWeight, [64, 28, 32, 64, 3]),
        convolution("conv 1×1 [64,28,28,64]→64", Pass::Forward, [64, 28, 64, 64, 1]),
    ];
    if suite == Suite::Full {
        kernels.push(product("matmul 2048", 2048));
        kernels.push(product("matmul 4096", 4096));
        let shape = [128, 32, 64, 64, 3];
        kernels.push(convolution("conv 3×3 [128,32,32,64]→64", Pass::Forward, shape));
        kernels.push(convolution("conv 3×3 [128,32,32,64]→64, input gradient", Pass::GradInput, shape));
        kernels.push(convolution("conv 3×3 [128,32,32,64]→64, weight gradient", Pass::GradWeight, shape));
    }
    let images = [64, 28, 28, 32];
    let len = images.iter().product::<usize>() as f64;
    kernels.push(moving("relu, 1.6 M elements", 2.0 * len, move |trace| {
        trace.output("y", &operand(trace, "x", &images).relu());
    }));
    kernels.push(moving("a + b, 1.6 M elements", 3.0 * len, move |trace| {
        trace.output("y", &(operand(trace, "a", &images) + operand(trace, "b", &images)));
    }));
    kernels.push(moving("sum over rows, [50176,32]", len, move |trace| {
        trace.output("y", &operand(trace, "x", &images).sum(&[0, 1, 2]));
    }));
    kernels.push(moving("batch norm statistics, [50176,32]", len, move |trace| {
        trace.output("y", &operand(trace, "x", &images).var(&[0, 1, 2], 0));
    }));
    kernels.push(moving("max pool 2×2, [64,28,28,32]", 1.5 * len, move |trace| {
        trace.output("y", &operand(trace, "x", &images).max_pool2d(Window::new([2, 2]).stride(2)));
    }));
    kernels.push(moving("softmax, [4096,400]", 2.0 * 4096.0 * 400.0, |trace| {
        trace.output("y", &operand(trace, "x", &[4096, 400]).softmax(1));
    }));
    kernels
}

fn product(name: &'static str, side: usize) -> Kernel {
    let build = move |trace: &Trace| {
        let (a, b) = (operand(trace, "a", &[side, side]), operand(trace, "b", &[side, side]));
        trace.output("c", &a.matmul(&b));
    };
    Kernel { name, build: Box::new(build), rate: Rate::Operations(2.0 * (side as f64).powi(3)) }
}

#[derive(Clone, Copy)]
enum Pass {
    Forward,
    GradInput,
    GradWeight,
}

/// `[batch, side, channels, outputs, kernel]`, padded to the same size.
fn convolution(name: &'static str, pass: Pass, shape: [usize; 5]) -> Kernel {
    let [batch, side, channels, outputs, kernel] = shape;
    let build = move |trace: &Trace| {
        let window = Window::new([kernel, kernel]).padding(kernel / 2);
        let x = || operand(trace, "x", &[batch, side, side, channels]);
        let weight = || operand(trace, "weight", &[outputs, kernel, kernel, channels]);
        let upstream = || operand(trace, "upstream", &[batch, side, side, outputs]);
        let result = match pass {
            Pass::Forward => x().conv2d(&weight(), window, 1),
            Pass::GradInput => {
                upstream().custom(Conv2dGradInput { window, groups: 1, image: [side, side] }, &[&weight()])
            }
            Pass::GradWeight => upstream().custom(Conv2dGradWeight { window, groups: 1 }, &[&x()]),
        };
        trace.output("y", &result);
    };
    let operations = 2.0 * (batch * side * side * channels * outputs * kernel * kernel) as f64;
    Kernel { name, build: Box::new(build), rate: Rate::Operations(operations) }
}

/// A kernel that moves so many floats.
fn moving(name: &'static str, floats: f64, build: impl Fn(&Trace) + 'static) -> Kernel {
    Kernel { name, build: Box::new(build), rate: Rate::Bytes(4.0 * floats) }
}
