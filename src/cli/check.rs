//! `neuropil check`: every operation and its gradients on a device, against the reference in `f64`.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use clap::Args;
use neuropil::check::Comparison;
use neuropil::check::findings::Finding;
use neuropil::check::suite::{Event, Level, Plan, Suite, VariantOutcome};
use neuropil::device::AdapterInfo;
use neuropil::graph::TensorType;
use neuropil::{Device, Error};
use serde_json::{Value, json};

use super::output::{Output, Record, counted, device_line, device_name};
use super::report::{self, Element, Failure, Machine, OperationRow, Report, VariantRow, Verdict};
use super::{Common, Stop, bad_argument, shell_word, whole};

/// How many failures are printed as text.
const SHOWN: usize = 20;

/// What `check` takes.
#[derive(Args)]
pub struct Arguments {
    /// Check only the operation or family of this name, or else those whose names contain it
    #[arg(long, value_name = "NAME")]
    op: Option<String>,
    /// Check only the case of this name, or else those whose names contain it
    #[arg(long, value_name = "TEXT")]
    case: Option<String>,
    /// Check only one variant of the kernels: "as used", checked, unfused, or a kind of tiles: staged,
    /// large, small, direct, broadcast, cooperative or winograd
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Check one sample of every operation, and of some the other variants; the seed chooses
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Check everything in every variant of the kernels that this device could run
    #[arg(long)]
    full: bool,
    /// Fixes the random inputs
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u64>)]
    seed: u64,
    /// Write what was found to this file: .html, .md or .json
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl Arguments {
    fn plan(&self) -> Plan {
        let level = match (self.quick, self.full) {
            (true, _) => Level::Quick,
            (_, true) => Level::Full,
            _ => Level::Standard,
        };
        let (op, case, variant) = (self.op.clone(), self.case.clone(), self.variant.clone());
        Plan { level, op, case, variant, seed: self.seed }
    }

    /// What is chosen by name, as it was given.
    fn selection(&self) -> String {
        let given = [("op", &self.op), ("case", &self.case), ("variant", &self.variant)];
        let words = given.iter().filter_map(|(name, word)| Some(format!("--{name} {}", shell_word(word.as_ref()?))));
        words.collect::<Vec<_>>().join(" ")
    }
}

/// Runs the cases; prints a summary of every operation, and what failed.
pub fn run(arguments: &Arguments, common: &Common, output: &Output) -> Result<(), Stop> {
    if let Some(path) = &arguments.report {
        report::format_of(path)?;
    }
    let device = common.open_device()?;
    let plan = arguments.plan();
    let suite = Suite::new(&device, &plan).map_err(|error| error.context(arguments.selection()))?;
    let (date, start) = (SystemTime::now(), Instant::now());
    let record = Record::event("start").with_device(&device).with("level", plan.level.to_string());
    output.emit(&record.with("seed", plan.seed), device_line(&device))?;

    let progress = output.progress(suite.len(), "samples");
    let mut tally = Tally::default();
    let outcome = suite.run(|event| match event {
        Event::Done(done) => progress.set(done),
        Event::Found(finding) => tally.count(finding, common, plan.seed),
    })?;
    drop(progress);
    if outcome.lost.is_none() && tally.operations.values().all(|operation| operation.cases == 0) {
        let why = match tally.operations.is_empty() {
            true => "a variant runs only the cases whose kernels differ in it",
            false => "the device does not store f16",
        };
        return Err(bad_argument(format!("{}: nothing is run; {why}", arguments.selection())));
    }
    let found = Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: command_line(),
        level: plan.level.to_string(),
        seed: plan.seed,
        date: utc(date),
        seconds: start.elapsed().as_secs_f64(),
        machine: machine(&device),
        variants: outcome.variants.iter().map(|variant| tally.variant_row(variant)).collect(),
        operations: tally.operations.into_values().collect(),
        failures: tally.failures,
    };

    print_tables(&found, output)?;
    for (number, failure) in (1..).zip(&found.failures) {
        print_failure(failure, number <= SHOWN, output)?;
    }
    if found.failures.len() > SHOWN {
        output.text(format_args!("\n… and {} more failures", found.failures.len() - SHOWN))?;
    }
    print_total(&found, &device, output)?;
    if let Some(path) = &arguments.report {
        report::write(path, &found)?;
        output.text(format_args!("report: {}", path.display()))?;
    }
    conclude(outcome.lost, &found.failures)
}

