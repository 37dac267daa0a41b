//! Which tiles were measured to be the fastest: plain data, to look at, keep in a file (`format::tunings`) and ship.
//!
//! A [`Choice`] is of a class of products: equal operands, columns and groups, rows and sums up to the next power of two.
//! Before: [`crate::program`] measures. After: [`super::gpu`] lowers products as chosen.

use std::collections::BTreeMap;

use super::Tiles;
use crate::error::{Error, Result};

/// How a candidate did.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The candidate.
    pub tiles: Tiles,
    /// Seconds a run, or why its results were refused.
    pub outcome: Result<f64>,
}

/// The tiles of a class of products.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The fastest, of those whose results were right.
    pub tiles: Tiles,
    /// All that were tried; empty where only one was left in the running.
    pub trials: Vec<Trial>,
}

/// The choices for one kind of device.
#[derive(Clone, Debug, Default)]
pub struct Tunings {
    /// The adapter's name.
    pub adapter: String,
    /// The driver and its version.
    pub driver: String,
    /// The version of this crate, whose kernels were measured.
    pub version: String,
    /// By class.
    pub choices: BTreeMap<String, Choice>,
}

impl Choice {
    /// The fastest of the candidates whose results were right; `None` if none were.
    pub fn of(trials: Vec<Trial>) -> Option<Self> {
        let times = trials.iter().filter_map(|trial| Some((trial.tiles, *trial.outcome.as_ref().ok()?)));
        let (tiles, _) = times.min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Choice { tiles, trials })
    }
}

impl Tunings {
    /// Whether both are of the same adapter, driver and kernels.
    pub fn fit(&self, other: &Tunings) -> bool {
        (&self.adapter, &self.driver, &self.version) == (&other.adapter, &other.driver, &other.version)
    }

    /// The candidates that gave wrong results: class, tiles, what was wrong.
    pub fn refused(&self) -> Vec<(&str, Tiles, &Error)> {
        let trials =
            self.choices.iter().flat_map(|(class, choice)| choice.trials.iter().map(move |trial| (class, trial)));
        trials.filter_map(|(class, trial)| Some((class.as_str(), trial.tiles, trial.outcome.as_ref().err()?))).collect()
    }
}
