//! Mixed precision: a graph of `f32` becomes one that stores what it can as `f16`.
//!
//! Products ([`Autocast::Half`]) get operands of `f16` and give `f16`; what follows them stays so as long as it is of modest
//! size ([`Autocast::Follow`]); everything else, first of all operations that nobody has thought about, computes and stores
//! `f32`. Arithmetic is that of `f32` throughout, so the gain is memory and its bandwidth. Parameters, states, inputs,
//! outputs and gradients keep their types, and nothing that depends on a gradient is touched: optimizers work in `f32`.
//!
//! It rewrites the whole graph, backward pass included, so emitters and gradient rules never meet a mixture of types.
//! Operations that are made of products ([`Autocast::Parts`]: attention, `einsum`, transposed convolutions) are taken apart
//! first, as they are where a gradient goes through their parts: forward and backward then store the same numbers.
//! Before: [`crate::autodiff`]. After: [`crate::simplify`].
//!
//! Source: Micikevicius et al., "Mixed precision training", 2018.

use std::collections::{HashMap, HashSet};

use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Autocast, Graph, Leaf, Lowering, Node, NodeId, NodeKind, Op, TensorType, Value};
use crate::ops::constant::Constant;

/// The largest number of `f16`.
const LARGEST: f64 = 65504.0;

/// `graph` in mixed precision.
///
/// # Errors
/// When an operation that asks for `f16` does not take it.
pub fn autocast(graph: &Graph) -> Result<Graph> {
    let graph = &taken_apart(graph)?;
    let mut pass = Pass { old: graph, light: light(graph), casts: HashMap::new() };
    let (behind, gradients) = (behind_gradients(graph), graph.gradients.iter().map(|(_, value)| *value));
    let gradients: HashSet<Value> = gradients.collect();
    let (mut mixed, _) = graph.rewrite(|new, id, inputs| {
        let op = graph.node(id).op().expect("only operations are rewritten");
        let class = if behind.contains(&id) { Autocast::Single } else { op.autocast() };
        let operands = pass.operands(new, id, inputs, class)?;
        let mut outputs = new.apply(op.clone(), &operands)?;
        if class == Autocast::Restore && inputs.first().is_some_and(|&first| new.type_of(first).dtype == DType::F16) {
            outputs[0] = pass.stored_as(new, outputs[0], DType::F16)?;
        }
        for (output, value) in outputs.iter_mut().enumerate() {
            if gradients.contains(&Value { node: id, output }) {
                *value = pass.stored_as(new, *value, graph.node(id).types[output].dtype)?;
            }
        }
        Ok(outputs)
    })?;
    // What is asked for has the type that it was asked for in.
    let wanted: Vec<DType> = graph.results().map(|value| graph.type_of(value).dtype).collect();
    let mut results = Vec::with_capacity(wanted.len());
    for (value, dtype) in mixed.results().collect::<Vec<Value>>().into_iter().zip(wanted) {
        results.push(pass.stored_as(&mut mixed, value, dtype)?);
    }
    let outputs = mixed.outputs.iter_mut().map(|(_, value)| value);
    let outputs = outputs.chain(mixed.gradients.iter_mut().map(|(_, value)| value));
    let outputs = outputs.chain(mixed.updates.iter_mut().map(|(_, _, value)| value));
    outputs.zip(results).for_each(|(value, result)| *value = result);
    Ok(mixed)
}

/// The graph without operations that are treated as their parts.
fn taken_apart(graph: &Graph) -> Result<Graph> {
    let mut graph = graph.clone();
    while graph.nodes().any(|(_, node)| node.op().is_some_and(|op| has_parts(&graph, node, op.as_ref()))) {
        let (apart, _) = graph.rewrite(|new, id, inputs| {
            let node = graph.node(id);
            let op = node.op().expect("only operations are rewritten");
            if has_parts(&graph, node, op.as_ref()) { op.decompose(new, inputs) } else { new.apply(op.clone(), inputs) }
        })?;
        graph = apart;
    }
    Ok(graph)
}

