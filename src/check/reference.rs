//! Runs a graph node by node with the operations' plain references: slow, and right by being readable.
//!
//! The precision of a run is one float type for the whole graph. In `f64` the rounding errors are so far below those of a
//! device that the result counts as exact; in `f32` it shows what rounding alone does.

use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Context, Error, ErrorKind, Result};
pub use crate::graph::Leaves;
use crate::graph::{Graph, Leaf, NodeKind, Value};

/// What a run computed: the array of every value that a result needed.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// A node's outputs; empty for what was not needed.
    values: Vec<Vec<Array>>,
    outputs: Vec<(String, Value)>,
    gradients: Vec<(String, Value)>,
    updates: Vec<(Leaf, String, Value)>,
}

/// Computes the results of `graph` (outputs, gradients, updates) from `leaves` in `precision`, `F32` or `F64`.
///
/// Every float is of that precision throughout, so that a constant or a cast of integers cannot bring in another one.
/// Nodes that no result needs are not computed, and leaves that none needs may be missing.
///
/// # Errors
/// A leaf that is missing or not of its type, what a reference reports, or a reference whose outputs are not those that
/// the graph says.
pub fn run(graph: &Graph, leaves: &Leaves, precision: DType) -> Result<Evaluation> {
    run_with(graph, leaves, precision, |_, array| Ok(array))
}

/// As [`run`], with every result of an operation replaced by what `change` makes of it before others read it.
///
/// # Errors
/// As [`run`], and what `change` reports.
pub fn run_with(
    graph: &Graph,
    leaves: &Leaves,
    precision: DType,
    change: impl Fn(Value, Array) -> Result<Array>,
) -> Result<Evaluation> {
    if !matches!(precision, DType::F32 | DType::F64) {
        return Err(Error::new(ErrorKind::Config, format!("the reference runs in f32 or f64, not in {precision}")));
    }
    let in_precision = |array: Array| if array.dtype().is_float() { array.cast(precision) } else { array };
    let live = graph.live();
    let mut values: Vec<Vec<Array>> = Vec::with_capacity(graph.len());
    for (id, node) in graph.nodes() {
        let arrays = match &node.kind {
            _ if !live[id.0] => Vec::new(),
            NodeKind::Leaf(leaf, name) => leaves.get(&(*leaf, name.clone())).cloned().into_iter().collect(),
            NodeKind::Op(op) => {
                let inputs = node.inputs.iter().map(|input| value(&values, graph, *input).cloned());
                op.reference(&inputs.collect::<Result<Vec<Array>>>()?).context(|| format!("%{} {op:?}", id.0))?
            }
        };
        // A leaf without data is reported where it is read.
        if !arrays.is_empty() || node.op().is_some() && live[id.0] {
            let found: Vec<_> = arrays.iter().map(|array| (array.shape(), kind(array.dtype()))).collect();
            let expected: Vec<_> = node.types.iter().map(|ty| (ty.shape.as_slice(), kind(ty.dtype))).collect();
            if found != expected {
                let what = match &node.kind {
                    NodeKind::Leaf(leaf, name) => format!("{leaf:?} {name:?}"),
                    NodeKind::Op(op) => format!("the reference of {op:?}"),
                };
                let message = format!("{what} gives {found:?}, the graph says {expected:?}");
                return Err(Error::new(ErrorKind::Graph, message));
            }
        }
        let computed = node.op().is_some();
        let changed = arrays.into_iter().enumerate().map(|(output, array)| {
            let array = in_precision(array);
            if computed { change(Value { node: id, output }, array) } else { Ok(array) }
        });
        values.push(changed.collect::<Result<Vec<Array>>>()?);
    }
    for result in graph.results() {
        value(&values, graph, result)?;
    }
    let (outputs, gradients, updates) = (graph.outputs.clone(), graph.gradients.clone(), graph.updates.clone());
    Ok(Evaluation { values, outputs, gradients, updates })
}

/// What must agree between an array and its type: all floats are alike, since the precision is the run's.
fn kind(dtype: DType) -> &'static str {
    if dtype.is_float() { "float" } else { dtype.wgsl() }
}

fn value<'a>(values: &'a [Vec<Array>], graph: &Graph, value: Value) -> Result<&'a Array> {
    values[value.node.0].get(value.output).ok_or_else(|| {
        let what = match &graph.node(value.node).kind {
            NodeKind::Leaf(leaf, name) => format!("{leaf:?} {name:?} was given no data"),
            NodeKind::Op(op) => format!("{value} of {op:?} was not computed"),
        };
        Error::new(ErrorKind::Graph, what)
    })
}

impl Evaluation {
    /// The array of a value of the graph, or `None` if no result needed it.
    pub fn value(&self, value: Value) -> Option<&Array> {
        self.values.get(value.node.0)?.get(value.output)
    }

    /// The array of a value that was asked for.
    ///
    /// # Errors
    /// When no result needed it.
    pub fn computed(&self, value: Value) -> Result<&Array> {
        let error =
            || Error::new(ErrorKind::Graph, format!("output {} of %{} was not computed", value.output, value.node.0));
        self.value(value).ok_or_else(error)
    }

