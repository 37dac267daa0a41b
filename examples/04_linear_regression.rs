//! Parameters live in a store, an optimizer changes them: a straight line through noisy points.
//!
//! `cargo run --release --example 04_linear_regression [device]`

use neuropil::loss::mse;
use neuropil::optim::{Optimizer, Sgd};
use neuropil::random::Stream;
use neuropil::{Array, DType, Device, Init, Mode, Program, Result, Store};

const POINTS: usize = 100;

fn main() -> Result<()> {
    let device = Device::select(std::env::args().nth(1).as_deref().unwrap_or("auto"))?;

    // Points around y = 3x - 2. Random numbers come from named streams, the same on every machine.
    let mut stream = Stream::new(7, "points");
    let x = Array::from_fn(&[POINTS, 1], |_| stream.uniform() * 2.0 - 1.0);
    let noisy = x.as_slice::<f32>()?.iter().map(|x| 3.0 * x - 2.0 + 0.1 * stream.normal()).collect();
    let y = Array::new(&[POINTS, 1], noisy)?;

    // The store owns the parameters, on the device. The seed fixes their initial values.
    let store = Store::new(&device, 0);
    let program = Program::compile("step", &store, Mode::Train, |trace| {
        let x = trace.input("x", &[POINTS, 1], DType::F32);
        let y = trace.input("y", &[POINTS, 1], DType::F32);
        // A scope is where parameters get their names: these are `line.weight` and `line.bias`.
        let scope = trace.scope().enter("line");
        let weight = scope.param("weight", &[1, 1], Init::Normal { deviation: 1.0 });
        let bias = scope.param("bias", &[1], Init::Constant(0.0));
        let loss = mse(&x.linear(&weight, Some(&bias)), &y);
        trace.output("loss", &loss);
        // The whole training step is one program: forward, gradients of all parameters, updates.
        Sgd::new(0.1).momentum(0.9).update(trace, &trace.gradients(&loss));
    })?;

    println!("On {}:", device.name());
    for step in 0..=100 {
        // `run` does not wait for the device; reading the loss does, so it is read only once in a while.
        program.run(&[("x", &x), ("y", &y)])?;
        if step % 20 == 0 {
            println!("step {step:3}: loss {:.5}", program.read("loss")?.item()?);
        }
    }
    println!("y = {:.3}·x + {:.3}", store.get("line.weight")?.item()?, store.get("line.bias")?.item()?);

    // Everything else that is kept between runs is a named state in the same store: the momentum, the learning rate.
    for (name, ty) in store.names(neuropil::graph::Leaf::State) {
        println!("state {name}, {ty}");
    }
    Ok(())
}
