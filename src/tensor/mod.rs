//! Symbolic tensors: the handle with which model code builds a graph.
//!
//! A [`Tensor`] is a node of a [`Trace`] with a known shape; it holds no numbers. Operators and methods add nodes. Shape
//! mistakes neither panic nor need a `?` on every line: the trace keeps the first error with the user's line, the result
//! is a stand-in of the rank it should have had (sizes 1), and compiling reports the error. Tracing touches no device.
//! Before: [`crate::ops`] emits the nodes. After: [`crate::program`] traces and compiles; [`crate::nn`] is written with
//! tensors alone.

mod methods;
mod mixed;
mod operators;
mod scope;

use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, Leaf, TensorType, Value};

pub use mixed::Precision;
pub use scope::{Init, Scope, Spec};

/// A computation under construction. Clones are the same trace.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    graph: Graph,
    error: Option<Error>,
    specs: Vec<Spec>,
    frozen: Vec<String>,
    training: bool,
    /// Data of inputs that are not given at every run.
    bound: Vec<(String, Array)>,
    precision: Precision,
    guards: Vec<mixed::Guard>,
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
    guards: Vec<mixed::Guard>,
}

/// A symbolic tensor: a value of a trace.
#[derive(Clone)]
pub struct Tensor {
    trace: Trace,
    value: Value,
    ty: TensorType,
}

/// The gradient of a scalar with respect to every trainable parameter.
pub struct Gradients {
    /// (name, parameter, gradient), in the order in which the backward pass completes them.
    pub entries: Vec<(String, Tensor, Tensor)>,
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

    /// Lets `new` be the value of a state or parameter from the next run on.
    #[track_caller]
    pub fn update(&self, state: &Tensor, new: &Tensor) {
        let (Some(state), Some(new)) = (self.own(state, Location::caller()), self.own(new, Location::caller())) else {
            return;
        };
        let mut inner = self.lock();
        let leaf = match &inner.graph.node(state.node).kind {
            crate::graph::NodeKind::Leaf(leaf @ (Leaf::State | Leaf::Parameter), name) => Some((*leaf, name.clone())),
            _ => None,
        };
        match leaf {
            Some((leaf, name)) if inner.graph.type_of(state) == inner.graph.type_of(new) => {
                inner.graph.updates.retain(|(l, n, _)| (*l, n) != (leaf, &name));
                inner.graph.updates.push((leaf, name, new));
            }
            Some((_, name)) => {
                let (old, new) = (inner.graph.type_of(state).clone(), inner.graph.type_of(new).clone());
                inner.keep(
                    Error::new(ErrorKind::Shape, format!("update of {name:?}: it is {old}, not {new}")),
                    Location::caller(),
                );
            }
            None => {
                let error = Error::new(ErrorKind::Graph, "update: the first tensor is neither a state nor a parameter");
                inner.keep(error, Location::caller());
            }
        }
    }

    /// The gradients of the scalar `loss` with respect to all parameters that are not frozen.
    #[track_caller]
    pub fn gradients(&self, loss: &Tensor) -> Gradients {
        let location = Location::caller();
        let Some(loss) = self.own(loss, location) else { return Gradients { entries: Vec::new() } };
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
        let gradients = match crate::autodiff::gradients(&mut inner.graph, loss, &wanted) {
            Ok(gradients) => gradients,
            Err(error) => {
                inner.keep(error, location);
                return Gradients { entries: Vec::new() };
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
            .collect();
        Gradients { entries }
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
                guards: inner.guards.clone(),
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
        let mut inner = self.lock();
        if !path.is_empty() && *inner.graph.scope != *path {
            inner.graph.scope = path.into();
        }
        inner.graph.location = Some(location);
        match build(&mut inner.graph) {
            Ok(value) => {
                let ty = inner.graph.type_of(value).clone();
                Tensor { trace: self.clone(), value, ty }
            }
            Err(error) => {
                inner.keep(error, location);
                drop(inner);
                self.stand_in(rank)
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
        let mut values = vec![self.value];
        for other in others {
            match self.trace.own(other, location) {
                Some(value) => values.push(value),
                None => return self.trace.stand_in(rank),
            }
        }
        self.trace.emit("", rank, location, |graph| build(graph, &values))
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
