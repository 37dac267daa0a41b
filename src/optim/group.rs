//! Parameters that are treated otherwise than the rest.

use std::panic::Location;

use super::Optimizer;
use crate::error::{Error, ErrorKind};
use crate::tensor::{Gradients, Trace, Treatment, matches};

/// The parameters whose names fit one of some patterns (`*` stands for any text), and how they are treated.
///
/// ```
/// use neuropil::optim::{Adam, Group, Optimizer};
/// // No weight decay for vectors, and small steps for what was trained before.
/// let optimizer = Adam::decoupled(1e-3, 0.05).grouped([
///     Group::new(&["*.bias", "*.norm.*"]).weight_decay(0.0),
///     Group::new(&["backbone.*"]).rate(0.1),
/// ]);
/// # let _: &dyn Optimizer = &optimizer;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The patterns.
    pub patterns: Vec<String>,
    /// What is different.
    pub treatment: Treatment,
}

impl Group {
    /// A group that is treated as the rest.
    pub fn new(patterns: &[&str]) -> Self {
        let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        Group { patterns, treatment: Treatment::default() }
    }

    /// Sets the factor of the learning rate.
    #[must_use]
    pub fn rate(mut self, factor: f64) -> Self {
        self.treatment.rate = factor;
        self
    }

    /// Sets the weight decay, in place of the optimizer's.
    #[must_use]
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.treatment.weight_decay = Some(weight_decay);
        self
    }

    fn holds(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern, name))
    }
}

/// An optimizer that treats groups of parameters otherwise than the rest; a parameter of several groups is of the first.
///
/// The parameters of a group lie next to each other in memory, if this is the first program of its store: then the update
/// of each group is one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouped<O> {
    /// The optimizer.
    pub inner: O,
    /// The groups.
    pub groups: Vec<Group>,
}

impl<O: Optimizer> Optimizer for Grouped<O> {
    fn update(&self, trace: &Trace, gradients: &Gradients) {
        for group in &self.groups {
            check_patterns(trace, &group.patterns);
        }
        let group_of = |name: &str| self.groups.iter().position(|group| group.holds(name)).unwrap_or(self.groups.len());
        trace.place_together(group_of);
        let mut entries = gradients.entries.clone();
        entries.sort_by_key(|(name, ..)| group_of(name));
        let mut gradients = Gradients { entries, treatments: gradients.treatments.clone() };
        for (name, ..) in &gradients.entries {
            if let Some(group) = self.groups.get(group_of(name)) {
                gradients.treatments.insert(name.clone(), group.treatment);
            }
        }
        self.inner.update(trace, &gradients);
    }

    fn runs_per_step(&self) -> usize {
        self.inner.runs_per_step()
    }
}

/// Keeps an error for a pattern that no parameter fits: a misspelt one must not pass for a rule.
#[track_caller]
pub(super) fn check_patterns(trace: &Trace, patterns: &[String]) {
    let names: Vec<String> = trace.parameters().into_iter().map(|(name, _)| name).collect();
    for pattern in patterns.iter().filter(|pattern| !names.iter().any(|name| matches(pattern, name))) {
        let text = format!("no parameter fits the pattern {pattern:?}; there are {}", names.join(", "));
        trace.fail(Error::new(ErrorKind::Config, text), Location::caller());
    }
}
