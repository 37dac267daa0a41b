//! Gradients are tensors like all others, so a gradient has a gradient. And: how to be sure that one is right.
//!
//! `cargo run --release --example 02_gradients [device]`

use neuropil::check::{GradientError, Outcome, gradients};
use neuropil::graph::{Graph, Value};
use neuropil::{Array, Device, Result, Trace};

fn main() -> Result<()> {
    let device = Device::select(std::env::args().nth(1).as_deref().unwrap_or("auto"))?;

    // `Trace::gradient` adds the backward pass of a scalar to the trace and gives one tensor for each that was asked for.
    let trace = Trace::default();
    let x = trace.data(&Array::new(&[4], vec![-1f32, 0.5, 2.0, 3.0])?);
    let y = x.pow(3.0).sum_all();
    let slope = trace.gradient(&y, &[&x]).remove(0);
    // Each slope depends on its own element alone, so the gradient of their sum is the second derivative.
    let curvature = trace.gradient(&slope.sum_all(), &[&x]).remove(0);

    println!("On {}:", device.name());
    for (name, tensor) in [("x", &x), ("y = Σ x³", &y), ("dy/dx = 3x²", &slope), ("d²y/dx² = 6x", &curvature)] {
        println!("{name:13} {:.4}", tensor.eval(&device)?.view::<f32>()?);
    }

    // Is it right? The change of a function along a direction is what its gradient promises: the check moves the inputs a
    // little to both sides, in f64, and compares. It works for any function that is smooth around the inputs.
    let inputs =
        [Array::new(&[2, 3], vec![0.3f32, -1.2, 0.8, 1.5, -0.4, 0.1])?, Array::new(&[1, 3], vec![0.7f32, 0.2, -0.5])?];
    let first = gradients::function(&inputs, neuron)?;
    println!("\nsoftplus(x·wᵀ), along the worst of some random directions:");
    if let Outcome::Checked(errors) = &first {
        for GradientError { name, analytic, numeric, relative, .. } in errors {
            println!("{name}: the gradient says {analytic:.9}, the change is {numeric:.9}, {relative:.0e} apart");
        }
    }
    first.verdict()?;
    gradients::second_order_function(&inputs, neuron)?.verdict()?;
    println!("The gradient is right, and so is its gradient.");
    Ok(())
}

/// `softplus(x · wᵀ)`, written on the graph itself: one level below tensors, where every call can fail at once.
fn neuron(graph: &mut Graph, inputs: &[Value]) -> Result<Value> {
    let product = graph.matmul(inputs[0], inputs[1], false, true)?;
    graph.unary("softplus", product)
}