/// How the command ends.
fn conclude(lost: Option<Error>, failures: &[Failure]) -> Result<(), Stop> {
    match lost {
        Some(error) => Err(error.into()),
        None if failures.is_empty() => Ok(()),
        None => Err(Stop::Wrong),
    }
}

/// What was found, summed up.
#[derive(Default)]
struct Tally {
    operations: BTreeMap<&'static str, OperationRow>,
    /// Cases run, failed and left out of every variant.
    variants: BTreeMap<&'static str, [usize; 3]>,
    failures: Vec<Failure>,
}

impl Tally {
    fn count(&mut self, finding: &Finding, common: &Common, seed: u64) {
        let row = self.operations.entry(finding.op).or_insert_with(|| OperationRow {
            name: finding.op.to_owned(),
            family: finding.family.to_owned(),
            cases: 0,
            failed: 0,
            skipped: 0,
            worst: Some(0.0),
            worst_case: String::new(),
        });
        let [cases, failed, skipped] = self.variants.entry(finding.variant).or_default();
        if finding.skipped {
            row.skipped += 1;
            *skipped += 1;
            return;
        }
        row.cases += 1;
        *cases += 1;
        if row.worst_case.is_empty() || finding.worst > row.worst.unwrap_or(f64::INFINITY) {
            row.worst = finding.worst.is_finite().then_some(finding.worst);
            row.worst_case = match finding.variant {
                "as used" => finding.case(),
                variant => format!("{}, {variant}", finding.case()),
            };
        }
        if let Some(failure) = failure(finding, common, seed) {
            row.failed += 1;
            *failed += 1;
            self.failures.push(failure);
        }
    }

    fn variant_row(&self, outcome: &VariantOutcome) -> VariantRow {
        let [cases, failed, skipped] = self.variants.get(outcome.variant.name).copied().unwrap_or_default();
        VariantRow {
            name: outcome.variant.name.to_owned(),
            description: outcome.variant.description.to_owned(),
            cases,
            failed,
            skipped,
            pipelines: outcome.pipelines as u64,
            seconds: outcome.seconds,
        }
    }
}

/// What is wrong with a finding, and how to see it again.
fn failure(finding: &Finding, common: &Common, seed: u64) -> Option<Failure> {
    let failure = finding.failure.as_ref()?;
    let types = |inputs: &[TensorType]| inputs.iter().map(ToString::to_string).collect();
    let (element, error) = match &failure.smallest {
        Some(smallest) => (&smallest.element, &smallest.error),
        None => (&failure.element, &failure.error),
    };
    let (op, case, variant) = (shell_word(finding.op), shell_word(&finding.case()), shell_word(finding.variant));
    let device = shell_word(&common.device);
    Some(Failure {
        op: finding.op.to_owned(),
        parameters: finding.parameters.clone(),
        case: finding.case(),
        variant: finding.variant.to_owned(),
        inputs: types(&failure.inputs),
        smallest: failure.smallest.as_ref().map_or_else(Vec::new, |smallest| types(&smallest.inputs)),
        element: element.as_ref().map(self::element),
        message: error.to_string(),
        repeat: format!("neuropil check --op {op} --case {case} --variant {variant} --seed {seed} --device {device}"),
    })
}

fn element(comparison: &Comparison) -> Element {
    let Comparison { name, worst, index, got, want, tolerance } = comparison;
    let allowed = tolerance.absolute + tolerance.relative * want.abs();
    Element {
        name: name.clone(),
        index: index.clone(),
        got: format!("{got:e}"),
        want: format!("{want:e}"),
        allowed: format!("{allowed:.3e}: {}", tolerance.reason),
        units: worst.is_finite().then_some(*worst),
    }
}

