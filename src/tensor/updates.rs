//! New values of parameters and states, and conditions on them.

use std::panic::Location;

use super::{Tensor, Trace};
use crate::error::{Error, ErrorKind};
use crate::graph::{Leaf, NodeKind, Value};

impl Trace {
    /// Lets `new` be the value of a state or parameter from the next run on.
    #[track_caller]
    pub fn update(&self, state: &Tensor, new: &Tensor) {
        let location = Location::caller();
        let Some((leaf, name)) = self.target(state, new, location) else { return };
        let Some(value) = self.own(&self.unless_kept(state, new), location) else { return };
        let mut inner = self.lock();
        inner.graph.updates.retain(|(l, n, _)| (*l, n) != (leaf, &name));
        inner.graph.updates.push((leaf, name, value));
    }

    /// The leaf that `new` is to replace; a mistake is kept.
    fn target(&self, state: &Tensor, new: &Tensor, location: &'static Location<'static>) -> Option<(Leaf, String)> {
        let (state, new) = (self.own(state, location)?, self.own(new, location)?);
        let mut inner = self.lock();
        let error = match &inner.graph.node(state.node).kind {
            NodeKind::Leaf(leaf @ (Leaf::State | Leaf::Parameter), name) => {
                let (old_type, new_type) = (inner.graph.type_of(state), inner.graph.type_of(new));
                if old_type == new_type {
                    return Some((*leaf, name.clone()));
                }
                Error::new(ErrorKind::Shape, format!("update of {name:?}: it is {old_type}, not {new_type}"))
            }
            _ => Error::new(ErrorKind::Graph, "update: the first tensor is neither a state nor a parameter"),
        };
        inner.keep(error, location);
        None
    }

    /// `new` where the conditions of [`Trace::updates_when`] hold, else the old value.
    fn unless_kept(&self, state: &Tensor, new: &Tensor) -> Tensor {
        let Some(condition) = self.condition() else { return new.clone() };
        if new.dtype().is_float() {
            condition.select(new, state)
        } else {
            // Integers have no select; they wrap, so this is exact.
            state + (new - state) * condition.cast(new.dtype())
        }
    }

    /// Runs `build`; what it updates keeps its old value in runs where `condition` (a `u32` scalar, 0 or 1) is 0, whatever
    /// the new value would be, NaN included. Conditions nest.
    #[track_caller]
    pub fn updates_when(&self, condition: &Tensor, build: impl FnOnce()) {
        let location = Location::caller();
        if !condition.shape().is_empty() || condition.dtype() != crate::DType::U32 {
            let text = format!("updates_when: the condition is {}, it must be u32[]", condition.ty);
            self.fail(Error::new(ErrorKind::Shape, text), location);
        }
        let condition = match self.condition() {
            Some(outer) => outer * condition,
            None => condition.clone(),
        };
        let Some(value) = self.own(&condition, location) else { return };
        self.lock().conditions.push(value);
        build();
        self.lock().conditions.pop();
    }

    /// As [`Trace::updates_when`], and updates of floats that were made before, such as running statistics, happen in the
    /// same runs alone: what a bad run computed must not stay. Counters that were updated before go on.
    #[track_caller]
    pub fn all_updates_when(&self, condition: &Tensor, build: impl FnOnce()) {
        let before = self.lock().graph.updates.clone();
        self.updates_when(condition, || {
            for (leaf, name, new) in before {
                let new = self.tensor(new);
                if new.dtype().is_float() {
                    let state = self.emit("", new.shape().len(), Location::caller(), |graph| {
                        graph.leaf(leaf, &name, new.ty.clone())
                    });
                    self.update(&state, &new);
                }
            }
            build();
        });
    }

    fn condition(&self) -> Option<Tensor> {
        let innermost = self.lock().conditions.last().copied();
        innermost.map(|value| self.tensor(value))
    }

    /// The value that a state or parameter will have after the run: that of the last [`Trace::update`], else its own.
    #[must_use]
    pub fn updated(&self, state: &Tensor) -> Tensor {
        let new = {
            let inner = self.lock();
            match &inner.graph.node(state.value.node).kind {
                NodeKind::Leaf(leaf, name) => {
                    let mut updates = inner.graph.updates.iter();
                    updates.find(|(l, n, _)| l == leaf && n == name).map(|(.., value)| *value)
                }
                NodeKind::Op(_) => None,
            }
        };
        new.map_or_else(|| state.clone(), |value| self.tensor(value))
    }

    /// The handle of a value of this trace.
    fn tensor(&self, value: Value) -> Tensor {
        let ty = self.lock().graph.type_of(value).clone();
        Tensor { trace: self.clone(), value, ty }
    }
}
