//! Optimizers: update nodes for every parameter.
//!
//! An [`Optimizer`] reads gradients and emits, with tensors alone, the new value of each parameter and of the states that
//! accompany it. The states lie at the parameters' offsets in memory, so the scheduler makes one step of all updates of an
//! optimizer that works element by element. What is done to gradients before (clipping, accumulation) and to parameters
//! after (averages), and what differs by parameter ([`Group`]), are optimizers around an optimizer. An optimizer owns its
//! learning rate; a [`Schedule`] gives factors of it, which reach the device as a state ([`RATE_FACTOR`]) that is set
//! between runs, so that no program changes.

mod accumulate;
mod adagrad;
mod adam;
mod average;
mod clip;
mod group;
mod lamb;
mod lars;
mod lion;
mod loss_scale;
mod muon;
mod nadam;
mod plateau;
mod rmsprop;
mod schedule;
mod sgd;

pub use accumulate::Accumulate;
pub use adagrad::Adagrad;
pub use adam::Adam;
pub use average::Averaged;
pub use clip::{ClipNorm, ClipValue};
pub use group::{Group, Grouped};
pub use lamb::Lamb;
pub use lars::Lars;
pub use lion::Lion;
pub use loss_scale::{LOSS_SCALE, LossScale, SKIPPED_STEPS};
pub use muon::Muon;
pub use nadam::NAdam;
pub use plateau::Plateau;
pub use rmsprop::RmsProp;
pub use schedule::{Schedule, Span};
pub use sgd::Sgd;

use std::fmt;

use crate::dtype::DType;
use crate::tensor::{Gradients, Init, Scope, Tensor, Trace};

/// The name of the state that holds the factor of all learning rates; 1 at first.
pub const RATE_FACTOR: &str = "optimizer.rate_factor";

/// A rule that turns gradients into updates.
///
/// The methods wrap it in others; the outermost sees the gradients first. `Sgd::new(0.1).clip_norm(1.0).accumulate(4)`
/// takes the mean gradient of four runs, limits its norm, and takes a step with it.
///
/// Its `Debug` text says all that it does, such as the learning rate: a checkpoint is continued with the same text alone.
pub trait Optimizer: fmt::Debug + Send + Sync {
    /// Emits the updates of all parameters that have a gradient.
    fn update(&self, trace: &Trace, gradients: &Gradients);

    /// The number of runs that make one step.
    fn runs_per_step(&self) -> usize {
        1
    }

    /// Treats the parameters of groups otherwise than the rest.
    fn grouped(self, groups: impl IntoIterator<Item = Group>) -> Grouped<Self>
    where
        Self: Sized,
    {
        Grouped { inner: self, groups: groups.into_iter().collect() }
    }

    /// Scales all gradients such that their norm, as of one vector, is at most `limit`.
    fn clip_norm(self, limit: f64) -> ClipNorm<Self>
    where
        Self: Sized,
    {
        ClipNorm { inner: self, limit }
    }

    /// Limits every element of the gradients to `-limit..=limit`.
    fn clip_value(self, limit: f64) -> ClipValue<Self>
    where
        Self: Sized,
    {
        ClipValue { inner: self, limit }
    }

    /// Takes a step with the mean gradient of every `runs` runs.
    fn accumulate(self, runs: usize) -> Accumulate<Self>
    where
        Self: Sized,
    {
        Accumulate { inner: self, runs }
    }

    /// Keeps an average of the parameters over the steps.
    fn averaged(self, decay: f64) -> Averaged<Self>
    where
        Self: Sized,
    {
        Averaged { inner: self, decay }
    }
}

impl<O: Optimizer + ?Sized> Optimizer for Box<O> {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        (**self).update(trace, gradients);
    }

    fn runs_per_step(&self) -> usize {
        (**self).runs_per_step()
    }
}

