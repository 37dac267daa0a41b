//! Parity: cases on a device, against the `f64` reference.
//!
//! Each [`Case`] is compiled as a program of its own and run twice: the results must be within the tolerance and, between
//! the two runs, equal bit for bit. On a device with guards, nothing outside of the tensors may change. [`super::suite`]
//! runs the cases of all operations of the crate, [`check_samples`] those of a user's own.

use super::{Case, Comparison, cases, check_error, gradients};
use crate::array::Array;
use crate::device::Device;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::graph::{Expect, Sample};
use crate::program::Program;
use crate::store::Store;

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

/// Holds operations of users to what those of the crate are held to: each sample forward, backward, through views and
/// between neighbours on `device`, its gradient rule against central differences in `f64`, and refused where it must be.
///
/// # Errors
/// The first thing that is wrong, with the operation and the case.
pub fn check_samples(device: &Device, samples: &[Sample]) -> Result<Summary> {
    let mut summary = Summary::default();
    for sample in samples {
        for (direction, outcome) in outcomes(device, sample) {
            let case = format!("{}, {}, {direction}", sample.op.name(), sample.name);
            let Some(outcome) = outcome else {
                summary.skipped += 1;
                continue;
            };
            let Verdict { worst, failure, .. } = outcome.context(|| case.clone())?;
            summary.count(worst, &format!("{}, {direction}", sample.name), failure.is_some());
            if let Some(error) = failure {
                return Err(error.context(case));
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
    /// Adds a case that ran.
    pub(super) fn count(&mut self, worst: f64, case: &str, failed: bool) {
        self.cases += 1;
        self.failed += usize::from(failed);
        if worst > self.worst || self.worst_case.is_empty() {
            self.worst = worst;
            case.clone_into(&mut self.worst_case);
        }
    }
}

/// What every case of a sample shows, with its direction; what the device cannot store is left out.
fn outcomes(device: &Device, sample: &Sample) -> Vec<(String, Option<Result<Verdict>>)> {
    if matches!(sample.expect, Expect::Error(..)) {
        return vec![("refused".to_owned(), Some(check_error(sample).map(|()| Verdict::default())))];
    }
    match cases(sample) {
        Ok(cases) => {
            let possible = |case: &Case| device.has_f16() || !case.needs_f16();
            let outcome = |case: &Case| possible(case).then(|| check_case(device, case));
            cases.iter().map(|case| (case.direction.to_string(), outcome(case))).collect()
        }
        Err(error) => vec![("reference".to_owned(), Some(Err(error)))],
    }
}

/// What a case that ran shows.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The worst error in units of what is allowed.
    pub worst: f64,
    /// What is wrong, if anything: an element beyond its tolerance, bits that differ between two runs.
    pub failure: Option<Error>,
    /// The worst element of the first output that is beyond its tolerance.
    pub element: Option<Comparison>,
}

/// Runs one case on a device.
///
/// # Errors
/// When it cannot be run, gives results of another type, or writes outside of its tensors. A wrong number is a verdict.
pub fn check_case(device: &Device, case: &Case) -> Result<Verdict> {
    judge(&compile(device, case)?, case)
}

/// The program of a case.
///
/// # Errors
/// When it does not fit the device, or a shader does not compile.
pub(super) fn compile(device: &Device, case: &Case) -> Result<Program> {
    Program::from_graph(&case.name, &Store::new(device, 0), &case.graph)
}

/// Runs a case by its program, or by that of a case with the same graph.
///
/// # Errors
/// As [`check_case`].
pub(super) fn judge(program: &Program, case: &Case) -> Result<Verdict> {
    let inputs: Vec<(&str, &Array)> = case.leaves.iter().map(|(name, array)| (name.as_str(), array)).collect();
    let inputs: Vec<(&str, &Array)> = inputs.into_iter().filter(|(name, _)| program.takes(name)).collect();
    let first = program.call(&inputs)?;
    let second = program.call(&inputs)?;
    if program.device().options().guards {
        program.check_guards()?;
    }
    let mut verdict = Verdict::default();
    for want in &case.wants {
        let (got, again) = (&first[&want.name], &second[&want.name]);
        let comparison = want.compare(got)?;
        verdict.worst = verdict.worst.max(comparison.worst);
        if let Err(error) = comparison.verdict() {
            verdict.failure.get_or_insert(error);
            verdict.element.get_or_insert(comparison);
        }
        if got.to_words() != again.to_words() {
            let text = format!("{}: two runs differ in their bits", want.name);
            verdict.failure.get_or_insert(Error::new(ErrorKind::Parity, text));
        }
    }
    Ok(verdict)
}
