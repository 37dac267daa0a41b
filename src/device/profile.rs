//! How long steps take: each of a run by itself, or one of them repeated.
//!
//! A GPU with the feature `timestamp-query` measures by its own clock, in one submission; else the host waits after every
//! step and measures by its clock, which adds what a submission costs. [`Profile::clock`] says which it was. Before:
//! [`crate::device`]. After: `Program::profile`, the choice of tiles.

use std::ops::Range;
use std::time::Instant;

use super::{Backend, Device, Executable, Loaded, other_device};
use crate::error::Result;

/// What times of a device are measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The device's own, at the beginning and the end of every step.
    Device,
    /// The host's, which waits after every step.
    Host,
}

impl Clock {
    /// The name, for people and files.
    pub const fn name(self) -> &'static str {
        match self {
            Clock::Device => "device",
            Clock::Host => "host",
        }
    }
}

/// When a step was handed to the device and when the device computed it, in seconds since the profile began.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTimes {
    /// The host's work: recording commands. Empty on the CPU device, which has none.
    pub host: Range<f64>,
    /// The device's work. With [`Clock::Device`] the first step is taken to begin when the submission ends.
    pub device: Range<f64>,
}

/// The times of a run, step by step.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// What `device` times were measured by.
    pub clock: Clock,
    /// The times of every step, in order.
    pub steps: Vec<StepTimes>,
    /// The host's submission of all steps, where there was one.
    pub submission: Option<Range<f64>>,
}

impl Profile {
    /// Runs `step` for every step of `range`; it gives when the host was done with it.
    pub(super) fn by_waiting(range: Range<usize>, mut step: impl FnMut(usize, Instant) -> Result<f64>) -> Result<Self> {
        let begin = Instant::now();
        let mut steps = Vec::with_capacity(range.len());
        for index in range {
            let start = begin.elapsed().as_secs_f64();
            let handed_over = step(index, begin)?;
            steps.push(StepTimes { host: start..handed_over, device: handed_over..begin.elapsed().as_secs_f64() });
        }
        Ok(Profile { clock: Clock::Host, steps, submission: None })
    }
}

impl Device {
    /// Runs the steps of `range`, waits, and gives when each was recorded and computed.
    ///
    /// # Errors
    /// When the executable is another device's, or the device is lost.
    pub fn profile(&self, executable: &Executable, range: Range<usize>) -> Result<Profile> {
        match (&self.0.backend, &executable.0) {
            (Backend::Cpu(_), Loaded::Cpu(executable)) => Profile::by_waiting(range, |step, begin| {
                let start = begin.elapsed().as_secs_f64();
                executable.run(step..step + 1).map(|()| start)
            }),
            (Backend::Gpu(gpu), Loaded::Gpu(executable)) => executable.profile(gpu, range),
            _ => Err(other_device()),
        }
    }

    /// Runs a step so many times in a row; gives the seconds that all of them took.
    ///
    /// # Errors
    /// When the executable is another device's, or the device is lost.
    pub fn time(&self, executable: &Executable, step: usize, runs: u32) -> Result<f64> {
        match (&self.0.backend, &executable.0) {
            (Backend::Cpu(_), Loaded::Cpu(executable)) => {
                let start = Instant::now();
                (0..runs).try_for_each(|_| executable.run(step..step + 1))?;
                Ok(start.elapsed().as_secs_f64())
            }
            (Backend::Gpu(gpu), Loaded::Gpu(executable)) => executable.time(gpu, step, runs),
            _ => Err(other_device()),
        }
    }
}