/// What an optimizer does with one parameter.
struct Work<'a> {
    name: &'a str,
    parameter: &'a Tensor,
    gradient: &'a Tensor,
    /// The learning rate of this parameter at this step.
    rate: Tensor,
    weight_decay: f64,
}

impl Work<'_> {
    /// The gradient with weight decay in it: `g + weight_decay · p`.
    fn decayed_gradient(&self) -> Tensor {
        match self.weight_decay {
            0.0 => self.gradient.clone(),
            decay => self.gradient + self.parameter * decay,
        }
    }

    /// Decoupled weight decay: `p - rate · weight_decay · p`. Not `p · (1 - rate · weight_decay)`, which would round the
    /// same way at every step. `decay` is `rate · weight_decay`.
    fn decayed_parameter(&self, decay: &Tensor) -> Tensor {
        match self.weight_decay {
            0.0 => self.parameter.clone(),
            _ => self.parameter - self.parameter * decay,
        }
    }

    /// `rate · weight_decay`.
    fn decay(&self) -> Tensor {
        &self.rate * self.weight_decay
    }

    /// A state that accompanies the parameter; 0 at first.
    fn companion(&self, scope: &Scope, name: &str) -> Tensor {
        scope.companion(name, self.name, self.parameter.shape())
    }
}

/// The scope of an optimizer's states, and what it has to do: `learning_rate` and `weight_decay` are for parameters that
/// no group treats otherwise.
fn work<'a>(trace: &Trace, gradients: &'a Gradients, learning_rate: f64, weight_decay: f64) -> (Scope, Vec<Work<'a>>) {
    let scope = trace.scope().enter("optimizer");
    let factor = scope.shared_state("rate_factor", &[], DType::F32, Init::Constant(1.0));
    let work = gradients.entries.iter().map(|(name, parameter, gradient)| {
        let treatment = gradients.treatment(name);
        let rate = &factor * (learning_rate * treatment.rate);
        let weight_decay = treatment.weight_decay.unwrap_or(weight_decay);
        Work { name, parameter, gradient, rate, weight_decay }
    });
    let work = work.collect();
    (scope, work)
}

/// The correction `1 - beta^t` of a moving average that started at 0, at the `t`-th step: a state, by
/// `c ← beta · c + (1 - beta)`, since a power in `f32` would cancel.
fn correction(scope: &Scope, name: &str, beta: f64) -> Tensor {
    let old = scope.shared_state(name, &[], DType::F32, Init::Constant(0.0));
    advance(&old, &(&old * beta + (1.0 - beta)))
}

/// Updates a state; gives its value after the run. Where the update does not happen, that is the old value: then nothing
/// needs the old one but the update itself, which can be in place.
fn advance(state: &Tensor, new: &Tensor) -> Tensor {
    state.trace().update(state, new);
    state.trace().updated(state)
}

/// The same scalars, side by side in one tensor: they cost an update one buffer, not one each, and a device may bind no
/// more than eight.
fn side_by_side<const N: usize>(scalars: [Tensor; N]) -> [Tensor; N] {
    let rows = scalars.map(|scalar| scalar.reshape(&[1]));
    let rest: Vec<&Tensor> = rows[1..].iter().collect();
    let row = rows[0].concat(&rest, 0);
    std::array::from_fn(|i| row.slice(std::slice::from_ref(&(i..i + 1))).reshape(&[]))
}

/// The Euclidean norm of all elements.
fn norm(x: &Tensor) -> Tensor {
    x.square().sum_all().sqrt()
}

/// `ratio` where `a` and `b` are above 0, else 1: the trust in a layer's step where it cannot be measured.
fn trust(ratio: &Tensor, a: &Tensor, b: &Tensor) -> Tensor {
    let zero = ratio.trace().constant(0.0, DType::F32);
    let one = ratio.trace().constant(1.0, DType::F32);
    (a.greater(&zero) * b.greater(&zero)).select(ratio, &one)
}
