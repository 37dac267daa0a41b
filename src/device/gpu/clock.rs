//! Times of passes by the GPU's own clock: timestamps at their beginning and end.
//!
//! A set of queries holds a limited number, so a long run has several ([`Stamps`]). Whether a driver's clock can be relied on
//! is tried once, on passes that do nothing: a step that has run must not run again only to be timed.

use std::ops::Range;
use std::time::Instant;

use super::{Buffer, Executable, Gpu};
use crate::device::{Clock, Profile, StepTimes};
use crate::error::{Error, ErrorKind, Result};

/// Passes of one set of queries, each with two of the 4,096 that WebGPU allows.
const PASSES_OF_A_SET: usize = 2048;

/// Two timestamps for each of several passes.
struct Stamps {
    sets: Vec<wgpu::QuerySet>,
    passes: usize,
}

impl Stamps {
    fn new(gpu: &Gpu, passes: usize) -> Self {
        let set = |first: usize| {
            let count = 2 * (passes - first).min(PASSES_OF_A_SET) as u32;
            gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count,
            })
        };
        Stamps { sets: (0..passes).step_by(PASSES_OF_A_SET).map(set).collect(), passes }
    }

    /// What the pass of this number is begun with.
    fn writes(&self, pass: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        let first = 2 * (pass % PASSES_OF_A_SET) as u32;
        wgpu::ComputePassTimestampWrites {
            query_set: &self.sets[pass / PASSES_OF_A_SET],
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        }
    }

    /// Has the timestamps copied, at the end of the commands.
    fn resolve(&self, gpu: &Gpu, encoder: &mut wgpu::CommandEncoder) -> Buffer {
        const WORDS_OF_A_SET: usize = 4 * PASSES_OF_A_SET;
        let words = WORDS_OF_A_SET * self.sets.len();
        let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size: 4 * words as u64,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        for (i, set) in self.sets.iter().enumerate() {
            let count = 2 * (self.passes - i * PASSES_OF_A_SET).min(PASSES_OF_A_SET) as u32;
            encoder.resolve_query_set(set, 0..count, &buffer, (4 * WORDS_OF_A_SET * i) as u64);
        }
        Buffer { buffer, words }
    }

    /// The seconds from the beginning of the first pass to the beginning and end of each; `None` if the clock runs back or
    /// does not run.
    fn seconds(&self, gpu: &Gpu, resolved: &Buffer) -> Result<Option<Vec<Range<f64>>>> {
        let words = pollster::block_on(gpu.read(resolved, 0..4 * self.passes))?;
        let stamps: Vec<u64> =
            words.chunks_exact(2).map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32).collect();
        let period = 1e-9 * f64::from(gpu.queue.get_timestamp_period());
        let since_first = |stamp: u64| stamp.checked_sub(stamps[0]).map(|ticks| ticks as f64 * period);
        // Passes that do not wait for each other may overlap; none begins before the first.
        let pass =
            |pass: &[u64]| Some(since_first(pass[0])?..since_first(pass[1])?).filter(|times| times.start <= times.end);
        let passes: Option<Vec<Range<f64>>> = stamps.chunks_exact(2).map(pass).collect();
        Ok(passes.filter(|_| stamps[0] > 0 && period > 0.0))
    }
}

impl Gpu {
    /// Whether there are timestamps, and passes that do nothing have good ones: a run must not have to be repeated.
    fn has_timestamps(&self) -> bool {
        let tried = || {
            let stamps = Stamps::new(self, 2);
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            for pass in 0..2 {
                let timestamp_writes = Some(stamps.writes(pass));
                encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            }
            let resolved = stamps.resolve(self, &mut encoder);
            self.submit(encoder).is_ok() && stamps.seconds(self, &resolved).is_ok_and(|times| times.is_some())
        };
        self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) && *self.clock.get_or_init(tried)
    }
}

impl Executable {
    /// As [`crate::device::Device::profile`].
    pub fn profile(&self, gpu: &Gpu, range: Range<usize>) -> Result<Profile> {
        if gpu.has_timestamps() && !range.is_empty() {
            return self.profile_by_clock(gpu, range);
        }
        Profile::by_waiting(range, |step, begin| {
            self.run(gpu, step..step + 1)?;
            let submitted = begin.elapsed().as_secs_f64();
            gpu.wait().map(|()| submitted)
        })
    }

    /// All steps in one submission, each in a pass of its own.
    fn profile_by_clock(&self, gpu: &Gpu, range: Range<usize>) -> Result<Profile> {
        let stamps = Stamps::new(gpu, range.len());
        let begin = Instant::now();
        let now = || begin.elapsed().as_secs_f64();
        let mut recorded = Vec::with_capacity(range.len());
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (pass, step) in range.enumerate() {
            let start = now();
            self.record(gpu, &mut encoder, step..step + 1, 1, Some(stamps.writes(pass)));
            recorded.push(start..now());
        }
        let start = now();
        let resolved = stamps.resolve(gpu, &mut encoder);
        gpu.submit(encoder)?;
        let submission = start..now();
        let computed = stamps.seconds(gpu, &resolved)?.ok_or_else(|| {
            let text = format!("{}: its clock ran back while steps were timed; profile again", gpu.info.name);
            Error::new(ErrorKind::Device, text)
        })?;
        let at = |time: Range<f64>| submission.end + time.start..submission.end + time.end;
        let steps = recorded.into_iter().zip(computed).map(|(host, device)| StepTimes { host, device: at(device) });
        Ok(Profile { clock: Clock::Device, steps: steps.collect(), submission: Some(submission) })
    }

    /// As [`crate::device::Device::time`].
    pub fn time(&self, gpu: &Gpu, step: usize, runs: u32) -> Result<f64> {
        let stamps = gpu.has_timestamps().then(|| Stamps::new(gpu, 1));
        gpu.wait()?;
        let start = Instant::now();
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.record(gpu, &mut encoder, step..step + 1, runs, stamps.as_ref().map(|stamps| stamps.writes(0)));
        let resolved = stamps.as_ref().map(|stamps| stamps.resolve(gpu, &mut encoder));
        gpu.submit(encoder)?;
        gpu.wait()?;
        let waited = start.elapsed().as_secs_f64();
        let Some((stamps, resolved)) = stamps.zip(resolved) else { return Ok(waited) };
        let stamped = stamps.seconds(gpu, &resolved)?.map(|passes| passes[0].end);
        Ok(stamped.filter(|&seconds| seconds > 0.0).unwrap_or(waited))
    }
}
