//! What a step costs the host: `cargo bench --bench host`.
//!
//! Microseconds a dispatch from calling a compiled program until it has been handed to the driver, for a chain of small
//! products; and milliseconds to trace a graph of a thousand nodes, to differentiate it, and to compile
//! it. On software Vulkan, where there is one; its threads compete with the host, so a machine with a GPU shows less.

use std::error::Error;
use std::time::Instant;

use neuropil::device::{GpuChoice, Options};
use neuropil::tensor::Init;
use neuropil::{Device, Mode, Program, Store, Tensor};

/// Operations in a chain.
const LENGTH: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let gpu = pollster::block_on(Device::open(&GpuChoice::Software, Options::default()))?;
    let store = Store::new(&gpu, 0);
    let program = Program::compile("chain", &store, Mode::Evaluate, |trace| {
        let x = trace.scope().param("x", &[8, 8], Init::Constant(0.1));
        trace.output("end", &(0..LENGTH).fold(x.clone(), |y, _| y.matmul(&x)));
    })?;
    program.run(&[])?;
    gpu.wait()?;
    let before = gpu.counters();
    let mut microseconds = Vec::new();
    for _ in 0..21 {
        let start = Instant::now();
        program.run(&[])?;
        microseconds.push(1e6 * start.elapsed().as_secs_f64());
        gpu.wait()?;
    }
    let after = gpu.counters();
    let dispatches = (after.dispatches - before.dispatches) / 21;
    println!("{}: {dispatches} dispatches, {:.2} µs each", gpu.name(), median(microseconds) / dispatches as f64);

    let (mut all, mut nodes) = (Vec::new(), 0);
    for _ in 0..11 {
        let store = Store::new(&Device::cpu(), 0);
        let start = Instant::now();
        let program = Program::compile("gradient", &store, Mode::Train, |trace| {
            let x = trace.scope().param("x", &[64], Init::Constant(0.5));
            let loss = chain(&x).mean(&[0]);
            trace.output("gradient", &trace.gradient(&loss, &[&x])[0]);
        })?;
        all.push(1e3 * start.elapsed().as_secs_f64());
        nodes = program.graph().len();
    }
    println!("a graph of {nodes} nodes with its gradient: traced, scheduled and compiled in {:.1} ms", median(all));
    Ok(())
}

/// Alternating operations that nothing simplifies.
fn chain(x: &Tensor) -> Tensor {
    (0..LENGTH / 2).fold(x.clone(), |y, _| (y * x).sigmoid())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
