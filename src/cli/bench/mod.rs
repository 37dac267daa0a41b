//! `neuropil bench`: what this device can do at most, and what share of it the kernels and whole training steps reach.
//!
//! Operands are parameters of a store, so a run writes no inputs and reads no results: it starts the steps and waits for
//! them. Every number is the median of several runs after the first, which compiles, proves and (with --tune) chooses.
//! [`suite`] lists what is measured, [`ceilings`] what it is compared with; [`trace`] shows one step from within.

mod ceilings;
mod suite;
mod trace;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use neuropil::{Device, Error, Mode, Program, Store};
use serde::{Deserialize, Serialize};

use super::output::{Output, Record, device_line};
use super::tuning::TuningArguments;
use super::{Common, Stop};
use ceilings::Ceilings;
use suite::{Kernel, Model, Rate};

/// What `bench` takes.
#[derive(Args)]
pub struct Arguments {
    /// What to measure: quick (two minutes or so), or full with the sizes of ResNets, for hardware GPUs
    #[arg(long, value_enum, default_value = "quick", value_name = "quick|full", hide_possible_values = true)]
    suite: Suite,
    /// Measure only what has this in its name
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Write a trace of one training step to this file, for Perfetto or chrome://tracing: when the host recorded every
    /// operation and when the device computed it
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    tuning: TuningArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Suite {
    Quick,
    Full,
}

impl Suite {
    /// Whether what belongs to `part` is measured.
    fn holds(self, part: Suite) -> bool {
        self == Suite::Full || part == Suite::Quick
    }
}

/// Runs of which the median counts, and for how long they may go on.
const RUNS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(6);

/// All results of a run, in the order of the text.
#[derive(Default, Serialize)]
struct Results {
    device: Record,
    ceilings: Record,
    kernels: Vec<Record>,
    steps: Vec<Record>,
}

/// Measures and prints: text a line at a time, JSON at the end, also when something has failed on the way.
pub fn run(arguments: &Arguments, common: &Common, output: &Output) -> Result<(), Stop> {
    let mut results = Results::default();
    let measured = measure(arguments, common, output, &mut results);
    if measured.is_ok() || !results.kernels.is_empty() || !results.steps.is_empty() {
        output.document(&results)?;
    }
    measured
}

fn measure(arguments: &Arguments, common: &Common, output: &Output, results: &mut Results) -> Result<(), Stop> {
    let device = arguments.tuning.apply(common.open_device()?, None)?;
    output.text(device_line(&device))?;
    results.device = described(&device);
    let ceilings = Ceilings::measure(&device)?;
    results.ceilings = Record::new()
        .with_number("copy_gigabytes_per_second", ceilings.bytes / 1e9)
        .with_number("memory_gigabytes_per_second", ceilings.bytes_of_memory / 1e9)
        .with_number("gigaflops_per_second", ceilings.operations / 1e9)
        .with("operations", ceilings.how);
    output.text(format_args!(
        "at most {:.1} GB/s (copy; of 64 MiB {:.1}), {:.0} GFLOP/s ({})\n",
        ceilings.bytes / 1e9,
        ceilings.bytes_of_memory / 1e9,
        ceilings.operations / 1e9,
        ceilings.how
    ))?;
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|part| name.contains(part.as_str()));

    output.text(format_args!("{:<44} {:>10} {:>16} {:>8}", "kernel", "median", "rate", "share"))?;
    for kernel in suite::kernels(arguments.suite, device.has_f16()).iter().filter(|kernel| wanted(&kernel.name)) {
        let (record, text) = measure_kernel(kernel, &device, &ceilings)?;
        results.kernels.push(record);
        output.text(text)?;
    }
    output.text(format_args!(
        "\n{:<34} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6}",
        "training step", "median", "images/s", "first", "planned", "at least", "used", "disp."
    ))?;
    let mut traced = arguments.trace.as_deref();
    for model in suite::models(arguments.suite, device.has_f16()).iter().filter(|model| wanted(&model.name())) {
        let (program, record, text) = measure_step(model, &device)?;
        results.steps.push(record);
        output.text(text)?;
        if let Some(path) = traced.take() {
            trace::write(&program, path)?;
        }
    }
    Ok(arguments.tuning.keep(&device)?)
}

