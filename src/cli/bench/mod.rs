//! `neuropil bench`: what this device can do at most, and what share of it the kernels and whole training steps reach.
//!
//! Operands are parameters of a store, so a run writes no inputs and reads no results: it starts the steps and waits for
//! them. Every number is the median of several runs after the first, which compiles, proves and (with --tune) chooses.
//! [`suite`] lists what is measured, [`ceilings`] what it is compared with.

mod ceilings;
mod suite;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use neuropil::{Device, Error, Mode, Program, Store};
use serde::Deserialize;

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
    /// Write a trace of one training step to this file, for Perfetto or chrome://tracing: seconds of every step, which are
    /// run one by one for it
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

/// Measures and prints, a line at a time.
pub fn run(arguments: &Arguments, common: &Common, output: &Output) -> Result<(), Stop> {
    let device = arguments.tuning.apply(common.open_device()?, None)?;
    output.text(device_line(&device))?;
    let ceilings = Ceilings::measure(&device)?;
    let record = Record::event("device").with_device(&device).with("version", env!("CARGO_PKG_VERSION"));
    let record = record.with_number("copy_gigabytes_per_second", ceilings.bytes / 1e9);
    let record = record.with_number("memory_gigabytes_per_second", ceilings.bytes_of_memory / 1e9);
    output.record(&record.with_number("gigaflops_per_second", ceilings.operations / 1e9))?;
    output.text(format_args!(
        "at most {:.1} GB/s (copy; of 64 MiB {:.1}), {:.0} GFLOP/s ({})\n",
        ceilings.bytes / 1e9,
        ceilings.bytes_of_memory / 1e9,
        ceilings.operations / 1e9,
        ceilings.how
    ))?;
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|part| name.contains(part.as_str()));

    output.text(format_args!("{:<44} {:>10} {:>16} {:>8}", "kernel", "median", "rate", "share"))?;
    for kernel in suite::kernels(arguments.suite).iter().filter(|kernel| wanted(&kernel.name)) {
        print_kernel(kernel, &device, &ceilings, output)?;
    }
    output.text(format_args!(
        "\n{:<34} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6}",
        "training step", "median", "images/s", "first", "planned", "at least", "disp."
    ))?;
    let mut traced = arguments.trace.as_deref();
    for model in suite::models(arguments.suite).iter().filter(|model| wanted(&model.name())) {
        let program = print_model(model, &device, output)?;
        if let Some(path) = traced.take() {
            write_trace(&program, path)?;
        }
    }
    Ok(arguments.tuning.keep(&device)?)
}

fn print_kernel(kernel: &Kernel, device: &Device, ceilings: &Ceilings, output: &Output) -> Result<(), Stop> {
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
    let record = Record::event("kernel").with("name", kernel.name.as_str()).with_number("seconds", seconds);
    let record = record.with_number("rate", rate).with("unit", unit).with_number("share", share);
    let (name, milliseconds) = (&kernel.name, 1e3 * seconds);
    let text = format_args!("{name:<44} {milliseconds:>7.3} ms {rate:>8.1} {unit:<7} {:>6.0} %", 100.0 * share);
    Ok(output.emit(&record, text)?)
}

fn print_model(model: &Model, device: &Device, output: &Output) -> Result<Program, Stop> {
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
    let speed = model.batch as f64 / seconds;
    let record = Record::event("step")
        .with("name", name.as_str())
        .with("batch", model.batch)
        .with("parameters", store.parameter_count())
        .with_number("seconds", seconds)
        .with_number("images_per_second", speed)
        .with_number("first_step_seconds", first)
        .with("planned_bytes", planned)
        .with("activations_at_least_bytes", least)
        .with("dispatches", dispatches)
        .with("submits", submits);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let text = format_args!(
        "{name:<34} {:>6.1} ms {speed:>9.0} {first:>7.2} s {:>5.1} MiB {:>5.1} MiB {dispatches:>6}",
        1e3 * seconds,
        mib(planned),
        mib(least)
    );
    output.emit(&record, text)?;
    Ok(program)
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

/// The steps of one run as complete events of the trace format of Chrome, one after the other.
fn write_trace(program: &Program, path: &std::path::Path) -> Result<(), Error> {
    let mut at = 0.0;
    let events = program.profile(&[])?.into_iter().map(|(label, seconds)| {
        let event = serde_json::json!({
            "name": label, "ph": "X", "pid": 0, "tid": 0, "ts": 1e6 * at, "dur": 1e6 * seconds,
        });
        at += seconds;
        event
    });
    let trace = serde_json::json!({ "traceEvents": events.collect::<Vec<_>>() });
    neuropil::format::write_atomically(path, |writer| {
        serde_json::to_writer(writer, &trace).map_err(|e| Error::io(path, e.into()))
    })
}
