//! What a source of data gives: a part to train on, a part to test on, and what could not be used.

use super::Dataset;
use crate::error::{Error, Result};

/// The share of every class that is held out for testing where a source does not say what to test on.
pub const HELD_OUT: f64 = 0.2;

/// What was read from a folder or file.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What to train on.
    pub train: Dataset,
    /// What to test on.
    pub test: Dataset,
    /// What could not be used, in one line each: where it is, what is wrong and what to do. It is in neither part.
    pub unusable: Vec<Error>,
}

impl Parts {
    /// Both parts, if all that there is could be used.
    ///
    /// # Errors
    /// The first thing that could not be used, and how many there are.
    pub fn complete(self) -> Result<(Dataset, Dataset)> {
        match (self.unusable.first(), self.unusable.len()) {
            (None, _) => Ok((self.train, self.test)),
            (Some(one), 1) => Err(one.clone()),
            (Some(first), count) => Err(first.clone().context(format!("{count} things cannot be used, the first is"))),
        }
    }
}
