//! What one case gives: it is run, and what fails is made small.
//!
//! A [`Worker`] has a device of its own and checks samples in one variant. Before: [`mod@super::cases`]
//! makes the cases, [`super::fresh`] their inputs. After: [`super::suite`] collects the findings.

use std::collections::HashSet;

use crate::array::Array;
use crate::check::fresh::{self, types};
use crate::check::parity::{self, Verdict};
use crate::check::suite::NameFilter;
use crate::check::variants::Variant;
use crate::check::{Case, Comparison, Direction, case_of, check_error, shrink};
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Expect, Sample, TensorType};
use crate::program::Program;

/// What one case gave.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The family's name: the file of the operation.
    pub family: &'static str,
    /// The operation's name.
    pub op: &'static str,
    /// The operation with its parameters.
    pub parameters: String,
    /// The sample's name.
    pub sample: String,
    /// What was run; `None` for a sample that must be refused.
    pub direction: Option<Direction>,
    /// Whether the inputs were drawn anew.
    pub fresh: bool,
    /// The variant's name.
    pub variant: &'static str,
    /// The worst error in units of what is allowed; 0 for a sample that was refused as it must be.
    pub worst: f64,
    /// What is wrong, if anything.
    pub failure: Option<Failure>,
    /// Whether it was left out, since the device does not store `f16`.
    pub skipped: bool,
}

/// What is wrong with a case.
#[derive(Clone, Debug)]
pub struct Failure {
    /// In words.
    pub error: Error,
    /// The worst element, if it is a number that is wrong.
    pub element: Option<Comparison>,
    /// The types of the operation's inputs.
    pub inputs: Vec<TensorType>,
    /// The smallest inputs that fail too; `None` if there are none, or an earlier failure was made small.
    pub smallest: Option<Smallest>,
}

/// The smallest inputs that were found to fail.
#[derive(Clone, Debug)]
pub struct Smallest {
    /// Their types.
    pub inputs: Vec<TensorType>,
    /// What is wrong with them, in words.
    pub error: Error,
    /// The worst element, if it is a number that is wrong.
    pub element: Option<Comparison>,
}

impl Finding {
    /// The sample and what was run: `broadcast row, gradient`, or `broadcast row, gradient, fresh inputs`.
    pub fn case(&self) -> String {
        case_name(&self.sample, self.direction, self.fresh)
    }
}

/// The name of a case; that of a sample that must be refused has no direction.
pub(super) fn case_name(sample: &str, direction: Option<Direction>, fresh: bool) -> String {
    let direction = direction.map_or_else(|| "refused".to_owned(), |direction| direction.to_string());
    let fresh = if fresh { ", fresh inputs" } else { "" };
    format!("{sample}, {direction}{fresh}")
}

/// One thread at one job.
pub(super) struct Worker<'a> {
    /// The one of the variant.
    pub device: &'a Device,
    pub variant: &'a Variant,
    /// Of the fresh inputs.
    pub seed: u64,
    /// Which cases are wanted, if not all.
    pub case: Option<&'a NameFilter>,
    /// The operations and directions of which a failure was made small.
    pub shrunk: HashSet<(&'static str, Direction)>,
}

