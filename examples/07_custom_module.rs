//! A layer of one's own: a residual block (He et al. 2015, arXiv 1512.03385) and a small network of them.
//!
//! `cargo run --release --example 07_custom_module [device]`

use std::ops::ControlFlow;

use neuropil::data::digits;
use neuropil::nn::{Activation, BatchNorm, Conv2d, GlobalAvgPool2d, Linear, Module, Sequential};
use neuropil::train::{Settings, Trainer};
use neuropil::{Device, Result, Scope, Tensor};

/// `relu(norm2(conv2(relu(norm1(conv1(x))))) + shortcut(x))`.
///
/// A module is a struct of numbers. Its `forward` is traced, not run: ordinary Rust, in which shapes are known.
struct ResidualBlock {
    channels: usize,
    stride: usize,
}

impl Module for ResidualBlock {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        // Batch norm has a bias, so the convolution needs none. `enter` names a place for the parameters of a layer:
        // inside `stage1` the first is `stage1.conv1.weight`.
        let conv = |name: &str, x: Tensor, kernel_size: usize, stride: usize| {
            let conv = Conv2d::new(self.channels, kernel_size).stride(stride).padding(kernel_size / 2).no_bias();
            conv.forward(&scope.enter(name), x)
        };
        let norm = |name: &str, x: Tensor| BatchNorm::default().forward(&scope.enter(name), x);

        let y = norm("norm1", conv("conv1", x.clone(), 3, self.stride)).relu();
        let y = norm("norm2", conv("conv2", y, 3, 1));
        // Where the block changes the shape, the shortcut has to follow.
        let shortcut =
            if x.shape() == y.shape() { x } else { norm("shortcut_norm", conv("shortcut", x, 1, self.stride)) };
        (y + shortcut).relu()
    }
}

fn main() -> Result<()> {
    let device = Device::select(std::env::args().nth(1).as_deref().unwrap_or("auto"))?;
    let (train, test) = digits()?;

    // A module of one's own goes wherever the crate's go. Functions are modules too, as the first layer shows.
    let network = Sequential::new()
        .named("centre", |_: &Scope, x: Tensor| x * 2.0 - 1.0)
        .named("stem", Conv2d::new(16, 3).padding(1))
        .named("relu", Activation::Relu)
        .named("stage1", ResidualBlock { channels: 16, stride: 1 })
        .named("stage2", ResidualBlock { channels: 32, stride: 2 })
        .named("pool", GlobalAvgPool2d)
        .named("head", Linear::new(train.classes()));

    let settings = Settings { epochs: 5, ..Settings::default() };
    let mut trainer = Trainer::new(&device, network, train.image_shape(), settings);
    println!("On {}:", device.name());
    trainer.fit(&train, Some(&test), |epoch| {
        let accuracy = epoch.test.map_or(0.0, |test| 100.0 * test.accuracy);
        println!(
            "epoch {}: loss {:.4}, test {accuracy:.1} % in {:.1} s",
            epoch.number, epoch.train.loss, epoch.seconds
        );
        ControlFlow::Continue(())
    })?;

    println!("\nParameters and states of the second block:");
    for (name, array) in trainer.store().weights()?.iter().filter(|(name, _)| name.starts_with("stage2.")) {
        println!("  {name:34} {:?}", array.shape());
    }
    Ok(())
}
