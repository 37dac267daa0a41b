//! Operations of users, from parts: a shader, a shape rule, a reference, a gradient.
//!
//! [`Custom`] is an [`Op`] like any other: it is traced, differentiated, scheduled and checked by the same code, the shader
//! runs on GPUs, and the reference judges it and is what the CPU device runs. Who needs more than one kernel or another kind
//! of work implements [`Op`] itself. `examples/08_custom_operation.rs` defines one and trains with it.

use std::fmt;
use std::sync::Arc;

use crate::array::Array;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Backward, Gradient, Lowering, Op, Opaque, TensorType};

type ShapeRule = dyn Fn(&[TensorType]) -> Result<Vec<TensorType>> + Send + Sync;
type Reference = dyn Fn(&Custom, &[Array]) -> Result<Vec<Array>> + Send + Sync;
type GradientRule = dyn Fn(&Custom, &mut Backward<'_>) -> Result<()> + Send + Sync;
type Dispatch = dyn Fn(&[TensorType], &[TensorType]) -> Kernel + Send + Sync;

/// What a custom shader is told of its tensors, and how often it runs.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// Constants of the text, as `u32`: they must not depend on the batch size, or every batch size compiles anew.
    pub constants: Vec<(&'static str, usize)>,
    /// `params.extents.x`, `.y`, `.z`, `.w`: what may depend on the batch size.
    pub extents: Vec<usize>,
    /// Workgroups to start.
    pub workgroups: usize,
}

/// An operation of a user. Two are the same if their names and parameters are equal: give every operation its own name.
#[derive(Clone)]
pub struct Custom {
    name: &'static str,
    wgsl: &'static str,
    parameters: Vec<(&'static str, f64)>,
    shape: Arc<ShapeRule>,
    reference: Arc<Reference>,
    gradient: Option<Arc<GradientRule>>,
    kernel: Arc<Dispatch>,
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Custom {{ name: {:?}, parameters: {:?} }}", self.name, self.parameters)
    }
}

impl Custom {
    /// An operation whose outputs `shape` gives (or refuses the inputs), `reference` computes in `f64`, and the entry point
    /// `main` of `wgsl` computes on a GPU.
    ///
    /// The shader's bindings come from a prelude: arrays `in0 …` and `out0 …` of the tensors' element types, `params.extents`,
    /// the constants of `kernel`, and `workgroup_index(workgroup_id, num_workgroups)`, since many workgroups are folded into
    /// two dimensions. Outputs are dense and row-major, and so are inputs.
    pub fn new(
        name: &'static str,
        wgsl: &'static str,
        shape: impl Fn(&[TensorType]) -> Result<Vec<TensorType>> + Send + Sync + 'static,
        reference: impl Fn(&Custom, &[Array]) -> Result<Vec<Array>> + Send + Sync + 'static,
        kernel: impl Fn(&[TensorType], &[TensorType]) -> Kernel + Send + Sync + 'static,
    ) -> Self {
        Custom {
            name,
            wgsl,
            parameters: Vec::new(),
            shape: Arc::new(shape),
            reference: Arc::new(reference),
            gradient: None,
            kernel: Arc::new(kernel),
        }
    }

    /// Adds a number: the constant `name` (`f32`) of the shader, and [`Custom::get`] for the reference.
    #[must_use]
    pub fn parameter(mut self, name: &'static str, value: f64) -> Self {
        self.parameters.push((name, value));
        self
    }

    /// The number called `name`; NaN if there is none.
    pub fn get(&self, name: &str) -> f64 {
        self.parameters.iter().find(|(known, _)| *known == name).map_or(f64::NAN, |(_, value)| *value)
    }

    /// Adds the gradient rule: it emits nodes, other custom operations among them, that compute the gradients of the inputs.
    /// An operation without one cannot be trained through, which is an error that says so.
    #[must_use]
    pub fn gradient(mut self, rule: impl Fn(&Custom, &mut Backward<'_>) -> Result<()> + Send + Sync + 'static) -> Self {
        self.gradient = Some(Arc::new(rule));
        self
    }
}

impl Op for Custom {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        (self.shape)(inputs)
    }

    fn gradient(&self) -> Gradient<'_> {
        match &self.gradient {
            Some(rule) => Gradient::rule(move |cx| rule(self, cx)),
            None => Gradient::None("it was defined without one; add it with Custom::gradient"),
        }
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let types: Vec<TensorType> = inputs.iter().map(|a| TensorType::new(a.dtype(), a.shape())).collect();
        let outputs = self.infer(&types)?;
        let wide = |array: &Array| if array.dtype().is_float() { array.cast(DType::F64) } else { array.clone() };
        let inputs: Vec<Array> = inputs.iter().map(wide).collect();
        let results = (self.reference)(self, &inputs)?;
        Ok(results.iter().zip(outputs).map(|(array, ty)| array.cast(ty.dtype)).collect())
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        let kernel = (self.kernel)(inputs, outputs);
        let counts = kernel.constants.iter().map(|&(name, value)| (name, format!("{value}u")));
        let numbers = self.parameters.iter().map(|&(name, value)| (name, format!("f32({value:?})")));
        Lowering::Opaque(Opaque {
            wgsl: self.wgsl,
            constants: counts.chain(numbers).collect(),
            extents: kernel.extents.iter().map(|&extent| extent as u32).collect(),
            workgroups: kernel.workgroups,
        })
    }
}
