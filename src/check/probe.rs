//! A function put into a graph with named inputs, and the loss that its gradients are taken of.
//!
//! Gradients are probed in the middle of a graph: the loss `Σ w·y + ½ Σ c·y²` over the outputs `y` gives every element an
//! upstream gradient `w + c·y` of its own, near 1 in magnitude and of either sign, which depends on the point.

use half::f16;

use crate::array::Array;
use crate::autodiff;
use crate::check::reference::{self, Evaluation, Leaves};
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Graph, Leaf, NodeKind, TensorType, Value};
use crate::random::Stream;

/// A function in a graph, its inputs and outputs.
pub struct Probe {
    /// Leaves `in0`, `in1`, …, `weight0`, …, `curvature0`, … and all nodes so far.
    pub graph: Graph,
    /// The leaves' arrays.
    pub leaves: Leaves,
    /// The inputs' values: leaves.
    pub inputs: Vec<Value>,
    /// What messages call the inputs.
    pub names: Vec<String>,
    /// What the function gives.
    pub outputs: Vec<Value>,
    /// The sum of the magnitudes of the outputs that the last loss was made of: what the loss rounds in proportion to.
    pub size: f64,
    /// In front of the names of weights.
    prefix: &'static str,
    /// Weights drawn so far.
    drawn: usize,
}

impl Probe {
    /// The function that `build` adds to a graph, at the point `inputs`.
    pub fn new(inputs: &[Array], build: impl FnOnce(&mut Graph, &[Value]) -> Result<Vec<Value>>) -> Result<Self> {
        let mut probe = Probe {
            graph: Graph::new(),
            leaves: Leaves::new(),
            inputs: Vec::new(),
            names: Vec::new(),
            outputs: Vec::new(),
            size: 0.0,
            prefix: "",
            drawn: 0,
        };
        for (i, array) in inputs.iter().enumerate() {
            let value = probe.leaf(format!("in{i}"), array.clone())?;
            probe.inputs.push(value);
            probe.names.push(format!("input {i}"));
        }
        probe.outputs = build(&mut probe.graph, &probe.inputs)?;
        Ok(probe)
    }

    /// The outputs of a graph as a function of its inputs and parameters. Names that start with a dot are no inputs of the
    /// function, but data or the probe's own.
    pub fn of_graph(graph: Graph, leaves: Leaves) -> Self {
        let of = |kind: Leaf, word: &str| -> Vec<(String, Value)> {
            let leaves = graph.leaves(kind).filter(|(name, _)| !name.starts_with('.'));
            leaves.map(|(name, value)| (format!("{word} {name:?}"), value)).collect()
        };
        let inputs = [of(Leaf::Input, "input"), of(Leaf::Parameter, "parameter")].concat();
        let (names, inputs) = inputs.into_iter().unzip();
        let outputs = graph.outputs.iter().map(|(_, value)| *value).collect();
        Probe { graph, leaves, inputs, names, outputs, size: 0.0, prefix: ".probe.", drawn: 0 }
    }

    /// Under which an input's data is among the leaves.
    pub fn key(&self, input: usize) -> (Leaf, String) {
        match &self.graph.node(self.inputs[input].node).kind {
            NodeKind::Leaf(leaf, name) => (*leaf, name.clone()),
            NodeKind::Op(_) => unreachable!("inputs are leaves"),
        }
    }

    /// An input leaf with data. Doubles are `f32` in a graph.
    pub fn leaf(&mut self, name: String, array: Array) -> Result<Value> {
        let dtype = if array.dtype() == DType::F64 { DType::F32 } else { array.dtype() };
        let value = self.graph.leaf(Leaf::Input, &name, TensorType::new(dtype, array.shape()))?;
        self.leaves.insert((Leaf::Input, name), array);
        Ok(value)
    }

    /// The numbers of the inputs that can have a gradient, and their values.
    pub fn differentiable(&self) -> Vec<(usize, Value)> {
        let all = self.inputs.iter().copied().enumerate();
        all.filter(|(_, value)| self.graph.type_of(*value).dtype.is_float()).collect()
    }

    /// Computes `values` at the point, in `precision`.
    pub fn evaluate(&self, values: &[Value], precision: DType) -> Result<Evaluation> {
        reference::run(&self.graph_of(values), &self.leaves, precision)
    }

    /// The graph with `values` as its only results, `0`, `1`, ….
    pub fn graph_of(&self, values: &[Value]) -> Graph {
        let mut graph = self.graph.clone();
        graph.outputs = values.iter().enumerate().map(|(i, value)| (i.to_string(), *value)).collect();
        graph
    }

    /// Adds the loss of the outputs; `None` if no output is of floats.
    ///
    /// Where an output is not finite everywhere its curvature is left out, so that its upstream gradients are finite.
    pub fn loss(&mut self) -> Result<Option<Value>> {
        let evaluation = self.evaluate(&self.outputs, DType::F64)?;
        let mut loss = None;
        self.size = 0.0;
        for y in self.outputs.clone() {
            if !self.graph.type_of(y).dtype.is_float() {
                continue;
            }
            let elements = evaluation.computed(y)?.to_f64_vec();
            self.size += elements.iter().map(|y| y.abs()).filter(|y| y.is_finite()).sum::<f64>();
            let largest =
                elements.iter().fold(0.0, |largest: f64, y| if y.is_nan() { *y } else { largest.max(y.abs()) });
            let largest =
                if self.graph.type_of(y).dtype == DType::F16 { f16::from_f64(largest).to_f64() } else { largest };
            let y = self.graph.cast(y, DType::F32)?;
            let (n, shape) = (self.drawn, self.graph.shape(y).to_vec());
            self.drawn += 1;
            let mut stream = Stream::new(n as u64, "check.weight");
            let sign_and_size = |_| {
                let sign = if stream.next_u32() & 1 == 0 { 1.0 } else { -1.0 };
                sign * (0.75 + 0.5 * stream.uniform())
            };
            let weight = self.leaf(format!("{}weight{n}", self.prefix), Array::from_fn(&shape, sign_and_size))?;
            let mut terms = vec![self.graph.mul(weight, y)?];
            if largest.is_finite() {
                let half = if largest > 0.0 { 0.5 / largest } else { 0.5 };
                let mut stream = Stream::new(n as u64, "check.curvature");
                let curvature = Array::from_fn(&shape, |_| ((2.0 * f64::from(stream.uniform()) - 1.0) * half) as f32);
                let curvature = self.leaf(format!("{}curvature{n}", self.prefix), curvature)?;
                let square = self.graph.unary("square", y)?;
                let term = self.graph.mul(curvature, square)?;
                terms.push(self.graph.scale(term, 0.5)?);
            }
            let axes: Vec<usize> = (0..shape.len()).collect();
            for term in terms {
                let sum = self.graph.sum(term, &axes)?;
                let sum = self.graph.reshape(sum, &[])?;
                loss = Some(loss.map_or(Ok(sum), |total| self.graph.add(total, sum))?);
            }
        }
        Ok(loss)
    }

    /// Adds the gradients of `loss` with respect to the inputs that can have one.
    pub fn gradients(&mut self, loss: Value) -> Result<Vec<Value>> {
        let wanted: Vec<Value> = self.differentiable().into_iter().map(|(_, value)| value).collect();
        autodiff::gradients(&mut self.graph, loss, &wanted)
    }
}
