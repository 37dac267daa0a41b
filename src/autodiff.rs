//! Gradients: a graph gets the nodes that compute them.
//!
//! Reverse mode over graph nodes. The walker goes back from a scalar, asks every operation's rule for the gradients of
//! its inputs, sums what several consumers contribute, and undoes broadcasting. The result is ordinary nodes, so a
//! gradient can be differentiated again.
//!
//! Gradient checkpointing: where the walker enters a block that [`Graph::recomputed`] names, it copies the block's nodes, and
//! the rules read the copies. Nothing on the way back then needs what the block computed on the way forward, so that memory
//! is free in between; only what flows into the block is kept. Before: [`crate::ops`] defines the rules. After:
//! [`crate::simplify`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::graph::{Backward, Gradient, Graph, Leaf, NodeId, NodeKind, Value};
use crate::ops::recompute::Recompute;

/// Adds to `graph` the gradients of the scalar `loss` with respect to each of `wanted`.
///
/// Gives one value for each of `wanted`, of the same shape; zeros where the loss does not depend on it.
///
/// # Errors
/// When `loss` is not a float scalar, or an operation on the way has no gradient.
pub fn gradients(graph: &mut Graph, loss: Value, wanted: &[Value]) -> Result<Vec<Value>> {
    let ty = graph.type_of(loss).clone();
    if ty.len() != 1 || !ty.dtype.is_float() {
        return Err(Error::new(
            ErrorKind::Gradient,
            format!("gradients are taken of a float scalar, this is {ty}; reduce it first, for example with mean()"),
        ));
    }
    let gradients = walk(graph, loss, wanted)?;
    let mut results = Vec::with_capacity(wanted.len());
    for value in wanted {
        let ty = graph.type_of(*value).clone();
        results.push(match gradients.get(value) {
            Some(&gradient) => gradient,
            None => graph.full(&ty.shape, 0.0, ty.dtype)?,
        });
    }
    Ok(results)
}

/// The gradient of every value between `wanted` and `loss`.
fn walk(graph: &mut Graph, loss: Value, wanted: &[Value]) -> Result<HashMap<Value, Value>> {
    let mut accumulated: HashMap<Value, Value> = HashMap::new();
    let ty = graph.type_of(loss).clone();
    let (scope, location) = (graph.scope.clone(), graph.location);
    let seed = graph.full(&ty.shape, 1.0, ty.dtype)?;
    accumulated.insert(loss, seed);
    let traced = graph.len();
    let needed = between(graph, loss, wanted);
    let mut order: Vec<NodeId> = needed.iter().copied().collect();
    order.sort_unstable();
    let mut copies = Copies::default();
    while let Some(id) = order.pop() {
        let outputs = graph.node(id).types.len();
        let values = (0..outputs).map(|output| Value { node: id, output });
        let output_gradients: Vec<Option<Value>> = values.map(|v| accumulated.get(&v).copied()).collect();
        if output_gradients.iter().all(Option::is_none) {
            continue;
        }
        let Some(op) = graph.node(id).op().cloned() else { continue };
        let inputs = graph.node(id).inputs.clone();
        // What contributions are for: the values of the way forward, also where a rule reads their copies.
        let targets: Vec<Value> = inputs.iter().map(|v| copies.original(*v)).collect();
        // Nodes of a decomposition are younger than `needed` and always count.
        let leads_on = |v: &Value| v.node.0 >= traced || needed.contains(&v.node);
        let wanted: Vec<bool> = targets.iter().map(|v| graph.type_of(*v).dtype.is_float() && leads_on(v)).collect();
        if !wanted.contains(&true) {
            continue;
        }
        graph.scope = graph.node(id).scope.clone();
        graph.location = graph.node(id).location;
        let id = copies.of(graph, id, traced)?;
        let inputs = graph.node(id).inputs.clone();
        match op.gradient() {
            Gradient::Zero => {}
            Gradient::None(reason) => {
                return Err(Error::new(ErrorKind::Gradient, format!("{} has no gradient: {reason}", op.name())));
            }
            Gradient::Decompose => {
                // The smaller operations compute the same outputs again from the same inputs; the gradient goes through
                // them. Common-subexpression elimination cannot merge the two forms, so such operations stay rare.
                let first = graph.len();
                let parts = op.decompose(graph, &inputs)?;
                for (part, gradient) in parts.into_iter().zip(output_gradients) {
                    if let Some(gradient) = gradient {
                        add_to(graph, &mut accumulated, part, gradient)?;
                    }
                }
                order.extend((first..graph.len()).map(NodeId));
            }
            Gradient::Rule(rule) => {
                let mut backward = Backward::new(graph, id, output_gradients, wanted.clone());
                rule(&mut backward)?;
                let contributions = backward.finish();
                for ((input, contribution), wanted) in targets.into_iter().zip(contributions).zip(wanted) {
                    if let Some(gradient) = contribution.filter(|_| wanted) {
                        let shape = graph.shape(input).to_vec();
                        let gradient = graph.sum_to(gradient, &shape);
                        let gradient = gradient.context(|| format!("the gradient rule of {}", op.name()))?;
                        add_to(graph, &mut accumulated, input, gradient)?;
                    }
                }
            }
        }
    }
    graph.scope = scope;
    graph.location = location;
    Ok(accumulated)
}

