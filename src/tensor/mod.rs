//! Symbolic tensors: the handle with which model code builds a graph.
//!
//! A [`Tensor`] is a node of a [`Trace`] with a known shape; it holds no numbers. Operators and methods add nodes. Shape
//! mistakes neither panic nor need a `?` on every line: the trace keeps the first error with the user's line, the result
//! is a stand-in of the rank it should have had (sizes 1), and compiling reports the error. Tracing touches no device.
//! Before: [`crate::ops`] emits the nodes. After: [`crate::program`] traces and compiles; [`crate::nn`] is written with
//! tensors alone.

mod attention;
mod convolutions;
mod functions;
mod gradients;
mod images;
mod indexing;
mod init;
mod losses;
mod methods;
mod mixed;
mod norms;
mod operators;
mod reductions;
mod scope;
mod updates;

use std::collections::BTreeSet;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, Leaf, TensorType, Value};

pub use gradients::{Gradients, Treatment};
pub use init::{Fan, Init, Nonlinearity};
pub use mixed::Precision;
pub use reductions::KeepDims;
pub use scope::{AVERAGE, AVERAGE_STEPS, Scope, Spec};

/// A computation under construction. Clones are the same trace.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    graph: Graph,
    error: Option<Error>,
    specs: Vec<Spec>,
    frozen: Vec<String>,
    /// Patterns of blocks that the backward pass computes again.
    checkpoints: Vec<String>,
    training: bool,
    /// Whether parameters are read from their averages.
    averaged: bool,
    /// What must hold for updates to happen; each includes those before it.
    conditions: Vec<Value>,
    /// Data of inputs that are not given at every run.
    bound: Vec<(String, Array)>,
    precision: Precision,
    /// How often each path asked for random numbers.
    draws: std::collections::HashMap<String, u32>,
}

/// What a trace has collected.
pub struct Traced {
    /// The graph.
    pub graph: Graph,
    /// The parameters and states it uses.
    pub specs: Vec<Spec>,
    /// The data of inputs that are not given at every run.
    pub bound: Vec<(String, Array)>,
    precision: Precision,
}

/// A symbolic tensor: a value of a trace.
#[derive(Clone)]
pub struct Tensor {
    trace: Trace,
    value: Value,
    ty: TensorType,
}

impl Default for Trace {
    fn default() -> Self {
        Trace::new(false, Vec::new())
    }
}

