//! Parity: every sample of every operation on a device, against the `f64` reference.
//!
//! Each [`Case`] is compiled as a program of its own and run twice: the results must be within the tolerance and, between
//! the two runs, equal bit for bit. On a device with guards, nothing outside of the tensors may change. Samples that must
//! be refused are checked too. [`run`] is what the command `check` and the tests call.

use std::collections::BTreeMap;

use super::{Case, Comparison, cases, check_error, compare, gradients};
use crate::array::Array;
use crate::device::Device;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::graph::{Expect, Sample};
use crate::ops::REGISTRY;
use crate::program::Program;
use crate::store::Store;

/// What one case gave.
#[derive(Debug)]
pub struct Finding {
    /// The family's name: the file of the operation.
    pub family: &'static str,
    /// The operation's name.
    pub op: String,
    /// The sample and direction: `broadcast row, gradient`.
    pub case: String,
    /// The worst error in units of what is allowed; 0 for a sample that was refused as it must be.
    pub worst: f64,
    /// What is wrong, if anything.
    pub failure: Option<Error>,
    /// Whether it was left out, since the device does not store `f16`.
    pub skipped: bool,
}

/// The findings of one operation, summed up.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Cases run.
    pub cases: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Cases that were left out, since the device does not store `f16`; they do not count among the others.
    pub skipped: usize,
    /// The worst error in units of what is allowed.
    pub worst: f64,
    /// The case that shows it.
    pub worst_case: String,
}

/// Runs all cases on `device` of the operation or family called `filter`, or if there is none, of those whose name contains
/// it; calls `report` with every finding.
///
/// # Errors
/// When the device is lost. What a case shows is reported, not returned.
pub fn run(
    device: &Device,
    filter: Option<&str>,
    mut report: impl FnMut(&Finding),
) -> Result<BTreeMap<String, Summary>> {
    let mut summaries: BTreeMap<String, Summary> = BTreeMap::new();
    let selected = selection(filter);
    for family in REGISTRY {
        for sample in (family.samples)() {
            if !selected(family.name, sample.op.name()) {
                continue;
            }
            for finding in findings(device, family.name, &sample)? {
                report(&finding);
                summaries.entry(finding.op.clone()).or_default().count(&finding);
            }
        }
    }
    Ok(summaries)
}

/// Holds operations of users to what those of the crate are held to: each sample forward, backward and through views on
/// `device`, its gradient rule against central differences in `f64`, and refused where it must be.
///
/// # Errors
/// The first thing that is wrong, with the operation and the case.
pub fn check_samples(device: &Device, samples: &[Sample]) -> Result<Summary> {
    let mut summary = Summary::default();
    for sample in samples {
        for finding in findings(device, "custom", sample)? {
            summary.count(&finding);
            if let Some(error) = finding.failure {
                return Err(error.context(format!("{}, {}", finding.op, finding.case)));
            }
        }
        if matches!(sample.expect, Expect::Reference) {
            gradients::sample(sample)
                .and_then(|outcome| outcome.verdict())
                .context(|| format!("{}, {}, gradient against central differences", sample.op.name(), sample.name))?;
        }
    }
    Ok(summary)
}

impl Summary {
    fn count(&mut self, finding: &Finding) {
        if finding.skipped {
            self.skipped += 1;
            return;
        }
        self.cases += 1;
        self.failed += usize::from(finding.failure.is_some());
        if finding.worst > self.worst || self.worst_case.is_empty() {
            self.worst = finding.worst;
            self.worst_case.clone_from(&finding.case);
        }
    }
}

/// Whether a family's operation is meant by `filter`.
pub fn selection(filter: Option<&str>) -> impl Fn(&str, &str) -> bool {
    let exact = filter.is_some_and(|filter| {
        let is_op = |family: &crate::ops::Family| (family.samples)().iter().any(|sample| sample.op.name() == filter);
        REGISTRY.iter().any(|family| family.name == filter || is_op(family))
    });
    move |family, op| match filter {
        None => true,
        Some(filter) if exact => op == filter || family == filter,
        Some(filter) => op.contains(filter) || family.contains(filter),
    }
}

/// What every case of a sample shows; what the device cannot store is skipped.
///
/// # Errors
/// When the device is lost.
fn findings(device: &Device, family: &'static str, sample: &Sample) -> Result<Vec<Finding>> {
    let outcomes = if matches!(sample.expect, Expect::Error(..)) {
        let refused = check_error(sample).map(|()| Verdict { worst: 0.0, failure: None });
        vec![("refused".to_owned(), Some(refused))]
    } else {
        match cases(sample) {
            Ok(cases) => {
                let possible = |case: &Case| device.has_f16() || !case.needs_f16();
                let outcome = |case: &Case| possible(case).then(|| check_case(device, case));
                cases.iter().map(|case| (case.direction.to_string(), outcome(case))).collect()
            }
            Err(error) => vec![("reference".to_owned(), Some(Err(error)))],
        }
    };
    let finding = |(direction, outcome): (String, Option<Result<Verdict>>)| {
        let skipped = outcome.is_none();
        let (worst, failure) = match outcome {
            None => (0.0, None),
            Some(Ok(Verdict { worst, failure })) => (worst, failure),
            Some(Err(error)) if error.kind() == ErrorKind::Device => return Err(error),
            Some(Err(error)) => (f64::INFINITY, Some(error)),
        };
        let case = format!("{}, {direction}", sample.name);
        Ok(Finding { family, op: sample.op.name().to_owned(), case, worst, failure, skipped })
    };
    outcomes.into_iter().map(finding).collect()
}

/// What a case that ran shows.
#[derive(Debug)]
pub struct Verdict {
    /// The worst error in units of what is allowed.
    pub worst: f64,
    /// What is wrong, if anything: an element beyond its tolerance, bits that differ between two runs.
    pub failure: Option<Error>,
}

/// Runs one case on a device.
///
/// # Errors
/// When it cannot be run, gives results of another type, or writes outside of its tensors. A wrong number is a verdict.
pub fn check_case(device: &Device, case: &Case) -> Result<Verdict> {
    let store = Store::new(device, 0);
    let program = Program::from_graph(&case.name, &store, &case.graph)?;
    let inputs: Vec<(&str, &Array)> = case.leaves.iter().map(|(name, array)| (name.as_str(), array)).collect();
    let inputs: Vec<(&str, &Array)> = inputs.into_iter().filter(|(name, _)| program.takes(name)).collect();
    let first = program.call(&inputs)?;
    let second = program.call(&inputs)?;
    if device.options().guards {
        program.check_guards()?;
    }
    let mut verdict = Verdict { worst: 0.0, failure: None };
    for want in &case.wants {
        let (got, again) = (&first[&want.name], &second[&want.name]);
        let comparison: Comparison = compare(&want.name, got, &want.array, want.tolerance)?;
        if comparison.worst > verdict.worst {
            verdict.worst = comparison.worst;
        }
        if let Err(error) = comparison.verdict() {
            verdict.failure.get_or_insert(error);
        }
        if got.to_words() != again.to_words() {
            let text = format!("{}: two runs differ in their bits", want.name);
            verdict.failure.get_or_insert(Error::new(ErrorKind::Parity, text));
        }
    }
    Ok(verdict)
}
