//! Devices are values: list them, run one program on several, and see which of them is right.
//!
//! `cargo run --release --example 03_devices [device]`: without a device, the CPU and every adapter.

use std::time::Instant;

use neuropil::check::{compare, reference};
use neuropil::graph::{Graph, Leaf, Sample, Tolerance};
use neuropil::{Array, DType, Device, Mode, Program, Result, Store};

const SIZE: usize = 256;

fn main() -> Result<()> {
    // What the drivers of this machine offer. There may be nothing, and that is fine: the CPU is a device too.
    let adapters = Device::adapters();
    println!("{} adapter(s)", adapters.len());
    for adapter in &adapters {
        println!("  {adapter}");
    }
    let best = Device::best();
    println!("`auto` takes {} ({})\n", best.name(), best.reason());

    let devices: Vec<Device> = match std::env::args().nth(1) {
        Some(word) => vec![Device::select(&word)?],
        None => {
            let others = adapters.iter().map(|adapter| Device::named(&adapter.name));
            std::iter::once(Ok(Device::cpu())).chain(others).collect::<Result<_>>()?
        }
    };

    // Sums of floats depend on their order, so two devices agree within rounding and not to the last bit. The judge is the
    // plain reference of every operation, in f64. What is allowed follows from the computation, and has a reason.
    let tolerance = Tolerance {
        absolute: 3e-5,
        relative: 1e-6,
        reason: "256 roundings, each 6e-8 of a partial sum of up to about 20, which mostly cancel",
    };
    let (x, weight) = (Sample::uniform(&[SIZE, SIZE], -1.0, 1.0, 1), Sample::uniform(&[SIZE, SIZE], -1.0, 1.0, 2));
    for device in &devices {
        let (graph, y) = run(device, &x, &weight)?;
        let expected = judge(&graph, &x, &weight)?;
        let comparison = compare("y", &y, &expected, tolerance)?;
        println!("  worst element: {comparison}");
        comparison.verdict()?;
    }
    Ok(())
}

/// `relu(x · wᵀ)` on a device, and its graph. The text is the same for every device; the store says for which to compile.
fn run(device: &Device, x: &Array, weight: &Array) -> Result<(Graph, Array)> {
    let store = Store::new(device, 0);
    let start = Instant::now();
    let program = Program::compile("layer", &store, Mode::Evaluate, |trace| {
        let x = trace.input("x", &[SIZE, SIZE], DType::F32);
        let weight = trace.input("weight", &[SIZE, SIZE], DType::F32);
        trace.output("y", &x.linear(&weight, None).relu());
    })?;
    let compiled = start.elapsed();
    // The first run may include work that drivers put off; the second is what training sees.
    program.call(&[("x", x), ("weight", weight)])?;
    let start = Instant::now();
    program.run(&[("x", x), ("weight", weight)])?;
    let y = program.read("y")?;
    println!("{}: compiled in {compiled:.1?}, ran in {:.1?}", device.name(), start.elapsed());
    Ok((program.graph().clone(), y))
}

/// What the reference computes, node by node, in f64.
fn judge(graph: &Graph, x: &Array, weight: &Array) -> Result<Array> {
    let leaves = [("x", x), ("weight", weight)].map(|(name, array)| ((Leaf::Input, name.to_owned()), array.clone()));
    Ok(reference::run(graph, &leaves.into(), DType::F64)?.output("y")?.clone())
}
