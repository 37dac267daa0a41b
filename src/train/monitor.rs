//! Who looks on while a trainer trains: progress bars, checkpoints, whoever may stop it.
//!
//! A [`Monitor`] gets the trainer between two steps and after an epoch, when its progress and its store belong together, so
//! that it can take a [`super::Checkpoint`] there. Before: [`super::Trainer::fit_with`] calls it.

use std::ops::ControlFlow;

use super::Trainer;
use super::trainer::Epoch;
use crate::error::Result;

/// Who looks on while a trainer trains.
pub trait Monitor {
    /// After a step, of which `done` of `of` are done. What was started on the device may not be.
    ///
    /// # Errors
    /// What ends the run.
    fn step(&mut self, trainer: &Trainer, done: usize, of: usize) -> Result<ControlFlow<()>>;

    /// After an epoch and its test.
    ///
    /// # Errors
    /// What ends the run.
    fn epoch(&mut self, trainer: &Trainer, epoch: &Epoch) -> Result<ControlFlow<()>>;
}

/// Two functions: one for steps, one for epochs.
impl<S: FnMut(usize, usize), E: FnMut(&Epoch) -> ControlFlow<()>> Monitor for (S, E) {
    fn step(&mut self, _: &Trainer, done: usize, of: usize) -> Result<ControlFlow<()>> {
        (self.0)(done, of);
        Ok(ControlFlow::Continue(()))
    }

    fn epoch(&mut self, _: &Trainer, epoch: &Epoch) -> Result<ControlFlow<()>> {
        Ok((self.1)(epoch))
    }
}
