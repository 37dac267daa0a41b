//! The most that a device does: bytes that a copy moves, operations that multiplications and additions in registers make.
//!
//! On the CPU no loop of ours is faster than the product it is to be compared with, so the ceiling there is a product whose
//! operands stay in the cache.

use neuropil::graph::TensorType;
use neuropil::ops::custom::{Custom, Kernel};
use neuropil::tensor::Init;
use neuropil::{Array, Device, Error, Mode, Program, Store, Trace};

/// What a device does in a second at most.
pub struct Ceilings {
    /// Bytes read and written by a copy.
    pub bytes: f64,
    /// Floating-point operations in `f32`.
    pub operations: f64,
    /// How the second was measured.
    pub how: &'static str,
}

/// Elements of the copy: 64 MiB.
const COPIED: usize = 16 << 20;

/// Invocations, and multiply-additions of four vectors of four that each makes.
const INVOCATIONS: usize = 1 << 16;
const ROUNDS: usize = 2048;

/// Four independent chains, so that none waits for itself.
const REGISTERS: &str = "
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = workgroup_index(id, count) * 64u + lane;
    if (i >= params.extents.x) {
        return;
    }
    let factor = vec4<f32>(in0[i] * 0.5);
    var a = vec4<f32>(0.25);
    var b = vec4<f32>(0.5);
    var c = vec4<f32>(0.75);
    var d = vec4<f32>(1.0);
    for (var round = 0u; round < ROUNDS; round++) {
        a = fma(a, factor, factor);
        b = fma(b, factor, factor);
        c = fma(c, factor, factor);
        d = fma(d, factor, factor);
    }
    out0[i] = dot(a + b + c + d, vec4<f32>(1.0));
}
";

impl Ceilings {
    /// Measures a device.
    ///
    /// # Errors
    /// When it has no room for 128 MiB, or is lost.
    pub fn measure(device: &Device) -> Result<Self, Error> {
        let time = |name: &str, build: &dyn Fn(&Trace)| {
            super::median(&Program::compile(name, &Store::new(device, 0), Mode::Train, build)?)
        };
        let copy = time("copy", &|trace| {
            let x = trace.scope().param("x", &[COPIED], Init::Constant(1.5));
            trace.output("y", &(-&x));
        })?;
        let bytes = 2.0 * 4.0 * COPIED as f64 / copy;
        if device.adapter().is_none() {
            const SIDE: usize = 384;
            let product = time("product", &|trace| {
                let side = |name| trace.scope().param(name, &[8, SIDE, SIDE], Init::Uniform { bound: 1.0 });
                trace.output("y", &side("a").matmul(&side("b")));
            })?;
            let operations = 8.0 * 2.0 * (SIDE as f64).powi(3) / product;
            return Ok(Ceilings { bytes, operations, how: "products in the cache" });
        }
        let registers = time("registers", &|trace| {
            let x = trace.scope().param("x", &[INVOCATIONS], Init::Uniform { bound: 1.0 });
            trace.output("y", &x.custom(multiply_add(), &[]));
        })?;
        let operations = (INVOCATIONS * ROUNDS * 4 * 4 * 2) as f64 / registers;
        Ok(Ceilings { bytes, operations, how: "multiply-add in registers" })
    }
}

/// The loop of [`REGISTERS`]: `a ← a·f + f` with `f = x / 2`.
fn multiply_add() -> Custom {
    let shape = |inputs: &[TensorType]| Ok(inputs.to_vec());
    let reference = |_: &Custom, inputs: &[Array]| {
        let element = |x: &f64| {
            let factor = 0.5 * x;
            let chain = |mut a: f64| {
                (0..ROUNDS).for_each(|_| a = a * factor + factor);
                a
            };
            4.0 * [0.25, 0.5, 0.75, 1.0].map(chain).iter().sum::<f64>()
        };
        Ok(vec![Array::new(inputs[0].shape(), inputs[0].as_slice::<f64>()?.iter().map(element).collect())?])
    };
    let kernel = |inputs: &[TensorType], _: &[TensorType]| Kernel {
        constants: vec![("ROUNDS", ROUNDS)],
        extents: vec![inputs[0].len()],
        workgroups: inputs[0].len().div_ceil(64),
    };
    Custom::new("multiply_add", REGISTERS, shape, reference, kernel)
}