fn has_parts(graph: &Graph, node: &Node, op: &dyn Op) -> bool {
    let inputs: Vec<TensorType> = node.inputs.iter().map(|&v| graph.type_of(v).clone()).collect();
    op.autocast() == Autocast::Parts && matches!(op.lowering(&inputs, &node.types), Lowering::Decompose)
}

struct Pass<'a> {
    old: &'a Graph,
    light: HashSet<Value>,
    /// The conversions made so far: what was converted, and to what.
    casts: HashMap<(Value, DType), Value>,
}

impl Pass<'_> {
    /// The operands of a node in the new graph: those that were `f32` as its class wants them.
    fn operands(&mut self, new: &mut Graph, id: NodeId, inputs: &[Value], class: Autocast) -> Result<Vec<Value>> {
        let old = &self.old.node(id).inputs;
        let single = |input: &Value| self.old.type_of(*input).dtype == DType::F32;
        let half = |input: &Value| new.type_of(*input).dtype == DType::F16;
        let dtype = match class {
            Autocast::Single | Autocast::Restore | Autocast::Parts => DType::F32,
            Autocast::Half => DType::F16,
            Autocast::Follow => {
                let mut floats = old.iter().zip(inputs).filter(|(old, _)| single(old));
                let follows = floats.clone().any(|(_, new)| half(new));
                if follows && floats.all(|(old, new)| half(new) || self.light.contains(old)) {
                    DType::F16
                } else {
                    DType::F32
                }
            }
        };
        let singles: Vec<bool> = old.iter().map(single).collect();
        let operands = inputs.iter().zip(singles);
        operands.map(|(&value, single)| if single { self.stored_as(new, value, dtype) } else { Ok(value) }).collect()
    }

    /// The value as `dtype`, converted once for all that want it.
    fn stored_as(&mut self, new: &mut Graph, value: Value, dtype: DType) -> Result<Value> {
        if new.type_of(value).dtype == dtype {
            return Ok(value);
        }
        if let Some(&known) = self.casts.get(&(value, dtype)) {
            return Ok(known);
        }
        let cast = match constant(new, value) {
            // Not rounded: it is a number of the expression that it becomes a part of.
            Some(number) => new.emit(Constant { value: number, dtype, shape: new.shape(value).to_vec() }, &[])?,
            None => new.cast(value, dtype)?,
        };
        self.casts.insert((value, dtype), cast);
        Ok(cast)
    }
}

/// The number that a node without operands gives everywhere.
fn constant(graph: &Graph, value: Value) -> Option<f64> {
    let node = graph.node(value.node);
    node.op().filter(|_| node.inputs.is_empty()).and_then(|op| op.fold(&[]))
}

/// Values made of nothing but parameters and of constants that `f16` holds: they do as the activations that they meet.
fn light(graph: &Graph) -> HashSet<Value> {
    let mut light = HashSet::new();
    for (id, node) in graph.nodes() {
        let is_light = match &node.kind {
            NodeKind::Leaf(leaf, _) => *leaf == Leaf::Parameter,
            NodeKind::Op(_) if node.inputs.is_empty() => {
                constant(graph, Value { node: id, output: 0 }).is_some_and(|x| x.abs() <= LARGEST || !x.is_finite())
            }
            NodeKind::Op(op) => op.autocast() == Autocast::Follow && node.inputs.iter().all(|v| light.contains(v)),
        };
        if is_light {
            light.extend((0..node.types.len()).map(|output| Value { node: id, output }));
        }
    }
    light
}

/// The nodes that depend on a gradient of a parameter.
fn behind_gradients(graph: &Graph) -> HashSet<NodeId> {
    let gradients: HashSet<Value> = graph.gradients.iter().map(|(_, value)| *value).collect();
    let mut behind: HashSet<NodeId> = HashSet::new();
    for (id, node) in graph.nodes() {
        if node.inputs.iter().any(|v| gradients.contains(v) || behind.contains(&v.node)) {
            behind.insert(id);
        }
    }
    behind
}
