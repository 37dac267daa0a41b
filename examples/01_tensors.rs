//! Arrays hold numbers. Tensors stand for numbers. A program computes them, as often as you like.
//!
//! `cargo run --release --example 01_tensors [auto | cpu | gpu | software | part of an adapter's name]`

use neuropil::{Array, DType, Device, Mode, Program, Result, Store, Tensor, Trace};

fn main() -> Result<()> {
    let device = Device::select(std::env::args().nth(1).as_deref().unwrap_or("auto"))?;
    println!("Device: {} ({})\n", device.name(), device.reason());

    // An `Array` is data on the host: a shape, and elements in row-major order.
    let array = Array::new(&[2, 3], vec![1f32, 2.0, 3.0, 10.0, 20.0, 60.0])?;
    println!("x, {} {:?}:\n{}\n", array.dtype(), array.shape(), array.view::<f32>()?);

    // A `Tensor` is a place in a computation, the trace: it knows its shape and holds no numbers. Operators and methods
    // add steps to the trace; nothing is computed until something is asked for.
    let trace = Trace::default();
    let x = trace.data(&array);
    let scaled = standardized(&x);
    println!("the trace knows a {scaled:?}; its value on the device:");
    println!("{:.3}\n", scaled.eval(&device)?.view::<f32>()?);

    // `eval` is for exploring: it compiles what it needs and throws it away. What runs more than once is a `Program`. Its
    // inputs have names and come with every run. The store keeps what outlives a run, such as weights; here, nothing.
    let store = Store::new(&device, 0);
    let program = Program::compile("standardize", &store, Mode::Evaluate, |trace| {
        let x = trace.input("x", &[2, 3], DType::F32);
        trace.output("largest", &x.max(&[-1]));
        trace.output("scaled", &standardized(&x));
    })?;
    // The trace became a graph, and the graph a short list of steps, each of which is one kernel.
    println!("The graph:\n{}", program.graph());
    println!("The steps:\n{}", program.schedule());
    for factor in [1.0, 100.0] {
        let elements = array.as_slice::<f32>()?.iter().map(|v| v * factor).collect();
        let outputs = program.call(&[("x", &Array::new(&[2, 3], elements)?)])?;
        println!("x times {factor}: largest {}", outputs["largest"].view::<f32>()?);
        println!("{:.3}", outputs["scaled"].view::<f32>()?);
    }

    // Shape mistakes do not panic. The trace keeps the first one, with its line, and whoever asks for numbers gets it.
    let (a, b) = (trace.data(&array), trace.data(&array));
    let product = a.matmul(&b) + 1.0;
    if let Err(error) = product.eval(&device) {
        println!("\nA mistake, reported:\n{error}");
    }
    Ok(())
}

/// Each row less its mean, in units of its standard deviation. A function of tensors is a piece of any computation.
fn standardized(x: &Tensor) -> Tensor {
    let rows = x.shape()[0];
    let mean = x.mean(&[-1]); // [rows]: the axis goes
    let centred = x - mean.reshape(&[rows, 1]); // shapes broadcast as in NumPy
    let deviation = centred.square().mean(&[-1]).sqrt();
    centred / deviation.reshape(&[rows, 1])
}
