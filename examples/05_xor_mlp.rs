//! A network of layers learns exclusive or: two programs, for training and for use, share one store.
//!
//! `cargo run --release --example 05_xor_mlp [device]`

use neuropil::loss::cross_entropy;
use neuropil::nn::{Activation, Linear, Module, Sequential};
use neuropil::optim::{Adam, Optimizer};
use neuropil::{Array, DType, Device, Mode, Program, Result, Store};

fn main() -> Result<()> {
    let device = Device::select(std::env::args().nth(1).as_deref().unwrap_or("auto"))?;
    let points = Array::new(&[4, 2], vec![0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])?;
    let labels = Array::new(&[4], vec![0u32, 1, 1, 0])?;

    // A model is a description: a layer is a struct of a few numbers and holds no weights. How many inputs a layer has
    // follows from what it is applied to.
    let model = Sequential::new()
        .named("hidden", Linear::new(8))
        .named("tanh", Activation::Tanh)
        .named("output", Linear::new(2));

    let store = Store::new(&device, 1);
    let train = Program::compile("train", &store, Mode::Train, |trace| {
        let points = trace.input("points", &[4, 2], DType::F32);
        let labels = trace.input("labels", &[4], DType::U32);
        let logits = model.forward(&trace.scope(), points);
        let loss = cross_entropy(&logits, &labels, 0.0);
        trace.output("loss", &loss);
        Adam::new(0.03).update(trace, &trace.gradients(&loss));
    })?;
    // The same model traced again, for another purpose. It uses the parameters that are there already.
    let predict = Program::compile("predict", &store, Mode::Evaluate, |trace| {
        let points = trace.input("points", &[4, 2], DType::F32);
        let logits = model.forward(&trace.scope(), points);
        trace.output("probabilities", &logits.softmax(-1));
    })?;

    println!("On {}: {} parameters", device.name(), store.parameter_count());
    for (name, ty) in store.names(neuropil::graph::Leaf::Parameter) {
        println!("  {name}, {ty}");
    }
    for step in 0..=200 {
        train.run(&[("points", &points), ("labels", &labels)])?;
        if step % 50 == 0 {
            println!("step {step:3}: loss {:.4}", train.read("loss")?.item()?);
        }
    }

    let outputs = predict.call(&[("points", &points)])?;
    let inputs = points.as_slice::<f32>()?.chunks(2);
    for (point, probabilities) in inputs.zip(outputs["probabilities"].as_slice::<f32>()?.chunks(2)) {
        println!(
            "{} xor {} = {:.0}  (probability of 1: {:.3})",
            point[0], point[1], probabilities[1], probabilities[1]
        );
    }
    Ok(())
}