impl Trace {
    /// An empty trace; `training` is what [`Scope::training`] says, `frozen` are patterns of parameters without gradients.
    pub fn new(training: bool, frozen: Vec<String>) -> Self {
        Trace(Arc::new(Mutex::new(Inner { training, frozen, ..Inner::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in user code while tracing leaves a consistent graph behind.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Lets parameters that are declared from now on be read from their averages ([`crate::optim::Averaged`]).
    pub fn use_averages(&self) {
        self.lock().averaged = true;
        self.scope().shared_state(AVERAGE_STEPS, &[], DType::U32, Init::Constant(0.0));
    }

    /// All parameters so far, by the order in which they were declared.
    pub(crate) fn parameters(&self) -> Vec<(String, Tensor)> {
        let inner = self.lock();
        let tensor = |value: Value| Tensor { trace: self.clone(), value, ty: inner.graph.type_of(value).clone() };
        inner.graph.leaves(Leaf::Parameter).map(|(name, value)| (name.to_owned(), tensor(value))).collect()
    }

    /// What the first operation of this name gives, and the scope that it is in.
    pub(crate) fn first_result(&self, operation: &str) -> Option<(String, Tensor)> {
        let inner = self.lock();
        let (node, first) = inner.graph.nodes().find(|(_, node)| node.op().is_some_and(|op| op.name() == operation))?;
        let tensor = Tensor { trace: self.clone(), value: Value { node, output: 0 }, ty: first.types[0].clone() };
        Some((first.scope.to_string(), tensor))
    }

    /// Asks the store to keep parameters of one `group` next to each other in memory, so that one step can update them.
    /// Parameters that an earlier program has placed stay where they are.
    pub(crate) fn place_together(&self, group: impl Fn(&str) -> usize) {
        let place = |spec: &Spec| (spec.leaf == Leaf::Parameter).then(|| group(&spec.name));
        self.lock().specs.sort_by_key(place);
    }

    /// The scope at the top, where names start.
    pub fn scope(&self) -> Scope {
        Scope::root(self.clone())
    }

    /// A tensor that is given at every run. Names that start with a dot are the trace's own.
    #[track_caller]
    pub fn input(&self, name: &str, shape: &[usize], dtype: DType) -> Tensor {
        if name.starts_with('.') {
            let text = format!("input {name:?}: names that start with a dot are reserved; use another");
            self.fail(Error::new(ErrorKind::Graph, text), Location::caller());
        }
        self.leaf(name, shape, dtype, Location::caller())
    }

    fn leaf(&self, name: &str, shape: &[usize], dtype: DType, location: &'static Location<'static>) -> Tensor {
        let ty = TensorType::new(dtype, shape);
        self.emit("", shape.len(), location, |graph| graph.leaf(Leaf::Input, name, ty))
    }

    /// A tensor with this data.
    #[track_caller]
    pub fn data(&self, array: &Array) -> Tensor {
        let name = {
            let mut inner = self.lock();
            // A name that no input of a user has: they are not empty before the dot.
            let name = format!(".data{}", inner.bound.len());
            inner.bound.push((name.clone(), array.clone()));
            name
        };
        self.leaf(&name, array.shape(), array.dtype(), Location::caller())
    }

    /// A scalar constant.
    #[track_caller]
    pub fn constant(&self, value: f64, dtype: DType) -> Tensor {
        self.emit("", 0, Location::caller(), |graph| graph.constant(value, dtype))
    }

    /// Asks for `tensor` as the named result of a run.
    #[track_caller]
    pub fn output(&self, name: &str, tensor: &Tensor) {
        if let Some(value) = self.own(tensor, Location::caller()) {
            let mut inner = self.lock();
            if inner.graph.outputs.iter().any(|(known, _)| known == name) {
                let error = Error::new(ErrorKind::Graph, format!("two outputs are named {name:?}"));
                inner.keep(error, Location::caller());
                return;
            }
            inner.graph.outputs.push((name.to_owned(), value));
        }
    }

    /// Lets the backward pass compute the blocks whose names fit `pattern` (`*` stands for any text) again, instead of
    /// keeping what they computed: less memory for a second forward pass of those blocks (gradient checkpointing). The name
    /// of a block is the path of its scope; what is kept is what flows into it. Say it before asking for gradients.
    pub fn checkpoint(&self, pattern: &str) {
        self.lock().checkpoints.push(pattern.to_owned());
    }

    /// The gradients of the scalar `loss` with respect to all parameters that are not frozen.
    #[track_caller]
    pub fn gradients(&self, loss: &Tensor) -> Gradients {
        let location = Location::caller();
        let Some(loss) = self.own(loss, location) else { return Vec::new().into() };
        let mut inner = self.lock();
        let frozen = std::mem::take(&mut inner.frozen);
        let parameters: Vec<(String, Value)> = inner
            .graph
            .leaves(Leaf::Parameter)
            .filter(|(name, _)| !frozen.iter().any(|pattern| matches(pattern, name)))
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        inner.frozen = frozen;
        let wanted: Vec<Value> = parameters.iter().map(|(_, value)| *value).collect();
        inner.choose_recomputed(location);
        let gradients = match crate::autodiff::gradients(&mut inner.graph, loss, &wanted) {
            Ok(gradients) => gradients,
            Err(error) => {
                inner.keep(error, location);
                return Vec::new().into();
            }
        };
        let mut named: Vec<(String, Value, Value)> =
            parameters.into_iter().zip(gradients).map(|((name, value), gradient)| (name, value, gradient)).collect();
        named.sort_by_key(|(_, _, gradient)| gradient.node);
        inner.graph.gradients = named.iter().map(|(name, _, gradient)| (name.clone(), *gradient)).collect();
        let tensor =
            |inner: &Inner, value: Value| Tensor { trace: self.clone(), value, ty: inner.graph.type_of(value).clone() };
        let entries = named
            .into_iter()
            .map(|(name, value, gradient)| (name, tensor(&inner, value), tensor(&inner, gradient)))
            .collect::<Vec<_>>();
        entries.into()
    }

    /// The gradient of the scalar `loss` with respect to each of `wanted`; it can be differentiated again.
    #[track_caller]
    pub fn gradient(&self, loss: &Tensor, wanted: &[&Tensor]) -> Vec<Tensor> {
        let location = Location::caller();
        let stand_ins = || wanted.iter().map(|t| self.stand_in(t.shape().len())).collect();
        let values: Option<Vec<Value>> = wanted.iter().map(|t| self.own(t, location)).collect();
        let (Some(loss), Some(values)) = (self.own(loss, location), values) else { return stand_ins() };
        let mut inner = self.lock();
        match crate::autodiff::gradients(&mut inner.graph, loss, &values) {
            Ok(gradients) => gradients
                .into_iter()
                .map(|value| Tensor { trace: self.clone(), value, ty: inner.graph.type_of(value).clone() })
                .collect(),
            Err(error) => {
                inner.keep(error, location);
                drop(inner);
                stand_ins()
            }
        }
    }

    /// What was collected.
    ///
    /// # Errors
    /// The first mistake made while tracing, with its line.
    pub fn finish(&self) -> Result<Traced> {
        let inner = self.lock();
        match &inner.error {
            Some(error) => Err(error.clone()),
            None => Ok(Traced {
                graph: inner.graph.clone(),
                specs: inner.specs.clone(),
                bound: inner.bound.clone(),
                precision: inner.precision,
            }),
        }
    }

    /// Adds a node in scope `path`; on an error keeps it and gives a stand-in of `rank` axes.
    fn emit(
        &self,
        path: &str,
        rank: usize,
        location: &'static Location<'static>,
        build: impl FnOnce(&mut Graph) -> Result<Value>,
    ) -> Tensor {
        let [tensor] = self.emit_several(path, [rank], location, |graph| Ok([build(graph)?]));
        tensor
    }

    /// As [`Trace::emit`], for the outputs of a node that has several.
    fn emit_several<const N: usize>(
        &self,
        path: &str,
        ranks: [usize; N],
        location: &'static Location<'static>,
        build: impl FnOnce(&mut Graph) -> Result<[Value; N]>,
    ) -> [Tensor; N] {
        let mut inner = self.lock();
        if !path.is_empty() && *inner.graph.scope != *path {
            inner.graph.scope = path.into();
        }
        inner.graph.location = Some(location);
        match build(&mut inner.graph) {
            Ok(values) => values.map(|value| {
                let ty = inner.graph.type_of(value).clone();
                Tensor { trace: self.clone(), value, ty }
            }),
            Err(error) => {
                inner.keep(error, location);
                drop(inner);
                ranks.map(|rank| self.stand_in(rank))
            }
        }
    }

    /// A tensor of `rank` axes of extent 1, in place of one that could not be made.
    fn stand_in(&self, rank: usize) -> Tensor {
        let mut inner = self.lock();
        let value = inner
            .graph
            .full(&vec![1; rank], 0.0, DType::F32)
            .unwrap_or(Value { node: crate::graph::NodeId(0), output: 0 });
        Tensor { trace: self.clone(), value, ty: TensorType::new(DType::F32, vec![1; rank]) }
    }

    /// The value of a tensor of this trace; one of another trace is kept as an error.
    fn own(&self, tensor: &Tensor, location: &'static Location<'static>) -> Option<Value> {
        if Arc::ptr_eq(&self.0, &tensor.trace.0) {
            return Some(tensor.value);
        }
        let error = Error::new(ErrorKind::Graph, "a tensor of another trace; build everything inside one program");
        self.lock().keep(error, location);
        None
    }

    /// Keeps an error that happened outside of a node.
    pub(crate) fn fail(&self, error: Error, location: &'static Location<'static>) {
        self.lock().keep(error, location);
    }
}

impl Inner {
    /// Keeps the first error, with the scope and the line.
    fn keep(&mut self, error: Error, location: &'static Location<'static>) {
        if self.error.is_none() {
            let scope = if self.graph.scope.is_empty() { String::new() } else { format!("{}, ", self.graph.scope) };
            self.error = Some(error.context(format!("{scope}{}:{}", location.file(), location.line())));
        }
    }
}

impl Inner {
    /// Finds the blocks that are computed again, outer ones first. A pattern that fits none is a mistake.
    fn choose_recomputed(&mut self, location: &'static Location<'static>) {
        let scopes: BTreeSet<&str> = self.graph.nodes().map(|(_, node)| &*node.scope).collect();
        let ends = |scope: &str| -> Vec<usize> {
            scope.match_indices('.').map(|(dot, _)| dot).chain((!scope.is_empty()).then_some(scope.len())).collect()
        };
        let blocks: BTreeSet<&str> =
            scopes.iter().flat_map(|scope| ends(scope).into_iter().map(|end| &scope[..end])).collect();
        let mut chosen: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut mistake = None;
        for pattern in &self.checkpoints {
            let fitting = blocks.iter().filter(|block| matches(pattern, block));
            let before = chosen.len();
            chosen.extend(fitting.clone().map(|block| Arc::from(*block)));
            if chosen.len() == before && fitting.count() == 0 {
                let known: Vec<&str> = blocks.iter().copied().take(12).collect();
                let text = format!("checkpoint {pattern:?}: no block has such a name; there are {}", known.join(", "));
                mistake = Some(Error::new(ErrorKind::Config, text));
            }
        }
        self.graph.recomputed = chosen.into_iter().collect();
        if let Some(error) = mistake {
            self.keep(error, location);
        }
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for any text.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((prefix, rest)) => name.strip_prefix(prefix).is_some_and(|tail| {
            (0..=tail.len()).filter(|&i| tail.is_char_boundary(i)).any(|i| matches(rest, &tail[i..]))
        }),
    }
}

impl Tensor {
    /// The extents.
    pub fn shape(&self) -> &[usize] {
        &self.ty.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.ty.dtype
    }

    /// The trace it belongs to.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The value in the graph.
    pub fn value(&self) -> Value {
        self.value
    }

    /// Adds a node on this tensor and `others`; `rank` is what the result should have.
    fn apply(
        &self,
        others: &[&Tensor],
        rank: usize,
        location: &'static Location<'static>,
        build: impl FnOnce(&mut Graph, &[Value]) -> Result<Value>,
    ) -> Tensor {
        let [tensor] = self.apply_several(others, [rank], location, |graph, values| Ok([build(graph, values)?]));
        tensor
    }

    /// As [`Tensor::apply`], for the outputs of a node that has several.
    fn apply_several<const N: usize>(
        &self,
        others: &[&Tensor],
        ranks: [usize; N],
        location: &'static Location<'static>,
        build: impl FnOnce(&mut Graph, &[Value]) -> Result<[Value; N]>,
    ) -> [Tensor; N] {
        let mut values = vec![self.value];
        for other in others {
            match self.trace.own(other, location) {
                Some(value) => values.push(value),
                None => return ranks.map(|rank| self.trace.stand_in(rank)),
            }
        }
        self.trace.emit_several("", ranks, location, |graph| build(graph, &values))
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({} {})", self.value, self.ty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_paths() {
        assert!(matches("stage1.*", "stage1.conv.weight"));
        assert!(matches("*.bias", "a.b.bias"));
        assert!(matches("a.*.b", "a.x.y.b"));
        assert!(!matches("stage1.*", "stage2.conv"));
        assert!(!matches("a", "ab"));
    }

    #[test]
    fn the_first_mistake_is_kept_with_its_line() {
        let trace = Trace::default();
        let a = trace.input("a", &[2, 3], DType::F32);
        let b = trace.input("b", &[4, 5], DType::F32);
        let line = line!() + 1;
        let c = a.matmul(&b);
        assert_eq!(c.shape(), [1, 1], "a stand-in of the right rank");
        let _ = &c + &b.reshape(&[7]);
        let error = trace.finish().err().expect("the mistake is reported").to_string();
        assert!(error.contains(&format!("{}:{line}", file!())) && error.contains("matmul"), "{error}");
    }

    #[test]
    fn traces_do_not_mix() {
        let (one, two) = (Trace::default(), Trace::default());
        let sum = one.input("x", &[2], DType::F32) + two.input("x", &[2], DType::F32);
        assert_eq!(sum.shape(), [1]);
        assert!(one.finish().err().expect("an error").to_string().contains("another trace"));
    }
}
