//! The tiles of products, chosen by measurement: what a GPU knows of its candidates.
//!
//! A step whose class has no choice yet is *untuned*. [`crate::program`] runs it with each of its candidates, compares their
//! results and times them; [`Executable::decide`] keeps the outcome, and programs that are loaded later start with it.
//! A candidate that was wrong, or far slower than another, is not tried again on this device: most classes cost little.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use super::gemm::OR_WINOGRAD;
use super::{Executable, Gpu, lower};
use crate::device::{Choice, Tiles, Trial, Tuning, Tunings};
use crate::schedule::{Schedule, Step};

/// What [`Tuning::Quick`] may spend on a device in all, on candidates beside the first.
const QUICK: Duration = Duration::from_secs(8);

/// How many candidates [`Tuning::Quick`] tries.
const QUICK_CANDIDATES: usize = 3;

/// A candidate that took so many times as long as the best is not tried again.
const HOPELESS: f64 = 3.0;

/// Shorter runs, in seconds, say little about larger ones.
const TELLING: f64 = 2e-4;

/// The choices of a device, and what led to them.
#[derive(Default)]
pub struct Tuner {
    choices: BTreeMap<String, Choice>,
    /// What is used where there was no time to measure.
    unmeasured: BTreeMap<String, Tiles>,
    hopeless: BTreeSet<Tiles>,
    spent: Duration,
}

impl Tuner {
    /// What was chosen for a class, if a step with these candidates can have it: not all of a class can, and a file may say
    /// anything.
    fn choice(&self, class: &str, candidates: &[Tiles]) -> Option<Tiles> {
        self.choices.get(class).map(|choice| choice.tiles).filter(|tiles| candidates.contains(tiles))
    }
}

impl Gpu {
    /// As [`crate::device::Device::tunings`].
    pub fn tunings(&self) -> Tunings {
        let choices = self.with_tuner(|tuner| tuner.choices.clone());
        let (adapter, driver) = (self.info.name.clone(), self.info.driver.clone());
        Tunings { adapter, driver, version: env!("CARGO_PKG_VERSION").to_owned(), choices }
    }

    /// As [`crate::device::Device::tunings_in_use`].
    pub fn tunings_in_use(&self) -> Tunings {
        let mut tunings = self.tunings();
        for (class, tiles) in self.with_tuner(|tuner| tuner.unmeasured.clone()) {
            tunings.choices.entry(class).or_insert(Choice { tiles, trials: Vec::new() });
        }
        tunings
    }

    /// As [`crate::device::Device::load_tunings`].
    pub fn load_tunings(&self, tunings: &Tunings) -> usize {
        if !tunings.fit(&self.tunings()) || !self.kernel_limits.measured {
            return 0;
        }
        let possible = self.tiles();
        // Without the class of it, Winograd's filtering is what nobody has asked for, whatever a file says.
        let fits = |class: &str, tiles| tiles != Tiles::Winograd || class.ends_with(OR_WINOGRAD);
        let choices = tunings.choices.iter();
        let choices = choices.filter(|(class, choice)| possible.contains(&choice.tiles) && fits(class, choice.tiles));
        self.with_tuner(|tuner| {
            let before = tuner.choices.len();
            for (class, choice) in choices {
                tuner.choices.entry(class.clone()).or_insert_with(|| choice.clone());
            }
            tuner.choices.len() - before
        })
    }

    /// The tiles that a step starts with: those of its class, else the likeliest that are still in the running.
    pub(super) fn tiles_of(&self, schedule: &Schedule, step: &Step) -> Tiles {
        let candidates = lower::candidates(schedule, step, &self.kernel_limits);
        let likeliest = candidates.first().copied().unwrap_or(self.kernel_limits.tiles);
        if candidates.len() < 2 {
            return likeliest;
        }
        let class = lower::class(schedule, step, &self.kernel_limits);
        self.with_tuner(|tuner| match class.and_then(|class| tuner.choice(&class, &candidates)) {
            Some(tiles) => tiles,
            None => candidates.into_iter().find(|tiles| !tuner.hopeless.contains(tiles)).unwrap_or(likeliest),
        })
    }

    fn with_tuner<R>(&self, f: impl FnOnce(&mut Tuner) -> R) -> R {
        f(&mut self.tuner.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

impl Executable {
    /// As [`crate::device::Device::untuned`].
    pub fn untuned(&self, gpu: &Gpu, range: Range<usize>) -> Vec<usize> {
        if !gpu.kernel_limits.measured {
            return Vec::new();
        }
        gpu.with_tuner(|tuner| {
            let exhausted = gpu.options.tuning == Tuning::Quick && tuner.spent >= QUICK;
            let mut untuned = |index: &usize| {
                let step = &self.schedule.steps[*index];
                let candidates = lower::candidates(&self.schedule, step, &gpu.kernel_limits);
                let class = lower::class(&self.schedule, step, &gpu.kernel_limits).filter(|_| candidates.len() > 1);
                class.is_some_and(|class| match tuner.choices.get(&class) {
                    Some(choice) => candidates.contains(&choice.tiles) && choice.tiles != self.tiles(*index),
                    None if exhausted => {
                        tuner.unmeasured.entry(class).or_insert(self.tiles(*index));
                        false
                    }
                    None => true,
                })
            };
            range.filter(|index| untuned(index)).collect()
        })
    }

    /// As [`crate::device::Device::candidates`].
    pub fn candidates(&self, gpu: &Gpu, step: usize) -> Vec<Tiles> {
        let step = &self.schedule.steps[step];
        let class = lower::class(&self.schedule, step, &gpu.kernel_limits);
        let mut candidates = lower::candidates(&self.schedule, step, &gpu.kernel_limits);
        gpu.with_tuner(|tuner| {
            let chosen = class.and_then(|class| tuner.choice(&class, &candidates));
            let likeliest = candidates.first().copied();
            candidates.retain(|tiles| !tuner.hopeless.contains(tiles));
            // Each was hopeless for some class; for this one the fixed rule is as good as any.
            if candidates.is_empty() {
                candidates.extend(likeliest);
            }
            if let Some(tiles) = chosen {
                candidates = vec![tiles];
            }
        });
        if gpu.options.tuning == Tuning::Quick {
            candidates.truncate(QUICK_CANDIDATES);
        }
        candidates
    }

    /// As [`crate::device::Device::decide`].
    pub fn decide(&self, gpu: &Gpu, step: usize, choice: Choice, spent: Duration) {
        let step = &self.schedule.steps[step];
        let Some(class) = lower::class(&self.schedule, step, &gpu.kernel_limits) else { return };
        let seconds = |trial: &Trial| trial.outcome.as_ref().map_or(f64::INFINITY, |seconds| *seconds);
        let best = choice.trials.iter().map(seconds).fold(f64::INFINITY, f64::min);
        gpu.with_tuner(|tuner| {
            tuner.spent += spent;
            let hopeless =
                |trial: &&Trial| trial.outcome.is_err() || best >= TELLING && seconds(trial) > HOPELESS * best;
            tuner.hopeless.extend(choice.trials.iter().filter(hopeless).map(|trial| trial.tiles));
            tuner.choices.entry(class).or_insert(choice);
        });
    }
}
