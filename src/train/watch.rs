//! Which steps of a training are judged while it goes on, and what becomes of one that is wrong.
//!
//! A step that is due is recorded instead of just run, and its recording is replayed on the reference or searched for the
//! first number that is not finite. Before: [`crate::check::replay`] does both; after: [`super::Trainer::step_on`] asks.

use crate::check::replay;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Graph;
use crate::program::Recording;

/// Which steps are judged, and by what.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    /// Every so many steps one is replayed on the reference; 0 for none.
    pub verify_every: usize,
    /// Whether the first NaN or infinity is looked for.
    pub non_finite: bool,
    /// Steps so far.
    pub steps: usize,
}

impl Watch {
    fn verifies(&self) -> bool {
        self.verify_every > 0 && self.steps.is_multiple_of(self.verify_every)
    }

    /// Whether the next step has to be recorded.
    pub fn is_due(&self) -> bool {
        self.non_finite || self.verifies()
    }

    /// Nothing, if the recorded step is as it should be.
    pub fn judge(&self, graph: &Graph, recording: &Recording) -> Result<()> {
        let step = self.steps + 1;
        let restored = "the model is as it was before this step";
        if self.non_finite
            && let Some(found) = replay::non_finite(graph, recording)?
        {
            let remedy = "lower the learning rate, clip gradients, or look at the data";
            return Err(Error::new(ErrorKind::Parity, format!("step {step}: {found}; {remedy}; {restored}")));
        }
        if self.verifies()
            && let Some(found) = replay::divergence(graph, recording)?
        {
            let remedy = "run `neuropil check` on this device and report what it says";
            return Err(Error::new(ErrorKind::Parity, format!("step {step}: {found}; {remedy}; {restored}")));
        }
        Ok(())
    }
}
