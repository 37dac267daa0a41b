//! The other half of `scripts/parity-resnet20.py`: trains ResNet-20 from the weights and on the batches that the script chose, and
//! prints the loss of every step.
//!
//! ```sh
//! cargo run --release --example parity_resnet20 -- RUN.safetensors WEIGHTS.pt [DEVICE]
//! ```

use std::path::Path;

use neuropil::format::{safetensors, weights};
use neuropil::loss::cross_entropy;
use neuropil::nn::Module;
use neuropil::nn::models::resnet20;
use neuropil::nn::parameters::parameters;
use neuropil::optim::{Optimizer, RATE_FACTOR, Sgd};
use neuropil::train::transfer::{self, Layout, Matching};
use neuropil::{Array, DType, Device, Error, ErrorKind, Mode, Program, Result, Store};

const IMAGE: [usize; 3] = [32, 32, 3];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [run, state, device @ ..] = arguments.as_slice() else {
        return Err(Error::new(
            ErrorKind::Config,
            "name a RUN.safetensors and a WEIGHTS.pt: scripts/parity-resnet20.py does",
        ));
    };
    let device = Device::select(device.first().map_or("cpu", String::as_str))?;
    let (run, _) = safetensors::load(Path::new(run))?;
    let pixels = run["images"].as_slice::<i32>()?;
    let labels = run["labels"].as_slice::<i32>()?;
    let order = &run["order"];
    let (mean, deviation) = (run["mean"].as_slice::<f32>()?, run["deviation"].as_slice::<f32>()?);
    let rates = run["rates"].as_slice::<f32>()?;
    let (momentum, weight_decay) = (run["momentum"].item()?, run["weight_decay"].item()?);
    let &[_, batch] = order.shape() else {
        return Err(Error::new(ErrorKind::Shape, "order: must be [steps, batch]"));
    };

    let model = resnet20(10);
    let (_, given) = weights::load(Path::new(state))?;
    let store = Store::new(&device, 0);
    let step = Program::compile("step", &store, Mode::Train, |trace| {
        let images = trace.input("images", &[batch, 32, 32, 3], DType::F32);
        let labels = trace.input("labels", &[batch], DType::U32);
        let loss = cross_entropy(&model.forward(&trace.scope(), images), &labels, 0.0);
        Sgd { weight_decay, ..Sgd::new(1.0).momentum(momentum) }.update(trace, &trace.gradients(&loss));
        trace.output("loss", &loss);
    })?;
    store.set_weights(&transfer::import(&parameters(&model, IMAGE)?, &given, Matching::Order, Layout::PyTorch)?)?;

    for (indices, &rate) in order.as_slice::<i32>()?.chunks(batch).zip(rates) {
        store.set(RATE_FACTOR, &Array::scalar(rate))?;
        let of = |&index: &i32| &pixels[index as usize * 3072..][..3072];
        let relative = |(i, &byte): (usize, &i32)| (byte as f32 / 255.0 - mean[i % 3]) / deviation[i % 3];
        let images: Vec<f32> = indices.iter().flat_map(of).enumerate().map(relative).collect();
        let labels: Vec<u32> = indices.iter().map(|&index| labels[index as usize] as u32).collect();
        let images = Array::new(&[batch, 32, 32, 3], images)?;
        step.run(&[("images", &images), ("labels", &Array::new(&[batch], labels)?)])?;
        println!("{}", step.read("loss")?.item()?);
    }
    Ok(())
}
