//! What an operation must answer: the trait [`Op`], and the context in which its gradient rule works.

use std::fmt::Debug;

use super::{Graph, Lowering, NodeId, TensorType, Value};
use crate::array::Array;
use crate::error::{Error, ErrorKind, Result};

/// An operation: a plain struct of its parameters.
///
/// Two operations are the same when their `Debug` texts are: `#[derive(Debug)]` prints the name and every parameter, floats
/// so that they read back to the same bits. Common-subexpression elimination and caches rely on it.
pub trait Op: Debug + Send + Sync + 'static {
    /// The name, as in `conv2d` or `conv2d.grad_weight`.
    fn name(&self) -> &'static str;

    /// The type of every output.
    ///
    /// # Errors
    /// When the inputs do not fit; the message starts with the name and shows the shapes.
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>>;

    /// How gradients pass through.
    fn gradient(&self) -> Gradient<'_>;

    /// The outputs, by plain loops in the float type of the inputs (`f32` or `f64`): written to be read.
    ///
    /// # Errors
    /// When the inputs are not what [`Op::infer`] accepts.
    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>>;

    /// The elements at the row-major `indices` of output 0: for proofs at sizes where all would take too long.
    ///
    /// # Errors
    /// As [`Op::reference`].
    fn reference_at(&self, inputs: &[Array], indices: &[usize]) -> Result<Vec<f64>> {
        let output = self.reference(inputs)?.swap_remove(0).to_f64_vec();
        Ok(indices.iter().map(|&i| output[i]).collect())
    }

    /// What the scheduler and the devices need to know.
    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering;

    /// What mixed precision does with it. An operation that says nothing computes in `f32`, wherever its operands come from.
    fn autocast(&self) -> Autocast {
        Autocast::Single
    }

    /// How the CPU device computes an operation with a shader of its own, rather than by its reference, which is slow: in
    /// `f32`, and some rows at a time.
    fn by_rows(&self) -> Option<&dyn ByRows> {
        None
    }

    /// The value of every element of the only output when every element of input `i` is `constants[i]`, if that is known:
    /// for constant folding.
    fn fold(&self, constants: &[f64]) -> Option<f64> {
        let _ = constants;
        None
    }

    /// The same outputs by smaller operations; must be given by operations that answer [`Lowering::Decompose`] or
    /// [`Gradient::Decompose`].
    ///
    /// # Errors
    /// When there is no decomposition.
    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let _ = (graph, inputs);
        Err(Error::new(ErrorKind::Graph, format!("{}: no decomposition into smaller operations", self.name())))
    }
}

/// An operation whose results at a row follow from the inputs at that row: all tensors are cut into as many equal parts.
pub trait ByRows: Sync {
    /// The number of rows.
    fn rows(&self, inputs: &[TensorType]) -> usize;

    /// Computes some rows: the 32-bit words of every input and every output there.
    fn compute(&self, inputs: &[&[u32]], outputs: &mut [&mut [u32]]);
}

/// Where an operation stands in mixed precision: how its floats are stored. Arithmetic is that of `f32` in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autocast {
    /// All floats are `f32`: right for everything that may leave the range of `f16` or needs more than its digits.
    Single,
    /// As `Single`, but output 0 is stored as input 0 was: for normalisation, whose result is of the size of 1.
    Restore,
    /// Floats are `f16`: for the products that take the time.
    Half,
    /// As the operands are: `f16` if one is and the others are parameters or constants, else `f32`.
    Follow,
    /// As each of the smaller operations that it decomposes into: for products and movement that are made of others. Where it
    /// has a kernel of its own, as `Single`.
    Parts,
}

/// A gradient rule: emits nodes that compute the gradients of the inputs.
pub type Rule<'a> = Box<dyn Fn(&mut Backward<'_>) -> Result<()> + 'a>;

/// The decision every operation makes about its gradient.
pub enum Gradient<'a> {
    /// Graph nodes, emitted by the rule.
    Rule(Rule<'a>),
    /// That of the decomposition.
    Decompose,
    /// Zero everywhere: comparisons, positions, random bits.
    Zero,
    /// There is none, and asking for it is an error with this reason.
    None(&'static str),
}

impl<'a> Gradient<'a> {
    /// A rule from a closure.
    pub fn rule(rule: impl Fn(&mut Backward<'_>) -> Result<()> + 'a) -> Self {
        Gradient::Rule(Box::new(rule))
    }
}

/// One node on the way back: what a gradient rule sees.
pub struct Backward<'a> {
    /// Where the rule emits its nodes.
    pub graph: &'a mut Graph,
    node: NodeId,
    gradients: Vec<Option<Value>>,
    wanted: Vec<bool>,
    contributions: Vec<Option<Value>>,
}

impl<'a> Backward<'a> {
    /// The context of `node` with the gradients of its outputs and a flag an input that says whether its gradient is
    /// wanted.
    pub fn new(graph: &'a mut Graph, node: NodeId, gradients: Vec<Option<Value>>, wanted: Vec<bool>) -> Self {
        let contributions = vec![None; wanted.len()];
        Backward { graph, node, gradients, wanted, contributions }
    }

    /// Input `i` of the forward node.
    pub fn input(&self, i: usize) -> Value {
        self.graph.node(self.node).inputs[i]
    }

    /// How many inputs the forward node has.
    pub fn input_count(&self) -> usize {
        self.wanted.len()
    }

    /// Output `i` of the forward node.
    pub fn output(&self, i: usize) -> Value {
        Value { node: self.node, output: i }
    }

    /// The shape of input `i`.
    pub fn input_shape(&self, i: usize) -> Vec<usize> {
        self.graph.shape(self.input(i)).to_vec()
    }

    /// The gradient of output `i`, or `None` if nothing depends on that output.
    pub fn gradient(&self, i: usize) -> Option<Value> {
        self.gradients[i]
    }

    /// Whether the gradient of input `i` is wanted.
    pub fn wants(&self, i: usize) -> bool {
        self.wanted[i]
    }

    /// Gives the gradient of input `i`. Axes that broadcast are summed by the caller of the rule.
    pub fn give(&mut self, i: usize, gradient: Value) {
        self.contributions[i] = Some(gradient);
    }

    /// What was given, an entry an input.
    pub fn finish(self) -> Vec<Option<Value>> {
        self.contributions
    }
}

/// Shorthand for operations: checks the number of inputs.
///
/// # Errors
/// When it is not `count`.
pub fn expect_inputs(op: &str, inputs: &[TensorType], count: usize) -> Result<()> {
    if inputs.len() == count {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Graph, format!("{op}: takes {count} inputs, got {}", inputs.len())))
}
