//! What `neuropil check --report` writes: everything that was found, as plain data, and as a page.
//!
//! A [`Report`] is complete by itself, so that it can be attached to a bug report: the machine, the command, what was run,
//! the worst of every operation, and for each failure the smallest shape that shows it. The end of the file's name says
//! how it is written: as a page for a browser or for a bug report (`pages`), or as JSON for programs, whose keys are the
//! names of the fields below. Before: `check` fills it in.

use std::path::Path;

use neuropil::format::write_atomically;
use neuropil::{Error, ErrorKind};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{pages, shell_word};

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One file for a browser, which needs nothing beside it.
    Html,
    /// Text to paste into a bug report.
    Markdown,
    /// For programs.
    Json,
}

/// The format that the end of a file's name asks for.
///
/// # Errors
/// When it asks for none of them.
pub fn format_of(path: &Path) -> Result<Format, Error> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match &*extension {
        "html" => Ok(Format::Html),
        "md" => Ok(Format::Markdown),
        "json" => Ok(Format::Json),
        _ => {
            let file = shell_word(&path.display().to_string());
            let message = format!("--report {file}: give a name that ends in .html, .md or .json");
            Err(Error::new(ErrorKind::Config, message))
        }
    }
}

/// Writes `report` to the file `path`, as a whole or not at all.
///
/// # Errors
/// When `path` does not say how, or cannot be written; the message names it.
pub fn write(path: &Path, report: &Report) -> Result<(), Error> {
    let text = match format_of(path)? {
        Format::Html => pages::html(report)?,
        Format::Markdown => pages::markdown(report)?,
        Format::Json => json(report),
    };
    write_atomically(path, |file| file.write_all(text.as_bytes()).map_err(|e| Error::new(ErrorKind::Io, e.to_string())))
}

/// The report for programs.
fn json(report: &Report) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        /// Counts up when a key changes its meaning or goes.
        report_version: u32,
        verdict: Verdict,
        #[serde(flatten)]
        report: &'a Report,
    }
    let document = Document { report_version: 1, verdict: Verdict::of(report), report };
    let mut text = serde_json::to_string_pretty(&document).expect("plain data with keys that are text");
    text.push('\n');
    text
}

/// What a report comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether something was run, and nothing is wrong.
    pub right: bool,
    /// Cases run.
    pub cases: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Cases left out.
    pub skipped: usize,
    /// Operations of which cases were run or left out.
    pub operations: usize,
}

impl Verdict {
    /// Sums `report` up. A failure that the counts do not tell of still makes it wrong.
    pub fn of(report: &Report) -> Self {
        let sum = |count: fn(&OperationRow) -> usize| report.operations.iter().map(count).sum::<usize>();
        let (cases, failed) = (sum(|row| row.cases), sum(|row| row.failed).max(report.failures.len()));
        let (skipped, operations) = (sum(|row| row.skipped), report.operations.len());
        Verdict { right: cases > 0 && failed == 0, cases, failed, skipped, operations }
    }
}

/// All that a run of `check` found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of this program.
    pub version: String,
    /// The command as it was given.
    pub command: String,
    /// `quick`, `standard` or `full`.
    pub level: String,
    /// Fixes the random inputs.
    pub seed: u64,
    /// When the run began, in UTC, as `2026-01-31 12:00:00`.
    pub date: String,
    /// How long it took.
    pub seconds: f64,
    /// The machine.
    pub machine: Machine,
    /// The ways in which kernels were made and run, in the order of running.
    pub variants: Vec<VariantRow>,
    /// The operations by name.
    pub operations: Vec<OperationRow>,
    /// What is wrong, the first failure of an operation and variant shrunk.
    pub failures: Vec<Failure>,
}

/// Where it ran.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The adapter's name, or `cpu`.
    pub device: String,
    /// `discrete GPU`, `software`, `CPU`, …
    pub kind: String,
    /// `Vulkan`, `Metal`, …; empty on the CPU.
    pub backend: String,
    /// The driver and its version; empty on the CPU.
    pub driver: String,
    /// The operating system and processor architecture, as `linux x86_64`.
    pub system: String,
    /// Limits by WebGPU's names.
    #[serde(serialize_with = "as_object")]
    pub limits: Vec<(String, u64)>,
    /// Features by WebGPU's names.
    pub features: Vec<String>,
}

/// Writes pairs as an object, in their order.
fn as_object<S: Serializer>(pairs: &[(String, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(Some(pairs.len()))?;
    pairs.iter().try_for_each(|(key, value)| object.serialize_entry(key, value))?;
    object.end()
}

/// One way of making and running kernels.
#[derive(Clone, Debug, Serialize)]
pub struct VariantRow {
    /// `as used`, `checked`, `unfused`, `staged`, …
    pub name: String,
    /// What it means.
    pub description: String,
    /// Cases run.
    pub cases: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Cases left out, since the device does not store `f16`.
    pub skipped: usize,
    /// Distinct compute pipelines compiled.
    pub pipelines: u64,
    /// Seconds it took.
    pub seconds: f64,
}

/// One operation, over all variants.
#[derive(Clone, Debug, Serialize)]
pub struct OperationRow {
    /// Its name.
    pub name: String,
    /// Its file below `src/ops`.
    pub family: String,
    /// Cases run.
    pub cases: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Cases left out.
    pub skipped: usize,
    /// The worst error in units of what is allowed: right up to 1; `None` where it is not finite.
    pub worst: Option<f64>,
    /// The case that shows it: sample, direction, variant.
    pub worst_case: String,
}

/// One case that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The operation's name.
    pub op: String,
    /// The operation with its parameters.
    pub parameters: String,
    /// Sample and direction.
    pub case: String,
    /// The variant.
    pub variant: String,
    /// The types of the inputs, as `f32[4, 5]`.
    pub inputs: Vec<String>,
    /// Types of the smallest inputs found that fail too; empty if it was not shrunk.
    pub smallest: Vec<String>,
    /// Which output, where in it, and both values; `None` if it failed otherwise (an error, bits that differ).
    pub element: Option<Element>,
    /// What is wrong, in words.
    pub message: String,
    /// The command that repeats it.
    pub repeat: String,
}

/// The worst element of a result, in the smallest failing shape.
#[derive(Clone, Debug, Serialize)]
pub struct Element {
    /// `out0`, `grad_in1`, …
    pub name: String,
    /// Its index.
    pub index: Vec<usize>,
    /// What the device gave, in full digits.
    pub got: String,
    /// What the reference gives.
    pub want: String,
    /// The error that is allowed there, and why.
    pub allowed: String,
    /// The error in units of that; `None` where it is not finite.
    pub units: Option<f64>,
}
