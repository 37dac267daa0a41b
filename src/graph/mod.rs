//! The graph: operations on typed tensors, as plain data.
//!
//! A [`Graph`] is an arena of [`Node`]s in topological order: a node's inputs have smaller ids. A node is a leaf (a named
//! value from outside) or an operation, an `Arc<dyn Op>`; it has one or several outputs, and an edge is a [`Value`]: a
//! node and an output index. Operations live in [`crate::ops`]; this module knows only the trait, so the set is open.
//!
//! Before: [`crate::tensor`] traces model code into a graph. After: [`crate::autodiff`] and [`crate::simplify`] rewrite
//! it, [`crate::schedule`] turns it into work for a device.

mod expression;
mod lowering;
mod op;
mod print;
mod sample;
mod winograd;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

pub use expression::{Access, AxisSteps, Bound, Expression, Function, Term, TermId, Wgsl};
pub use lowering::{Accumulator, Gemm, Lowering, Matrix, Opaque, Operand, Pooling, Reduce, WindowKind};
pub use op::{Autocast, Backward, ByRows, Gradient, Op, Rule, expect_inputs};
pub use sample::{Expect, Sample, Tolerance};
pub use winograd::Filtering;

use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::shape::element_count;

/// The place of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// An edge: output `output` of node `node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    /// The node that computes it.
    pub node: NodeId,
    /// Which of the node's outputs.
    pub output: usize,
}

/// The shape and element type of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Extents, row-major.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
}

impl TensorType {
    /// A tensor type of `dtype` and `shape`.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        TensorType { shape: shape.into(), dtype }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        element_count(&self.shape)
    }

    /// The 32-bit words in which a device stores it.
    pub fn words(&self) -> usize {
        self.dtype.words(self.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

/// The most elements of a tensor, far beyond any memory: products of several extents must stay within words.
const MAX_ELEMENTS: usize = 1 << 40;

/// Nothing, if a tensor of this type can be counted.
fn check_size(what: &str, ty: &TensorType) -> Result<()> {
    let elements = ty.shape.iter().try_fold(1usize, |elements, &extent| elements.checked_mul(extent));
    if elements.is_some_and(|elements| elements <= MAX_ELEMENTS) {
        return Ok(());
    }
    let text = format!("{what}: a tensor of {ty} has more than {MAX_ELEMENTS} elements; make it smaller");
    Err(Error::new(ErrorKind::Memory, text))
}

/// Where a leaf's data comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Leaf {
    /// Given anew at every run: a batch of images, labels.
    Input,
    /// Trained, owned by the store.
    Parameter,
    /// Kept between runs, owned by the store: running statistics, counters, optimizer moments.
    State,
}

/// The arrays of a graph's leaves. Floats may be `F32` or `F64`.
pub type Leaves = BTreeMap<(Leaf, String), Array>;

/// What a node is.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// A named value from outside.
    Leaf(Leaf, String),
    /// An operation on the node's inputs.
    Op(Arc<dyn Op>),
}

/// One node of a graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// Leaf or operation.
    pub kind: NodeKind,
    /// What the operation reads.
    pub inputs: Vec<Value>,
    /// One type an output.
    pub types: Vec<TensorType>,
    /// The path of the layer that made it (`stage1.conv2`), empty at the top.
    pub scope: Arc<str>,
    /// The line of user code that made it.
    pub location: Option<&'static Location<'static>>,
}

impl Node {
    /// The operation, unless this is a leaf.
    pub fn op(&self) -> Option<&Arc<dyn Op>> {
        match &self.kind {
            NodeKind::Op(op) => Some(op),
            NodeKind::Leaf(..) => None,
        }
    }
}