    /// The output called `name`.
    ///
    /// # Errors
    /// When the graph has no such output.
    pub fn output(&self, name: &str) -> Result<&Array> {
        self.named(&self.outputs, "output", name)
    }

    /// All outputs, in the graph's order.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.outputs.iter().filter_map(|(name, value)| Some((name.as_str(), self.value(*value)?)))
    }

    /// The gradient of the parameter called `name`.
    ///
    /// # Errors
    /// When the graph has no gradient of that name.
    pub fn gradient(&self, name: &str) -> Result<&Array> {
        self.named(&self.gradients, "gradient", name)
    }

    /// All gradients, in the graph's order.
    pub fn gradients(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.gradients.iter().filter_map(|(name, value)| Some((name.as_str(), self.value(*value)?)))
    }

    /// The new value of the state or parameter called `name`.
    ///
    /// # Errors
    /// When the graph does not update it.
    pub fn update(&self, leaf: Leaf, name: &str) -> Result<&Array> {
        let mut updates = self.updates.iter().filter(|(of, ..)| *of == leaf);
        let found = updates.find(|(_, known, _)| known == name);
        found.and_then(|(.., value)| self.value(*value)).ok_or_else(|| absent("update", name))
    }

    /// All updates, in the graph's order.
    pub fn updates(&self) -> impl Iterator<Item = (Leaf, &str, &Array)> {
        self.updates.iter().filter_map(|(leaf, name, value)| Some((*leaf, name.as_str(), self.value(*value)?)))
    }

    fn named(&self, results: &[(String, Value)], what: &str, name: &str) -> Result<&Array> {
        let found = results.iter().find(|(known, _)| known == name);
        found.and_then(|(_, value)| self.value(*value)).ok_or_else(|| absent(what, name))
    }
}

fn absent(what: &str, name: &str) -> Error {
    Error::new(ErrorKind::Graph, format!("the graph has no {what} {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::TensorType;

    fn graph() -> (Graph, Value, Leaves) {
        let mut graph = Graph::new();
        let x = graph.leaf(Leaf::Input, "x", TensorType::new(DType::F32, [2])).unwrap();
        let leaves = Leaves::from([((Leaf::Input, "x".to_owned()), Array::new(&[2], vec![1f32, 3.0]).unwrap())]);
        (graph, x, leaves)
    }

    #[test]
    fn one_precision_holds_from_leaves_to_results() {
        let (mut graph, x, leaves) = graph();
        let third = graph.scale(x, 1.0 / 3.0).unwrap();
        let above = graph.constant(1.5, DType::F32).and_then(|c| graph.elementwise("gt", &[x, c], &[])).unwrap();
        let counted = graph.cast(above, DType::F32).and_then(|c| graph.add(c, third)).unwrap();
        graph.outputs.push(("y".to_owned(), counted));
        let double = run(&graph, &leaves, DType::F64).unwrap();
        assert_eq!(*double.output("y").unwrap(), Array::new(&[2], vec![1.0 / 3.0, 2.0]).unwrap());
        let single = run(&graph, &leaves, DType::F32).unwrap();
        assert_eq!(*single.output("y").unwrap(), Array::new(&[2], vec![1.0f32 / 3.0, 2.0]).unwrap());
        assert_eq!(single.value(above), Some(&Array::new(&[2], vec![0u32, 1]).unwrap()));
    }

    #[test]
    fn results_are_found_by_name_and_the_rest_is_not_computed() {
        let (mut graph, x, leaves) = graph();
        graph.leaf(Leaf::State, "unused", TensorType::new(DType::F32, [])).unwrap();
        let (dead, live) = (graph.unary("exp", x).unwrap(), graph.unary("neg", x).unwrap());
        graph.gradients.push(("weight".to_owned(), live));
        graph.updates.push((Leaf::Parameter, "weight".to_owned(), live));
        let evaluation = run(&graph, &leaves, DType::F64).unwrap();
        assert!(evaluation.value(dead).is_none());
        assert_eq!(evaluation.gradient("weight").unwrap(), evaluation.update(Leaf::Parameter, "weight").unwrap());
        assert_eq!(
            (evaluation.gradients().count(), evaluation.updates().count(), evaluation.outputs().count()),
            (1, 1, 0)
        );
        assert!(evaluation.output("weight").unwrap_err().to_string().contains("no output \"weight\""));
        assert!(evaluation.update(Leaf::State, "weight").is_err());
    }

    #[test]
    fn missing_and_wrong_leaves_are_named() {
        let (mut graph, x, mut leaves) = graph();
        graph.outputs.push(("y".to_owned(), x));
        let error = |leaves: &Leaves| run(&graph, leaves, DType::F64).unwrap_err().to_string();
        assert!(error(&Leaves::new()).contains("Input \"x\" was given no data"));
        leaves.insert((Leaf::Input, "x".to_owned()), Array::zeros(&[3], DType::F32));
        assert!(error(&leaves).contains("Input \"x\" gives [([3], \"float\")]"), "{}", error(&leaves));
        leaves.insert((Leaf::Input, "x".to_owned()), Array::zeros(&[2], DType::U32));
        assert!(error(&leaves).contains("u32"));
        assert!(run(&graph, &leaves, DType::F16).unwrap_err().to_string().contains("not in f16"));
    }
}