/// The nodes of recomputed blocks, once more.
#[derive(Default)]
struct Copies {
    /// The copy of every node of the blocks that the walker has entered.
    nodes: HashMap<NodeId, NodeId>,
    originals: HashMap<Value, Value>,
}

impl Copies {
    /// The value of the way forward that `value` copies; itself if it is none.
    fn original(&self, value: Value) -> Value {
        self.originals.get(&value).copied().unwrap_or(value)
    }

    /// The node whose values the gradient rule of `id` may read: its copy if its block is recomputed.
    fn of(&mut self, graph: &mut Graph, id: NodeId, traced: usize) -> Result<NodeId> {
        let scope = &graph.node(id).scope;
        let Some(block) = graph.recomputed.iter().find(|block| is_within(scope, block)).cloned() else { return Ok(id) };
        if id.0 < traced && !self.nodes.contains_key(&id) {
            self.copy_block(graph, &block, traced)?;
        }
        Ok(self.nodes.get(&id).copied().unwrap_or(id))
    }

    /// Copies all nodes of `block`. Those that no rule reads are dead code.
    fn copy_block(&mut self, graph: &mut Graph, block: &Arc<str>, traced: usize) -> Result<()> {
        let (scope, location) = (graph.scope.clone(), graph.location);
        let members: Vec<NodeId> =
            graph.nodes().take(traced).filter(|(_, n)| is_within(&n.scope, block)).map(|(id, _)| id).collect();
        let mut kept: HashMap<Value, Value> = HashMap::new();
        for id in members {
            let node = graph.node(id).clone();
            let NodeKind::Op(op) = node.kind else { continue };
            (graph.scope, graph.location) = (node.scope, node.location);
            let mut inputs = node.inputs;
            for input in &mut inputs {
                let original = *input;
                *input = match (self.nodes.get(&original.node), &graph.node(original.node).kind) {
                    (Some(&node), _) => Value { node, ..original },
                    // Parameters are in memory anyway.
                    (None, NodeKind::Leaf(Leaf::Parameter | Leaf::State, _)) => original,
                    (None, _) => match kept.get(&original) {
                        Some(&known) => known,
                        None => {
                            let mark = graph.emit(Recompute { block: block.to_string() }, &[original])?;
                            kept.insert(original, mark);
                            self.originals.insert(mark, original);
                            mark
                        }
                    },
                };
            }
            let outputs = graph.apply(op, &inputs)?;
            self.nodes.insert(id, outputs[0].node);
            let originals = outputs.iter().map(|copy| (*copy, Value { node: id, output: copy.output }));
            self.originals.extend(originals);
        }
        (graph.scope, graph.location) = (scope, location);
        Ok(())
    }
}

/// Whether `scope` is `block` or below it.
fn is_within(scope: &str, block: &str) -> bool {
    scope.strip_prefix(block).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn add_to(graph: &mut Graph, accumulated: &mut HashMap<Value, Value>, value: Value, gradient: Value) -> Result<()> {
    let total = match accumulated.get(&value) {
        Some(&sum) => graph.add(sum, gradient)?,
        None => gradient,
    };
    accumulated.insert(value, total);
    Ok(())
}

/// The nodes between `wanted` and `loss`: those that depend on one of `wanted` through floats and that the loss depends on.
fn between(graph: &Graph, loss: Value, wanted: &[Value]) -> HashSet<NodeId> {
    let mut depends: HashSet<NodeId> = wanted.iter().map(|v| v.node).collect();
    for (id, node) in graph.nodes() {
        let carries = |v: &Value| depends.contains(&v.node) && graph.type_of(*v).dtype.is_float();
        if node.inputs.iter().any(carries) {
            depends.insert(id);
        }
    }
    let mut reached = HashSet::new();
    let mut stack = vec![loss.node];
    while let Some(id) = stack.pop() {
        if depends.contains(&id) && reached.insert(id) {
            stack.extend(graph.node(id).inputs.iter().map(|input| input.node));
        }
    }
    reached
}