/// The command as it was given.
fn command_line() -> String {
    let words = std::env::args_os().skip(1).map(|word| shell_word(&word.to_string_lossy()));
    std::iter::once("neuropil".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

fn machine(device: &Device) -> Machine {
    let adapter = device.adapter();
    let text = |pick: fn(&AdapterInfo) -> &str| adapter.map_or(String::new(), |a| pick(a).to_owned());
    let limits = adapter.map_or(&[][..], |adapter| &adapter.limits);
    let features = adapter.map_or(&[][..], |adapter| &adapter.features);
    Machine {
        device: device.name(),
        kind: adapter.map_or("CPU", |adapter| adapter.kind).to_owned(),
        backend: text(|adapter| &adapter.backend),
        driver: text(|adapter| &adapter.driver),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        limits: limits.iter().map(|&(name, limit)| (name.to_owned(), limit)).collect(),
        features: features.iter().map(|&feature| feature.to_owned()).collect(),
    }
}

/// A date and time in UTC: `2026-01-31 12:00:00`.
fn utc(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace('T', " ").replace('Z', "")
}

/// A line for every operation and, if there are several, for every variant.
fn print_tables(found: &Report, output: &Output) -> io::Result<()> {
    output.text(format_args!("\n{:<24} {:>5} {:>6}  worst error, 1 = allowed", "operation", "cases", "failed"))?;
    for OperationRow { name, cases, failed, skipped, worst, worst_case, .. } in &found.operations {
        let record = Record::event("op").with("op", name.as_str()).with("cases", *cases).with("failed", *failed);
        let record = record.with("skipped", *skipped).with_number("worst", worst.unwrap_or(f64::INFINITY));
        let worst = worst.map_or_else(|| "wrong".to_owned(), |worst| format!("{worst:.3}"));
        let text = format_args!("{name:<24} {cases:>5} {failed:>6}  {worst:<6} {worst_case}");
        output.emit(&record.with("worst_case", worst_case.as_str()), text)?;
    }
    if found.variants.len() > 1 {
        output.text(format_args!("\n{:<24} {:>5} {:>6}  kernels", "variant", "cases", "failed"))?;
    }
    for VariantRow { name, description, cases, failed, skipped, pipelines, seconds } in &found.variants {
        let record = Record::event("variant").with("variant", name.as_str()).with("description", description.as_str());
        let record = record.with("cases", *cases).with("failed", *failed).with("skipped", *skipped);
        output.record(&record.with("pipelines", *pipelines).with_number("seconds", *seconds))?;
        if found.variants.len() > 1 {
            output.text(format_args!("{name:<24} {cases:>5} {failed:>6}  {pipelines:<6} {description}"))?;
        }
    }
    Ok(())
}

/// Prints a failure as JSON, and as text if it is to be `shown`.
fn print_failure(failure: &Failure, shown: bool, output: &Output) -> io::Result<()> {
    let Failure { op, parameters, case, variant, inputs, smallest, element, message, repeat } = failure;
    let record = Record::event("failure").with("op", op.as_str()).with("case", case.as_str());
    let record = record.with("message", message.as_str()).with("repeat", repeat.as_str());
    let record = record.with("variant", variant.as_str()).with("parameters", parameters.as_str());
    let record = record.with("inputs", inputs.as_slice()).with("smallest", smallest.as_slice());
    let element = element.as_ref().map(|Element { name, index, got, want, allowed, units }| {
        json!({ "name": name, "index": index, "got": got, "want": want, "allowed": allowed, "units": units })
    });
    output.record(&record.with("element", element.unwrap_or(Value::Null)))?;
    if !shown {
        return Ok(());
    }
    let (inputs, small) = (inputs.join(", "), smallest.join(", "));
    let at = if smallest.is_empty() { inputs } else { format!("{inputs}; as small as {small}") };
    output.text(format_args!("\n{op}, {case} ({variant}), of {at}:\n  {message}\n  repeat with: {repeat}"))
}

fn print_total(found: &Report, device: &Device, output: &Output) -> io::Result<()> {
    let Verdict { cases, failed, skipped, operations, .. } = Verdict::of(found);
    let record = Record::event("done").with("device", device.name()).with("cases", cases).with("failed", failed);
    let record = record.with("skipped", skipped).with_number("seconds", found.seconds);
    let left_out = match skipped {
        0 => String::new(),
        skipped => format!("; {} of f16 left out, which it does not store", counted(skipped, "case")),
    };
    let verdict = match failed {
        0 => "all are right".to_owned(),
        1 => "1 IS WRONG".to_owned(),
        _ => format!("{failed} ARE WRONG"),
    };
    let (cases, operations) = (counted(cases, "case"), counted(operations, "operation"));
    let device = device_name(device);
    output.emit(&record, format_args!("\n{cases} of {operations} on {device}: {verdict}{left_out}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use neuropil::ErrorKind;
    use neuropil::check::{Direction, findings};
    use neuropil::graph::Tolerance;

    use super::super::{Cli, Command};

    /// What a wrong gradient of `conv2d` looks like.
    fn wrong() -> Finding {
        let f32 = |shape: &[usize]| neuropil::graph::TensorType::new(neuropil::DType::F32, shape);
        let element = Comparison {
            name: "grad_in0".to_owned(),
            worst: f64::INFINITY,
            index: vec![0, 1],
            got: f64::from(0.1f32),
            want: 0.25,
            tolerance: Tolerance::ROUNDED,
        };
        let error = Error::new(ErrorKind::Parity, element.to_string());
        let smallest = findings::Smallest { inputs: vec![f32(&[1, 2])], error: error.clone(), element: Some(element) };
        Finding {
            family: "conv2d",
            op: "conv2d",
            parameters: "Conv2d".to_owned(),
            sample: "it's, 3×3".to_owned(),
            direction: Some(Direction::Gradient),
            fresh: true,
            variant: "as used",
            worst: f64::INFINITY,
            failure: Some(findings::Failure {
                error,
                element: None,
                inputs: vec![f32(&[4, 5])],
                smallest: Some(smallest),
            }),
            skipped: false,
        }
    }

    #[test]
    fn a_failure_has_the_smallest_shape_both_values_and_the_command_that_repeats_it() {
        let common = Common { device: "Apple M1".to_owned(), json: false };
        let mut tally = Tally::default();
        tally.count(&wrong(), &common, 7);
        let row = &tally.operations["conv2d"];
        assert_eq!((row.cases, row.failed, row.worst), (1, 1, None));
        let [failure] = &tally.failures[..] else { panic!("{:?}", tally.failures) };
        assert!(matches!(conclude(None, &tally.failures), Err(Stop::Wrong)) && conclude(None, &[]).is_ok());
        assert_eq!((failure.inputs.join(", "), failure.smallest.join(", ")), ("f32[4, 5]".into(), "f32[1, 2]".into()));
        let element = failure.element.as_ref().unwrap();
        assert_eq!((&*element.got, &*element.want, element.units), ("1.0000000149011612e-1", "2.5e-1", None));

        let words = ["neuropil", "check", "--op", "conv2d", "--case", "it's, 3×3, gradient, fresh inputs"];
        let words = words.iter().chain(&["--variant", "as used", "--seed", "7", "--device", "Apple M1"]);
        let quoted: Vec<String> = words.clone().map(|word| shell_word(word)).collect();
        assert_eq!(failure.repeat, quoted.join(" "));
        let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        let Command::Check(arguments) = cli.command else { panic!("another command") };
        let plan = arguments.plan();
        assert_eq!((plan.case.unwrap(), plan.variant.unwrap(), plan.seed), (wrong().case(), "as used".into(), 7));
    }

    #[test]
    fn dates_are_in_utc() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(951_782_400);
        assert_eq!(utc(time), "2000-02-29 00:00:00");
    }
}
