//! The most that a device does: bytes that a copy moves, operations that multiplications and additions in registers make.
//!
//! Each is the best of several runs. A copy of as much as the suite's kernels move may stay in a cache that a large one does
//! not fit, so both are measured. On the CPU the ceiling of operations is a product whose operands stay in the second cache.

use neuropil::graph::TensorType;
use neuropil::ops::custom::{Custom, Kernel};
use neuropil::tensor::Init;
use neuropil::{Array, Device, Error, Mode, Program, Store, Trace};

/// What a device does in a second at most.
pub struct Ceilings {
    /// Bytes read and written by a copy as large as the suite's kernels have them.
    pub bytes: f64,
    /// Bytes read and written by a copy of 64 MiB.
    pub bytes_of_memory: f64,
    /// Floating-point operations in `f32`.
    pub operations: f64,
    /// How the second was measured.
    pub how: &'static str,
}

/// Elements of the large copy: 64 MiB.
const LARGE: usize = 16 << 20;
/// Elements of the suite's kernels: `[64, 28, 28, 32]`.
const USUAL: usize = 64 * 28 * 28 * 32;

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
            let seconds = super::seconds(&Program::compile(name, &Store::new(device, 0), Mode::Train, build)?)?;
            Ok::<f64, Error>(seconds[0])
        };
        let copy = |elements: usize| {
            let seconds = time("copy", &|trace| {
                let x = trace.scope().param("x", &[elements], Init::Constant(1.5));
                trace.output("y", &(-&x));
            })?;
            Ok::<f64, Error>(2.0 * 4.0 * elements as f64 / seconds)
        };
        let (bytes, bytes_of_memory) = (copy(USUAL)?, copy(LARGE)?);
        if device.adapter().is_none() {
            const GROUPS: usize = 16;
            let [m, n, k] = [192, 64, 256];
            let product = time("product", &|trace| {
                let matrices =
                    |name, shape: [usize; 3]| trace.scope().param(name, &shape, Init::Uniform { bound: 1.0 });
                trace.output("y", &matrices("a", [GROUPS, m, k]).matmul(&matrices("b", [GROUPS, k, n])));
            })?;
            let operations = 2.0 * (GROUPS * m * n * k) as f64 / product;
            return Ok(Ceilings { bytes, bytes_of_memory, operations, how: "products in the cache" });
        }
        let registers = time("registers", &|trace| {
            let x = trace.scope().param("x", &[INVOCATIONS], Init::Uniform { bound: 1.0 });
            trace.output("y", &x.custom(multiply_add(), &[]));
        })?;
        let operations = (INVOCATIONS * ROUNDS * 4 * 4 * 2) as f64 / registers;
        Ok(Ceilings { bytes, bytes_of_memory, operations, how: "multiply-add in registers" })
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