impl Worker<'_> {
    /// What the cases of a sample show, and the error that says that the device is lost.
    pub fn check(&mut self, family: &'static str, sample: &Sample) -> (Vec<Finding>, Option<Error>) {
        let finding = |direction, fresh| Finding {
            family,
            op: sample.op.name(),
            parameters: format!("{:?}", sample.op),
            sample: sample.name.clone(),
            direction,
            fresh,
            variant: self.variant.name,
            worst: 0.0,
            failure: None,
            skipped: false,
        };
        if matches!(sample.expect, Expect::Error(..)) {
            let mut refused = finding(None, false);
            if let Err(error) = check_error(sample) {
                refused.worst = f64::INFINITY;
                let inputs = types(&sample.inputs);
                refused.failure = Some(Failure { error, element: None, inputs, smallest: None });
            }
            return (vec![refused], None);
        }
        let drawn = fresh::sample(sample, self.seed);
        let mut findings = Vec::new();
        for direction in Direction::ALL {
            let mut program = None;
            for (sample, fresh) in [(Some(sample), false), (drawn.as_ref(), true)] {
                let Some(sample) = sample.filter(|sample| self.wanted(sample, direction, fresh)) else { continue };
                let mut finding = finding(Some(direction), fresh);
                let verdict = match self.case(sample, direction, fresh) {
                    Ok(None) => continue,
                    Ok(Some(case)) if case.needs_f16() && !self.device.has_f16() => {
                        findings.push(Finding { skipped: true, ..finding });
                        continue;
                    }
                    Ok(Some(case)) => self.judge(&case, &mut program),
                    Err(error) => Err(error),
                };
                finding.worst = verdict.as_ref().map_or(f64::INFINITY, |verdict| verdict.worst);
                let mut lost = None;
                if let Some(Wrong { error, element }) = Wrong::of(verdict) {
                    lost = (error.kind() == ErrorKind::Device).then(|| error.clone());
                    let mut smallest = None;
                    if lost.is_none() && self.shrunk.insert((sample.op.name(), direction)) {
                        (smallest, lost) = self.shrink(sample, direction, fresh, error.kind());
                    }
                    finding.failure = Some(Failure { error, element, inputs: types(&sample.inputs), smallest });
                }
                findings.push(finding);
                if lost.is_some() {
                    return (findings, lost);
                }
            }
        }
        (findings, None)
    }

    fn wanted(&self, sample: &Sample, direction: Direction, fresh: bool) -> bool {
        let admitted = |filter: &NameFilter| filter.admits(&case_name(&sample.name, Some(direction), fresh));
        self.case.is_none_or(admitted)
    }

    /// The case of a sample, if there is one and this variant runs it.
    fn case(&self, sample: &Sample, direction: Direction, fresh: bool) -> Result<Option<Case>> {
        let Some(case) = case_of(sample, direction)? else { return Ok(None) };
        let case = if fresh { fresh::widened(case, self.seed)? } else { case };
        self.variant.admit(self.device, case)
    }

    /// Runs a case; `program` is that of the case before, if it has the same graph.
    fn judge(&self, case: &Case, program: &mut Option<(String, Program)>) -> Result<Verdict> {
        let graph = case.graph.to_string();
        let known = program.take().filter(|(known, _)| *known == graph);
        let (_, program) = program.insert(match known {
            Some(known) => known,
            None => (graph, parity::compile(self.device, case)?),
        });
        parity::judge(program, case)
    }

    /// The smallest inputs that fail in the same way, and the error that says that the device was lost meanwhile.
    fn shrink(
        &self,
        sample: &Sample,
        direction: Direction,
        fresh: bool,
        kind: ErrorKind,
    ) -> (Option<Smallest>, Option<Error>) {
        let mut lost = None;
        let fails = |inputs: &[Array]| {
            let smaller = Sample { inputs: inputs.to_vec(), ..sample.clone() };
            let case = lost.is_none().then(|| self.case(&smaller, direction, fresh).ok().flatten())??;
            let wrong = Wrong::of(parity::check_case(self.device, &case))?;
            if wrong.error.kind() == ErrorKind::Device {
                lost = Some(wrong.error.clone());
            }
            (wrong.error.kind() == kind).then_some(wrong)
        };
        let found = shrink::smallest(&*sample.op, &sample.inputs, fails);
        let smallest =
            found.map(|(inputs, Wrong { error, element })| Smallest { inputs: types(&inputs), error, element });
        (smallest, lost)
    }
}

/// What is wrong with a case, before it is made small.
struct Wrong {
    error: Error,
    element: Option<Comparison>,
}

impl Wrong {
    fn of(verdict: Result<Verdict>) -> Option<Self> {
        match verdict {
            Ok(Verdict { failure, element, .. }) => Some(Wrong { error: failure?, element }),
            Err(error) => Some(Wrong { error, element: None }),
        }
    }
}
