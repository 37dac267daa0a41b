//! Where parameters get their names and initial values.

use std::panic::Location;

use super::{Init, Tensor, Trace};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind};
use crate::graph::{Leaf, TensorType};

/// The companions that hold the averages of parameters over the steps of their training are called `average/…`.
pub const AVERAGE: &str = "average";
/// The state that holds the number of steps in the averages.
pub const AVERAGE_STEPS: &str = "average.steps";

/// A parameter or state that a trace uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Parameter or state.
    pub leaf: Leaf,
    /// The full name.
    pub name: String,
    /// The type.
    pub ty: TensorType,
    /// Initial values.
    pub init: Init,
    /// The parameter at whose offset this state is kept (an optimizer's moments).
    pub companion: Option<String>,
}

/// A place in the tree of names.
#[derive(Clone)]
pub struct Scope {
    trace: Trace,
    path: String,
}

impl Scope {
    pub(super) fn root(trace: Trace) -> Self {
        Scope { trace, path: String::new() }
    }

    /// The scope `name` below this one.
    #[must_use]
    pub fn enter(&self, name: &str) -> Scope {
        let scope = Scope { trace: self.trace.clone(), path: self.full(name) };
        self.trace.lock().graph.scope = scope.path.as_str().into();
        scope
    }

    /// Says that nodes from here on belong to this scope again, after one below it was entered: their labels and errors
    /// name it.
    pub fn resume(&self) {
        self.trace.lock().graph.scope = self.path.as_str().into();
    }

    /// Lets the backward pass compute what is made in this scope and below again; see [`Trace::checkpoint`].
    pub fn checkpoint(&self) {
        self.trace.checkpoint(&self.path);
    }

    /// The path: the names of all scopes above, joined by dots.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The trace.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Whether the program trains: dropout drops, batch norm uses the batch.
    pub fn training(&self) -> bool {
        self.trace.lock().training
    }

    fn full(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A new parameter `path.name`. A name used twice is an error; see [`Scope::shared`].
    #[track_caller]
    pub fn param(&self, name: &str, shape: &[usize], init: Init) -> Tensor {
        self.declare(Leaf::Parameter, name, TensorType::new(DType::F32, shape), init, None, false)
    }

    /// The parameter `path.name`, which may have been made before with the same shape.
    #[track_caller]
    pub fn shared(&self, name: &str, shape: &[usize], init: Init) -> Tensor {
        self.declare(Leaf::Parameter, name, TensorType::new(DType::F32, shape), init, None, true)
    }

    /// A value that is kept between runs: a running statistic, a counter. It changes by [`Trace::update`].
    #[track_caller]
    pub fn state(&self, name: &str, shape: &[usize], dtype: DType, init: Init) -> Tensor {
        self.declare(Leaf::State, name, TensorType::new(dtype, shape), init, None, false)
    }

    /// A state that may have been made before with the same type.
    #[track_caller]
    pub fn shared_state(&self, name: &str, shape: &[usize], dtype: DType, init: Init) -> Tensor {
        self.declare(Leaf::State, name, TensorType::new(dtype, shape), init, None, true)
    }

    /// A state of the same shape as the parameter called `parameter`, kept at the same offset of an arena of its own, so
    /// that all of them are updated together: an optimizer's moment. Its name is `path.name/parameter`.
    #[track_caller]
    pub fn companion(&self, name: &str, parameter: &str, shape: &[usize]) -> Tensor {
        self.companion_of(name, parameter, shape, 0.0)
    }

    /// As [`Scope::companion`], with every element `initial` at first.
    #[track_caller]
    pub fn companion_of(&self, name: &str, parameter: &str, shape: &[usize], initial: f64) -> Tensor {
        let ty = TensorType::new(DType::F32, shape);
        let name = format!("{name}/{parameter}");
        self.declare(Leaf::State, &name, ty, Init::Constant(initial), Some(parameter.to_owned()), false)
    }

    #[track_caller]
    fn declare(
        &self,
        leaf: Leaf,
        name: &str,
        ty: TensorType,
        init: Init,
        companion: Option<String>,
        shared: bool,
    ) -> Tensor {
        let location = Location::caller();
        let name = self.full(name);
        let mut inner = self.trace.lock();
        let known = inner.specs.iter().any(|spec| spec.name == name);
        if known && !shared {
            let error = Error::new(
                ErrorKind::Graph,
                format!("the name {name:?} is used twice; enter() a scope of its own, or say shared()"),
            );
            inner.keep(error, location);
        } else if !known {
            inner.specs.push(Spec { leaf, name: name.clone(), ty: ty.clone(), init, companion });
        }
        let averaged = inner.averaged && leaf == Leaf::Parameter;
        drop(inner);
        let rank = ty.shape.len();
        if averaged {
            let average = format!("{AVERAGE}/{name}");
            let init = Init::Constant(0.0);
            return self.trace.scope().declare(Leaf::State, &average, ty, init, Some(name), true);
        }
        self.trace.emit(&self.path, rank, location, |graph| graph.leaf(leaf, &name, ty))
    }

    /// Randomly zeroes elements with probability `rate` and scales the rest by `1 / (1 - rate)`; `x` itself where the
    /// program does not train. The mask is the same on every device.
    #[track_caller]
    pub fn dropout(&self, x: &Tensor, rate: f64) -> Tensor {
        if !self.training() {
            return x.clone();
        }
        let root = self.trace.scope();
        // The key comes from the store's seed, the step counts runs.
        let key = root.shared_state("random.key", &[2], DType::U32, Init::Constant(0.0));
        let step = root.shared_state("random.step", &[], DType::U32, Init::Constant(0.0));
        self.trace.update(&step, &(&step + self.trace.constant(1.0, DType::U32)));
        let ordinal = {
            let mut inner = self.trace.lock();
            let draws = inner.draws.entry(self.path.clone()).or_insert(0);
            *draws += 1;
            *draws
        };
        let stream = crate::random::stream_id(&format!("{}#{ordinal}", self.path));
        let stream = (stream ^ (stream >> 32)) as u32;
        x.apply(&[&key, &step], x.shape().len(), Location::caller(), |graph, v| {
            graph.dropout(v[0], v[1], v[2], rate, stream)
        })
    }
}
