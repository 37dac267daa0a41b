//! Tiles are chosen by measurement: the first time that a product of some class runs, it runs with every candidate.
//!
//! [`Device::untuned`](crate::device::Device::untuned) says which steps they are. Each candidate is proven first, as
//! any kernel is ([`super::proof`]); one that is wrong is refused, by name, and never used again. The others run a few times
//! on the step's own operands, measured by the device's clock where it has one, and the fastest stays. Operands are put back afterwards, since the step may work in place.

use std::time::Instant;

use super::Program;
use crate::device::{Choice, Tiles, Trial};
use crate::error::{Error, ErrorKind, Result};

/// Measurements of one candidate; the fastest counts, since others were disturbed.
const MEASUREMENTS: usize = 3;

/// One measurement is of so many runs that it takes this long, in seconds, or of the most there may be.
const LONG_ENOUGH: f64 = 1e-3;
const MOST_RUNS: u32 = 64;

impl Program {
    /// Gives a step the fastest of its candidates, of those that are right.
    ///
    /// # Errors
    /// When all candidates are wrong, or the device is lost.
    pub(super) async fn tune(&self, index: usize) -> Result<()> {
        let start = Instant::now();
        let candidates = self.device().candidates(&self.executable, index)?;
        let choice = match candidates[..] {
            // The last one in the running needs no measurement; it is proven as it is used.
            [tiles] => Choice { tiles, trials: Vec::new() },
            _ => {
                let trials = self.measured(index, &candidates).await?;
                match Choice::of(trials.clone()) {
                    Some(choice) => choice,
                    None => return Err(all_refused(&self.schedule.steps[index].label, &trials)),
                }
            }
        };
        self.device().use_tiles(&self.executable, index, choice.tiles).await?;
        self.device().decide(&self.executable, index, choice, start.elapsed())
    }

    /// How every candidate does on the step's operands, which are put back.
    async fn measured(&self, index: usize, candidates: &[Tiles]) -> Result<Vec<Trial>> {
        let operands = self.operands(index).await?;
        let mut trials = Vec::with_capacity(candidates.len());
        for &tiles in candidates {
            let outcome = self.measure(index, tiles).await;
            self.write_operands(&self.schedule.steps[index], &operands)?;
            match outcome {
                Err(error) if error.kind() == ErrorKind::Device => return Err(error),
                outcome => trials.push(Trial { tiles, outcome }),
            }
        }
        Ok(trials)
    }

    /// Seconds that a step takes with some tiles; an error where it is wrong.
    async fn measure(&self, index: usize, tiles: Tiles) -> Result<f64> {
        self.device().use_tiles(&self.executable, index, tiles).await?;
        if !self.device().unproven(&self.executable, index..index + 1)?.is_empty() {
            self.prove_step(index).await?;
        }
        let (mut runs, mut best, mut measured) = (1, f64::INFINITY, 0);
        while measured < MEASUREMENTS {
            let seconds = self.device().time(&self.executable, index, runs)?;
            if seconds < LONG_ENOUGH && runs < MOST_RUNS {
                runs *= 4;
                continue;
            }
            best = best.min(seconds / f64::from(runs));
            measured += 1;
        }
        Ok(best)
    }
}

/// The first reason, if any candidate gave one.
fn all_refused(label: &str, trials: &[Trial]) -> Error {
    let reason = trials.iter().find_map(|trial| trial.outcome.as_ref().err().cloned());
    reason.unwrap_or_else(|| Error::new(ErrorKind::Unsupported, format!("{label}: the device has no tiles for it")))
}
