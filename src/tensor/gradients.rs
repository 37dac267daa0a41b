//! Gradients by parameter, on their way from the loss to an optimizer.

use std::collections::BTreeMap;

use super::Tensor;

/// The gradient of a scalar with respect to every trainable parameter.
pub struct Gradients {
    /// (name, parameter, gradient), in the order in which the backward pass completes them.
    pub entries: Vec<(String, Tensor, Tensor)>,
    /// What optimizers do otherwise for some parameters, by name.
    pub treatments: BTreeMap<String, Treatment>,
}

/// What an optimizer does otherwise for one parameter than for the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Treatment {
    /// A factor of the learning rate.
    pub rate: f64,
    /// The weight decay, if not the optimizer's own.
    pub weight_decay: Option<f64>,
}

impl Default for Treatment {
    fn default() -> Self {
        Treatment { rate: 1.0, weight_decay: None }
    }
}

impl From<Vec<(String, Tensor, Tensor)>> for Gradients {
    fn from(entries: Vec<(String, Tensor, Tensor)>) -> Self {
        Gradients { entries, treatments: BTreeMap::new() }
    }
}

impl Gradients {
    /// The same parameters with other gradients: `change` gets the name of each and its gradient.
    #[must_use]
    pub fn map(&self, mut change: impl FnMut(&str, &Tensor) -> Tensor) -> Gradients {
        let changed = |(name, parameter, gradient): &(String, Tensor, Tensor)| {
            (name.clone(), parameter.clone(), change(name, gradient))
        };
        Gradients { entries: self.entries.iter().map(changed).collect(), treatments: self.treatments.clone() }
    }

    /// The parameters for which `first` holds, and the others.
    #[must_use]
    pub fn partition(&self, first: impl Fn(&str, &Tensor) -> bool) -> [Gradients; 2] {
        [true, false].map(|wanted| Gradients {
            entries: self.entries.iter().filter(|(name, p, _)| first(name, p) == wanted).cloned().collect(),
            treatments: self.treatments.clone(),
        })
    }

    /// What an optimizer does otherwise for the parameter `name`.
    pub fn treatment(&self, name: &str) -> Treatment {
        self.treatments.get(name).copied().unwrap_or_default()
    }
}
