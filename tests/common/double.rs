//! An operation of a user whose shader and gradient can be made wrong.

use neuropil::Array;
use neuropil::graph::TensorType;
use neuropil::ops::custom::{Custom, Kernel};

/// `x → 2x`, with a shader and a gradient that are given.
pub fn double(wgsl: &'static str, slope: f64) -> Custom {
    let reference = |_: &Custom, inputs: &[Array]| {
        Ok(vec![Array::new(inputs[0].shape(), inputs[0].as_slice::<f64>()?.iter().map(|x| 2.0 * x).collect())?])
    };
    let kernel = |inputs: &[TensorType], _: &[TensorType]| Kernel {
        extents: vec![inputs[0].len()],
        workgroups: inputs[0].len().div_ceil(64),
        ..Kernel::default()
    };
    Custom::new("double", wgsl, |inputs| Ok(inputs.to_vec()), reference, kernel).gradient(move |_, cx| {
        let Some(g) = cx.gradient(0) else { return Ok(()) };
        let gradient = cx.graph.scale(g, slope)?;
        cx.give(0, gradient);
        Ok(())
    })
}

/// The right shader.
pub const TWICE: &str = "@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < params.extents.x) { out0[id.x] = 2.0 * in0[id.x]; }
}";
