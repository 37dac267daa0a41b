//! A small network for the digits, written with tensors alone, and its training step.

use neuropil::data::{Dataset, digits};
use neuropil::graph::Leaf;
use neuropil::shape::Window;
use neuropil::{Array, DType, Device, Init, Mode, Program, Scope, Store, Tensor, Trace};

/// The network's classes.
pub const CLASSES: usize = 10;

/// conv 3×3 → ReLU → max pool, twice, then a linear layer: the logits of images `[N, 8, 8, 1]`.
pub fn logits(scope: &Scope, images: &Tensor) -> Tensor {
    let x = block(&scope.enter("conv1"), images, 8);
    let x = block(&scope.enter("conv2"), &x, 16).flatten(1);
    let scope = scope.enter("linear");
    let inputs = x.shape()[1];
    let weight = scope.param("weight", &[CLASSES, inputs], Init::fan_in(inputs));
    x.linear(&weight, Some(&scope.param("bias", &[CLASSES], Init::Constant(0.0))))
}

fn block(scope: &Scope, x: &Tensor, channels: usize) -> Tensor {
    let inputs = x.shape()[3];
    let weight = scope.param("weight", &[channels, 3, 3, inputs], Init::kaiming_normal(9 * inputs));
    let bias = scope.param("bias", &[channels], Init::Constant(0.0));
    (x.conv2d(&weight, Window::new([3, 3]).padding(1), 1) + bias).relu().max_pool2d(Window::new([2, 2]).stride(2))
}

/// The inputs `images` and `labels` of a batch.
fn inputs(trace: &Trace, batch: usize) -> (Tensor, Tensor) {
    (trace.input("images", &[batch, 8, 8, 1], DType::F32), trace.input("labels", &[batch], DType::U32))
}

/// A training step on `batch` images: the output `loss`, and SGD with momentum on all parameters. The learning rate is a
/// state, `optimizer.learning_rate`.
pub fn train_step(trace: &Trace, batch: usize) {
    let (images, labels) = inputs(trace, batch);
    let loss = logits(&trace.scope(), &images).softmax_cross_entropy(&labels, 0.0).mean_all();
    trace.output("loss", &loss);
    let optimizer = trace.scope().enter("optimizer");
    let rate = optimizer.state("learning_rate", &[], DType::F32, Init::Constant(0.05));
    for (name, parameter, gradient) in trace.gradients(&loss).entries {
        let velocity = optimizer.companion("velocity", &name, parameter.shape());
        let faster = &velocity * 0.9 + gradient;
        trace.update(&velocity, &faster);
        trace.update(&parameter, &(&parameter - &rate * &faster));
    }
}

/// The outputs `loss` and `correct` (how many) of `batch` images.
pub fn evaluate(trace: &Trace, batch: usize) {
    let (images, labels) = inputs(trace, batch);
    let logits = logits(&trace.scope(), &images);
    trace.output("loss", &logits.softmax_cross_entropy(&labels, 0.0).mean_all());
    trace.output("correct", &logits.argmax(&[-1]).equal(&labels).sum_all());
}

/// The output `probabilities` of `batch` images.
pub fn predict(trace: &Trace, batch: usize) {
    let images = trace.input("images", &[batch, 8, 8, 1], DType::F32);
    trace.output("probabilities", &logits(&trace.scope(), &images).softmax(-1));
}

/// The training program on `batch` images.
pub fn trainer(store: &Store, batch: usize) -> Program {
    Program::compile("train", store, Mode::Train, |trace| train_step(trace, batch)).unwrap()
}

/// A network in training on a device of its own store.
pub struct Training {
    /// What is trained.
    pub store: Store,
    /// The step.
    pub program: Program,
    data: Dataset,
    batch: usize,
    done: usize,
}

impl Training {
    /// A new network with initial values from `seed`.
    pub fn new(device: &Device, seed: u64, batch: usize) -> Self {
        let store = Store::new(device, seed);
        let program = trainer(&store, batch);
        Training { store, program, data: digits().unwrap().0, batch, done: 0 }
    }

    /// The images and labels of the next batch.
    pub fn next_batch(&mut self) -> (Array, Array) {
        let first = self.done * self.batch;
        let indices: Vec<usize> = (first..first + self.batch).map(|i| i % self.data.len()).collect();
        self.done += 1;
        self.data.batch(&indices).unwrap()
    }

    /// One step, without waiting.
    pub fn step(&mut self) {
        let (images, labels) = self.next_batch();
        self.program.run(&[("images", &images), ("labels", &labels)]).unwrap();
    }

    /// `count` steps; the loss of each.
    pub fn losses(&mut self, count: usize) -> Vec<f64> {
        (0..count)
            .map(|_| {
                self.step();
                self.program.read("loss").unwrap().item().unwrap()
            })
            .collect()
    }

    /// The bits of all parameters and states, by name.
    pub fn bits(&self) -> Vec<(String, Vec<u32>)> {
        let names = [Leaf::Parameter, Leaf::State].into_iter().flat_map(|leaf| self.store.names(leaf));
        names.map(|(name, _)| (name.clone(), self.store.get(&name).unwrap().to_words())).collect()
    }
}