/// What was measured: the device, and whose program this is.
fn described(device: &Device) -> Record {
    let record = Record::new().with_device(device).with("version", env!("CARGO_PKG_VERSION"));
    let Some(adapter) = device.adapter() else { return record };
    record.with("backend", adapter.backend.as_str()).with("driver", adapter.driver.as_str())
}

fn measure_kernel(kernel: &Kernel, device: &Device, ceilings: &Ceilings) -> Result<(Record, String), Error> {
    let store = Store::new(device, 0);
    let program = Program::compile(&kernel.name, &store, Mode::Train, &kernel.build)?;
    let seconds = median(&program)?;
    let (rate, unit, share) = match kernel.rate {
        Rate::Operations(operations) => {
            let rate = operations / seconds;
            (rate / 1e9, "GFLOP/s", rate / ceilings.operations)
        }
        Rate::Bytes(bytes) => (bytes / seconds / 1e9, "GB/s", bytes / seconds / ceilings.bytes),
    };
    let record = Record::new().with("name", kernel.name.as_str()).with_number("seconds", seconds);
    let record = record.with_number("rate", rate).with("unit", unit).with_number("share", share);
    let (name, milliseconds) = (&kernel.name, 1e3 * seconds);
    let text = format!("{name:<44} {milliseconds:>7.3} ms {rate:>8.1} {unit:<7} {:>6.0} %", 100.0 * share);
    Ok((record, text))
}

fn measure_step(model: &Model, device: &Device) -> Result<(Program, Record, String), Error> {
    let used_before = device.memory_in_use();
    let (name, store) = (model.name(), Store::new(device, 0));
    let start = Instant::now();
    let program = Program::compile(&name, &store, Mode::Train, |trace| model.step(trace))?;
    program.run(&[])?;
    device.wait()?;
    let first = start.elapsed().as_secs_f64();
    let seconds = median(&program)?;
    let before = device.counters();
    program.run(&[])?;
    device.wait()?;
    let after = device.counters();
    let (dispatches, submits) = (after.dispatches - before.dispatches, after.submits - before.submits);
    let planned = program.planned_bytes();
    let least = 4 * program.schedule().lower_bound as u64;
    let used = device.memory_in_use().zip(used_before).map(|(now, before)| now.saturating_sub(before));
    let speed = model.batch as f64 / seconds;
    let record = Record::new()
        .with("name", name.as_str())
        .with("batch", model.batch)
        .with("parameters", store.parameter_count())
        .with_number("seconds", seconds)
        .with_number("images_per_second", speed)
        .with_number("first_step_seconds", first)
        .with("planned_bytes", planned)
        .with("activations_at_least_bytes", least)
        .with("used_bytes", used)
        .with("dispatches", dispatches)
        .with("submits", submits);
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let text = format!(
        "{name:<34} {:>6.1} ms {speed:>9.0} {first:>7.2} s {:>9} {:>9} {:>9} {dispatches:>6}",
        1e3 * seconds,
        mib(planned),
        mib(least),
        used.map_or_else(|| "unknown".to_owned(), mib)
    );
    Ok((program, record, text))
}

/// Seconds of a run, the median of several.
fn median(program: &Program) -> Result<f64, Error> {
    let seconds = seconds(program)?;
    Ok(seconds[seconds.len() / 2])
}

/// Seconds of several runs after a first one, sorted; three at least.
fn seconds(program: &Program) -> Result<Vec<f64>, Error> {
    let device = program.device();
    program.run(&[])?;
    device.wait()?;
    let start = Instant::now();
    let mut seconds = Vec::with_capacity(RUNS);
    while seconds.len() < RUNS && (seconds.len() < 3 || start.elapsed() < PATIENCE) {
        let start = Instant::now();
        program.run(&[])?;
        device.wait()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds)
}