/// A computation: nodes in topological order and what is wanted from them.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    leaves: HashMap<(Leaf, String), NodeId>,
    /// Named results, in the order in which they were asked for.
    pub outputs: Vec<(String, Value)>,
    /// The gradient of each named parameter, in the order in which the backward pass completes them.
    pub gradients: Vec<(String, Value)>,
    /// New values of named states and parameters, stored when the run ends.
    pub updates: Vec<(Leaf, String, Value)>,
    /// Scopes whose values the backward pass computes again instead of keeping them.
    pub recomputed: Vec<Arc<str>>,
    /// Scope and location that new nodes get.
    pub scope: Arc<str>,
    /// The line of user code being traced.
    pub location: Option<&'static Location<'static>>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Graph::default()
    }

    /// All nodes, in topological order.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (NodeId, &Node)> + DoubleEndedIterator {
        self.nodes.iter().enumerate().map(|(i, node)| (NodeId(i), node))
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node of this graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The type of a value of this graph.
    pub fn type_of(&self, value: Value) -> &TensorType {
        &self.nodes[value.node.0].types[value.output]
    }

    /// The shape of a value of this graph.
    pub fn shape(&self, value: Value) -> &[usize] {
        &self.type_of(value).shape
    }

    /// Whether a value is of this type.
    pub fn uses(&self, dtype: DType) -> bool {
        self.nodes.iter().any(|node| node.types.iter().any(|ty| ty.dtype == dtype))
    }

    /// The leaf of this kind and name, added if it is new.
    ///
    /// # Errors
    /// When the leaf exists with another type, or is beyond any memory.
    pub fn leaf(&mut self, leaf: Leaf, name: &str, ty: TensorType) -> Result<Value> {
        if let Some(&node) = self.leaves.get(&(leaf, name.to_owned())) {
            let known = &self.node(node).types[0];
            if *known != ty {
                return Err(Error::new(
                    ErrorKind::Graph,
                    format!("{leaf:?} {name:?} is {known} and cannot also be {ty}; use one name for one tensor"),
                ));
            }
            return Ok(Value { node, output: 0 });
        }
        check_size(name, &ty)?;
        let node = self.push(NodeKind::Leaf(leaf, name.to_owned()), Vec::new(), vec![ty]);
        self.leaves.insert((leaf, name.to_owned()), node);
        Ok(Value { node, output: 0 })
    }

    /// All leaves of one kind with their names, in the order in which they were added.
    pub fn leaves(&self, kind: Leaf) -> impl Iterator<Item = (&str, Value)> {
        self.nodes().filter_map(move |(node, n)| match &n.kind {
            NodeKind::Leaf(leaf, name) if *leaf == kind => Some((name.as_str(), Value { node, output: 0 })),
            _ => None,
        })
    }

    /// Adds an operation on `inputs`; gives its outputs.
    ///
    /// # Errors
    /// When the operation does not take inputs of these types, or the result is beyond any memory.
    pub fn apply(&mut self, op: Arc<dyn Op>, inputs: &[Value]) -> Result<Vec<Value>> {
        let types: Vec<TensorType> = inputs.iter().map(|&v| self.type_of(v).clone()).collect();
        let outputs = op.infer(&types)?;
        outputs.iter().try_for_each(|ty| check_size(op.name(), ty))?;
        let count = outputs.len();
        let node = self.push(NodeKind::Op(op), inputs.to_vec(), outputs);
        Ok((0..count).map(|output| Value { node, output }).collect())
    }

    /// Adds an operation and gives its first output.
    ///
    /// # Errors
    /// As [`Graph::apply`].
    pub fn emit(&mut self, op: impl Op, inputs: &[Value]) -> Result<Value> {
        Ok(self.apply(Arc::new(op), inputs)?[0])
    }

    fn push(&mut self, kind: NodeKind, inputs: Vec<Value>, types: Vec<TensorType>) -> NodeId {
        let (scope, location) = (self.scope.clone(), self.location);
        self.nodes.push(Node { kind, inputs, types, scope, location });
        NodeId(self.nodes.len() - 1)
    }

    /// A new graph with the same results, made by calling `rewrite` for every operation in order.
    ///
    /// `rewrite` gets the new graph, the old node and its inputs in the new graph, and gives the outputs' counterparts.
    /// Nodes that no result needs are left out, except leaves.
    ///
    /// # Errors
    /// What `rewrite` reports.
    pub fn rewrite(
        &self,
        mut rewrite: impl FnMut(&mut Graph, NodeId, &[Value]) -> Result<Vec<Value>>,
    ) -> Result<(Graph, HashMap<Value, Value>)> {
        let live = self.live();
        let mut graph = Graph::new();
        let mut map: HashMap<Value, Value> = HashMap::new();
        for (id, node) in self.nodes() {
            if !live[id.0] {
                continue;
            }
            graph.scope = node.scope.clone();
            graph.location = node.location;
            let outputs = match &node.kind {
                NodeKind::Leaf(leaf, name) => vec![graph.leaf(*leaf, name, node.types[0].clone())?],
                NodeKind::Op(_) => {
                    let inputs: Vec<Value> = node.inputs.iter().map(|v| map[v]).collect();
                    rewrite(&mut graph, id, &inputs)?
                }
            };
            for (output, value) in outputs.into_iter().enumerate() {
                map.insert(Value { node: id, output }, value);
            }
        }
        graph.scope = Arc::default();
        graph.location = None;
        graph.outputs = self.outputs.iter().map(|(name, v)| (name.clone(), map[v])).collect();
        graph.gradients = self.gradients.iter().map(|(name, v)| (name.clone(), map[v])).collect();
        graph.updates = self.updates.iter().map(|(leaf, name, v)| (*leaf, name.clone(), map[v])).collect();
        Ok((graph, map))
    }

    /// The values that the graph is computed for: outputs, gradients and updates.
    pub fn results(&self) -> impl Iterator<Item = Value> {
        self.outputs
            .iter()
            .map(|(_, v)| *v)
            .chain(self.gradients.iter().map(|(_, v)| *v))
            .chain(self.updates.iter().map(|(_, _, v)| *v))
    }

    /// For every node, whether a result needs it (leaves always count).
    pub fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        for value in self.results() {
            live[value.node.0] = true;
        }
        for (id, node) in self.nodes().rev() {
            if node.op().is_none() {
                live[id.0] = true;
            }
            if live[id.0] {
                node.inputs.iter().for_each(|input| live[input.node.0] = true);
            }
        }
        live
    }

    /// Checks the invariants: order, edges, and that every type is what the operation infers.
    ///
    /// # Errors
    /// Names the first node that breaks one.
    pub fn verify(&self) -> Result<()> {
        let fail = |id: NodeId, what: String| Err(Error::new(ErrorKind::Graph, format!("node %{}: {what}", id.0)));
        for (id, node) in self.nodes() {
            for input in &node.inputs {
                if input.node >= id {
                    return fail(id, format!("reads %{}, which comes later", input.node.0));
                }
                if input.output >= self.node(input.node).types.len() {
                    return fail(id, format!("reads output {} of %{}", input.output, input.node.0));
                }
            }
            if let Some(op) = node.op() {
                let inputs: Vec<TensorType> = node.inputs.iter().map(|&v| self.type_of(v).clone()).collect();
                let types = op.infer(&inputs)?;
                if types != node.types {
                    return fail(id, format!("{} gives {types:?}, the graph says {:?}", op.name(), node.types));
                }
            }
        }
        for (leaf, name, value) in &self.updates {
            let Some(&target) = self.leaves.get(&(*leaf, name.clone())) else {
                return Err(Error::new(ErrorKind::Graph, format!("an update of {name:?}, which the graph lacks")));
            };
            if self.node(target).types[0] != *self.type_of(*value) {
                return fail(value.node, format!("the update of {name:?} has another type"));
            }
        }
        Ok(())
    }
}
