//! An operation of one's own: the running sum of each row, with its shader, its reference and its gradient, and checked
//! on the device like every operation of the crate.
//!
//! `cargo run --release --example 08_custom_operation [device]`

use neuropil::check::{cases, gradients, parity};
use neuropil::graph::{Gradient, Lowering, Op, Opaque, Sample, TensorType, Tolerance, expect_inputs};
use neuropil::{Array, Device, Error, Result, Trace, with_float};

/// `y[r, i] = Σ x[r, j]` over `j <= i`, or over `j >= i` if reversed.
#[derive(Clone, Debug)]
struct RunningSum {
    reversed: bool,
}

/// One invocation a row. Bindings and constants come from a generated prelude: `in0`, `out0`, `params.extents`, and what
/// the lowering below adds. Extents that depend on the batch size are no constants, so all batch sizes share the shader.
const SHADER: &str = "
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_index(id, count) * 64u + lane;
    if (row >= params.extents.x) {
        return;
    }
    var sum = 0.0;
    for (var i = 0u; i < COLUMNS; i += 1u) {
        let element = row * COLUMNS + select(i, COLUMNS - 1u - i, REVERSED);
        sum += in0[element];
        out0[element] = sum;
    }
}
";

impl Op for RunningSum {
    fn name(&self) -> &'static str {
        "running_sum"
    }

    // The shape rule. Messages name the operation and show the shapes.
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1)?;
        match inputs[0].shape[..] {
            [_, _] if inputs[0].dtype.is_float() => Ok(inputs.to_vec()),
            _ => Err(Error::shape(self.name(), format_args!("takes floats [rows, columns], got {}", inputs[0]))),
        }
    }

    // The gradient rule adds nodes to the graph. Every x[j] is in the sums from j on: the running sum from the other end.
    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let gradient = cx.graph.emit(RunningSum { reversed: !self.reversed }, &[g])?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    // The reference: plain loops in the type of the input. It judges the shader, and is what the CPU device runs.
    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        with_float!(self.name(), inputs[0], T => {
            let shape = inputs[0].shape();
            let mut y = inputs[0].as_slice::<T>()?.to_vec();
            for row in y.chunks_mut(shape[1].max(1)) {
                for i in 1..row.len() {
                    let (at, before) = if self.reversed { (row.len() - 1 - i, row.len() - i) } else { (i, i - 1) };
                    row[at] += row[before];
                }
            }
            Ok(vec![Array::new(shape, y)?])
        })
    }

    // What the scheduler and the devices need to know: here a shader that nothing is fused with.
    fn lowering(&self, inputs: &[TensorType], _: &[TensorType]) -> Lowering {
        let (rows, columns) = (inputs[0].shape[0], inputs[0].shape[1]);
        Lowering::Opaque(Opaque {
            wgsl: SHADER,
            constants: vec![("COLUMNS", format!("{columns}u")), ("REVERSED", self.reversed.to_string())],
            extents: vec![rows as u32],
            workgroups: rows.div_ceil(64),
        })
    }
}

fn main() -> Result<()> {
    let device = Device::select(std::env::args().nth(1).as_deref().unwrap_or("auto"))?;

    // It is used like any other, gradient included.
    let trace = Trace::default();
    let x = trace.data(&Array::new(&[2, 4], vec![1f32, 2.0, 3.0, 4.0, 0.0, -1.0, 1.0, 0.5])?);
    let y = x.custom(RunningSum { reversed: false }, &[]);
    let grad_x = trace.gradient(&y.square().sum_all(), &[&x]).remove(0);
    println!("On {}:", device.name());
    for (name, tensor) in [("x", &x), ("y", &y), ("gradient of Σ y²", &grad_x)] {
        println!("{name}:\n{}", tensor.eval(&device)?.view::<f32>()?);
    }

    // Before it is trusted: samples with a tolerance and its reason, run forward, backward and through views of other
    // tensors; and the gradient rule against central differences. Odd sizes are where kernels break.
    let gpu = device.adapter().is_some().then_some(device);
    let devices: Vec<Device> = std::iter::once(Device::cpu()).chain(gpu).collect();
    for (name, shape) in [("odd sizes", [67, 129]), ("one row", [1, 1000]), ("one column", [5, 1]), ("no rows", [0, 3])]
    {
        for reversed in [false, true] {
            let inputs = vec![Sample::uniform(&shape, -1.0, 1.0, 3)];
            let sample = Sample::new(name, RunningSum { reversed }, inputs, Tolerance::sum(shape[1]));
            gradients::sample(&sample)?.verdict()?;
            for device in &devices {
                let mut worst = 0.0;
                for case in cases(&sample)? {
                    let verdict = parity::check_case(device, &case)?;
                    verdict.failure.map_or(Ok(()), Err)?;
                    worst = f64::max(worst, verdict.worst);
                }
                println!("{name}, reversed {reversed}, {}: {worst:.3} of the allowed error", device.name());
            }
        }
    }
    Ok(())
}
