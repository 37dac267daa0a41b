//! What mixed precision needs of a trace: the precision, gradients of a scaled loss, and updates under a condition.

use std::collections::HashMap;
use std::panic::Location;

use super::{Gradients, Tensor, Trace, Traced};
use crate::autocast::autocast;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Graph, Leaf, Value};

/// How a program stores the floats between its inputs and its results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// All as `f32`.
    #[default]
    F32,
    /// Activations and their gradients as `f16` where [`crate::autocast`] deems it safe. Parameters, optimizers, statistics and
    /// losses stay `f32`. Training needs [`crate::optim::LossScale`], and a GPU the feature `shader-f16`.
    Mixed,
}

/// Updates that happen only where a condition is not 0.
#[derive(Clone)]
pub(super) struct Guard {
    condition: Value,
    /// The states and parameters.
    of: Vec<(Leaf, String)>,
}

impl Trace {
    /// Sets how floats are stored; tensors look the same in model code.
    pub fn set_precision(&self, precision: Precision) {
        self.lock().precision = precision;
    }

    /// As [`Trace::gradients`] of `loss`, by way of those of `loss · scale`: what `f16` would lose as too small is kept.
    #[track_caller]
    pub fn scaled_gradients(&self, loss: &Tensor, scale: &Tensor) -> Gradients {
        let mut gradients = self.gradients(&(loss * scale));
        let factor = 1.0 / scale;
        for (_, _, gradient) in &mut gradients.entries {
            *gradient = &*gradient * &factor;
        }
        let named = gradients.entries.iter().map(|(name, _, gradient)| (name.clone(), gradient.value()));
        self.lock().graph.gradients = named.collect();
        gradients
    }

    /// Calls `build`; the updates that it makes, and those of floats that were made before, happen in runs in which
    /// `condition` (`u32`, without axes) is not 0. Otherwise the old values stay, bit for bit.
    #[track_caller]
    pub fn guard_updates(&self, condition: &Tensor, build: impl FnOnce()) {
        let before = self.lock().graph.updates.clone();
        build();
        let Some(condition) = self.own(condition, Location::caller()) else { return };
        let mut inner = self.lock();
        let graph = &inner.graph;
        let guarded = graph.updates.iter().filter(|(leaf, name, value)| {
            let earlier = before.iter().any(|(l, n, v)| (l, n, v) == (leaf, name, value));
            !earlier || graph.type_of(*value).dtype.is_float()
        });
        let of = guarded.map(|(leaf, name, _)| (*leaf, name.clone())).collect();
        inner.guards.push(Guard { condition, of });
    }
}

impl Traced {
    /// The graph that is computed: with guards on its updates, and in its precision.
    ///
    /// # Errors
    /// When an operation does not take what its precision gives it.
    pub fn lowered(&self) -> Result<Graph> {
        let graph = self.guards.iter().try_fold(self.graph.clone(), |graph, guard| guard.apply(&graph));
        match self.precision {
            Precision::F32 => graph,
            Precision::Mixed => autocast(&graph?),
        }
    }
}

impl Guard {
    /// The graph with every guarded update chosen between the new and the old value.
    ///
    /// The choice comes right after the new value, and whatever is computed from it afterwards reads the choice: where the
    /// condition does not hold nobody sees the difference, and no second copy of the new value has to be kept.
    fn apply(&self, graph: &Graph) -> Result<Graph> {
        let mut chosen: HashMap<Value, usize> = HashMap::new();
        let guarded = |update: &(Leaf, String, Value)| self.of.contains(&(update.0, update.1.clone()));
        for (i, update) in graph.updates.iter().enumerate().filter(|(_, update)| guarded(update)) {
            if update.2.node > self.condition.node && graph.node(update.2.node).op().is_some() {
                chosen.entry(update.2).or_insert(i);
            }
        }
        let mut condition = None;
        let (mut result, map) = graph.rewrite(|new, id, inputs| {
            let op = graph.node(id).op().expect("only operations are rewritten");
            let mut outputs = new.apply(op.clone(), inputs)?;
            if id == self.condition.node {
                condition = Some(outputs[self.condition.output]);
            }
            for (output, value) in outputs.iter_mut().enumerate() {
                if let (Some(&update), Some(condition)) = (chosen.get(&Value { node: id, output }), condition) {
                    let (leaf, name, _) = &graph.updates[update];
                    *value = choose(new, condition, *value, (*leaf, name))?;
                }
            }
            Ok(outputs)
        })?;
        let Some(&condition) = map.get(&self.condition) else { return Ok(result) };
        for i in 0..result.updates.len() {
            let (leaf, name, value) = result.updates[i].clone();
            let done = chosen.get(&graph.updates[i].2) == Some(&i);
            if guarded(&graph.updates[i]) && !done {
                result.updates[i].2 = choose(&mut result, condition, value, (leaf, &name))?;
            }
        }
        Ok(result)
    }
}

/// `condition ? new : the old value of the leaf`.
fn choose(graph: &mut Graph, condition: Value, new: Value, (leaf, name): (Leaf, &str)) -> Result<Value> {
    let ty = graph.type_of(new).clone();
    let dtype = ty.dtype;
    let old = graph.leaf(leaf, name, ty)?;
    if dtype.is_float() {
        return graph.select(condition, new, old);
    }
    // Integers wrap, so this is exact: old + condition · (new - old).
    let zero = graph.constant(0.0, DType::U32)?;
    let condition = graph.elementwise("ne", &[condition, zero], &[])?;
    let condition = graph.cast(condition, dtype)?;
    let change = graph.sub(new, old)?;
    let change = graph.mul(condition, change)?;
    graph.add(old, change)
}

impl Tensor {
    /// 1 where the element is a number and not infinite, else 0 (`u32`).
    #[track_caller]
    #[must_use]
    pub fn isfinite(&self) -> Tensor {
        self.unary("isfinite", &[])
    }
}
