//! Graph → graph without changing a result: decomposition, constant folding, common subexpressions, dead code.
//!
//! Here operations that compute in `f32` alone ([`Autocast::Single`], which is what an operation is unless it says otherwise)
//! get their operands of `f16` widened and their results rounded, before they decompose.
//!
//! Before: tracing and [`crate::autodiff`]. After: [`crate::schedule`], which expects that every operation has work of its
//! own (no [`Lowering::Decompose`] is left).

use std::collections::HashMap;
use std::sync::Arc;

use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Autocast, Graph, Lowering, Node, NodeKind, Op, TensorType, Value};
use crate::ops::constant::Constant;

/// All passes, in order.
///
/// # Errors
/// When a decomposition fails.
pub fn simplify(graph: &Graph) -> Result<Graph> {
    let mut graph = graph.clone();
    while graph
        .nodes()
        .any(|(_, node)| node.op().is_some_and(|op| widens(&graph, node, op) || decomposes(&graph, node, op)))
    {
        graph = expand(&graph)?;
    }
    let graph = share(&graph)?;
    if cfg!(debug_assertions) {
        graph.verify()?;
    }
    Ok(graph)
}

/// Whether the operation computes in `f32` alone and has an operand of `f16`.
fn widens(graph: &Graph, node: &Node, op: &Arc<dyn Op>) -> bool {
    let single = match op.autocast() {
        Autocast::Single | Autocast::Restore => true,
        Autocast::Parts => !decomposes(graph, node, op),
        Autocast::Half | Autocast::Follow => false,
    };
    single && node.inputs.iter().any(|&v| graph.type_of(v).dtype == DType::F16)
}

/// The operation on widened operands, its results rounded to what they are in the graph.
fn widen(new: &mut Graph, node: &Node, op: &Arc<dyn Op>, inputs: &[Value]) -> Result<Vec<Value>> {
    let computed = |new: &mut Graph, &v: &Value| new.cast(v, new.type_of(v).dtype.computed());
    let inputs = inputs.iter().map(|v| computed(new, v)).collect::<Result<Vec<_>>>()?;
    let outputs = new.apply(op.clone(), &inputs)?;
    outputs.into_iter().zip(&node.types).map(|(output, ty)| new.cast(output, ty.dtype)).collect()
}

fn decomposes(graph: &Graph, node: &Node, op: &Arc<dyn Op>) -> bool {
    let inputs: Vec<TensorType> = node.inputs.iter().map(|&v| graph.type_of(v).clone()).collect();
    matches!(op.lowering(&inputs, &node.types), Lowering::Decompose)
}

/// Replaces operations by their decompositions, one level.
fn expand(graph: &Graph) -> Result<Graph> {
    let (expanded, _) = graph.rewrite(|new, id, inputs| {
        let node = graph.node(id);
        let op = node.op().expect("only operations are rewritten");
        if widens(graph, node, op) {
            widen(new, node, op, inputs)
        } else if decomposes(graph, node, op) {
            op.decompose(new, inputs)
        } else {
            new.apply(op.clone(), inputs)
        }
    })?;
    Ok(expanded)
}

/// Folds operations on constants, and makes equal operations on equal inputs one node.
fn share(graph: &Graph) -> Result<Graph> {
    let mut known: HashMap<(String, Vec<Value>), Vec<Value>> = HashMap::new();
    let mut constants: HashMap<Value, f64> = HashMap::new();
    let (shared, _) = graph.rewrite(|new, id, inputs| {
        let node = graph.node(id);
        let NodeKind::Op(op) = &node.kind else { unreachable!("only operations are rewritten") };
        let mut op = op.clone();
        let mut inputs = inputs.to_vec();
        let known_inputs: Option<Vec<f64>> = inputs.iter().map(|v| constants.get(v).copied()).collect();
        // Integers wrap; they are left to the device.
        let folded = known_inputs.filter(|_| node.types[0].dtype.is_float()).and_then(|values| op.fold(&values));
        if let Some(value) = folded {
            let TensorType { shape, dtype } = node.types[0].clone();
            op = Arc::new(Constant { value, dtype, shape });
            inputs.clear();
        }
        let key = (format!("{op:?}"), inputs.clone());
        if let Some(values) = known.get(&key) {
            return Ok(values.clone());
        }
        let values = new.apply(op, &inputs)?;
        if let Some(value) = folded {
            constants.insert(values[0], value);
        }
        known.insert(key, values.clone());
        Ok(values)
    })?;
    Ok(shared)
}
