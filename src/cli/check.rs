//! `neuropil check`: every operation and its gradients on a device, against the reference in `f64`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use clap::Args;
use neuropil::Device;
use neuropil::check::parity::{self, Finding, Summary};
use neuropil::ops::REGISTRY;

use super::output::{Output, Record, counted, device_line, device_name};
use super::{Common, Stop, bad_argument, shell_word};

/// How many failures are printed as text.
const SHOWN: usize = 20;

/// What `check` takes.
#[derive(Args)]
pub struct Arguments {
    /// Check only the operation or family of this name, or else those whose names contain it
    #[arg(long, value_name = "NAME")]
    op: Option<String>,
}

/// A case that gave something wrong.
struct Failure {
    op: String,
    case: String,
    message: String,
}

/// Runs the cases; prints a summary of every operation, and what failed.
pub fn run(arguments: &Arguments, common: &Common, output: &Output) -> Result<(), Stop> {
    let filter = arguments.op.as_deref();
    let samples = count_samples(filter)?;
    let device = common.open_device()?;
    output.emit(&Record::event("start").with_device(&device), device_line(&device))?;

    let mut failures = Vec::new();
    let progress = output.progress(samples, "samples");
    let mut done = Samples::default();
    let summaries = parity::run(&device, filter, |finding| {
        progress.set(done.count(finding));
        if let Some(error) = &finding.failure {
            let (op, case) = (finding.op.clone(), finding.case.clone());
            failures.push(Failure { op, case, message: error.to_string() });
        }
    })?;
    drop(progress);

    print_table(&summaries, output)?;
    for (number, failure) in (1..).zip(&failures) {
        print_failure(failure, number <= SHOWN, common, output)?;
    }
    if failures.len() > SHOWN {
        output.text(format_args!("\n… and {} more failures", failures.len() - SHOWN))?;
    }
    print_total(&summaries, failures.len(), &device, output)?;
    if failures.is_empty() { Ok(()) } else { Err(Stop::Wrong) }
}

/// How many samples `filter` lets through.
///
/// # Errors
/// When there are none; lists the operations.
fn count_samples(filter: Option<&str>) -> Result<usize, Stop> {
    let mut names = BTreeSet::new();
    let mut matching = 0;
    let selected = parity::selection(filter);
    for family in REGISTRY {
        for sample in (family.samples)() {
            let name = sample.op.name();
            matching += usize::from(selected(family.name, name));
            names.insert(name);
        }
    }
    match filter {
        Some(filter) if matching == 0 => {
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            Err(bad_argument(format!("--op {}: there is no such operation; there are {names}", shell_word(filter))))
        }
        _ => Ok(matching),
    }
}

/// Counts the samples that findings belong to; those of one sample come one after the other.
#[derive(Default)]
struct Samples {
    count: usize,
    last: (String, String),
}

impl Samples {
    fn count(&mut self, finding: &Finding) -> usize {
        let sample = finding.case.rsplit_once(", ").map_or(&*finding.case, |(sample, _)| sample);
        if (&*self.last.0, &*self.last.1) != (&*finding.op, sample) {
            self.last = (finding.op.clone(), sample.to_owned());
            self.count += 1;
        }
        self.count
    }
}

fn print_table(summaries: &BTreeMap<String, Summary>, output: &Output) -> io::Result<()> {
    output.text(format_args!("\n{:<24} {:>5} {:>6}  worst error, 1 = allowed", "operation", "cases", "failed"))?;
    for (op, Summary { cases, failed, skipped, worst, worst_case }) in summaries {
        let record = Record::event("op").with("op", op.as_str()).with("cases", *cases).with("failed", *failed);
        let record = record.with("skipped", *skipped);
        let record = record.with_number("worst", *worst).with("worst_case", worst_case.as_str());
        let worst = if worst.is_finite() { format!("{worst:.3}") } else { "wrong".to_owned() };
        output.emit(&record, format_args!("{op:<24} {cases:>5} {failed:>6}  {worst:<6} {worst_case}"))?;
    }
    Ok(())
}

/// Prints a failure as JSON, and as text if it is to be `shown`.
fn print_failure(failure: &Failure, shown: bool, common: &Common, output: &Output) -> io::Result<()> {
    let Failure { op, case, message } = failure;
    let repeat = format!("neuropil check --op {} --device {}", shell_word(op), shell_word(&common.device));
    let record = Record::event("failure").with("op", op.as_str()).with("case", case.as_str());
    output.record(&record.with("message", message.as_str()).with("repeat", repeat.as_str()))?;
    if shown { output.text(format_args!("\n{op}, {case}:\n  {message}\n  repeat with: {repeat}")) } else { Ok(()) }
}

fn print_total(
    summaries: &BTreeMap<String, Summary>,
    failed: usize,
    device: &Device,
    output: &Output,
) -> io::Result<()> {
    let cases = summaries.values().map(|summary| summary.cases).sum::<usize>();
    let skipped = summaries.values().map(|summary| summary.skipped).sum::<usize>();
    let record = Record::event("done").with("device", device.name()).with("cases", cases).with("failed", failed);
    let record = record.with("skipped", skipped);
    let left_out = match skipped {
        0 => String::new(),
        skipped => format!("; {} of f16 left out, which it does not store", counted(skipped, "case")),
    };
    let verdict = match failed {
        0 => "all are right".to_owned(),
        1 => "1 IS WRONG".to_owned(),
        _ => format!("{failed} ARE WRONG"),
    };
    let (cases, operations) = (counted(cases, "case"), counted(summaries.len(), "operation"));
    let device = device_name(device);
    output.emit(&record, format_args!("\n{cases} of {operations} on {device}: {verdict}{left_out}"))
}
