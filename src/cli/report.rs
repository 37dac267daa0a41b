//! What `neuropil check --report` writes: everything that was found, as plain data, and as a page.
//!
//! A [`Report`] is complete by itself, so that it can be attached to a bug report: the machine, the command, what was run,
//! the worst of every operation, and for each failure the smallest shape that shows it. Before: `check` fills it in.

use serde::Serialize;

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
    pub limits: Vec<(String, u64)>,
    /// Features by WebGPU's names.
    pub features: Vec<String>,
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

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
}

/// The format that the file's extension asks for.
///
/// # Errors
/// When it is none of them.
pub fn format_of(path: &std::path::Path) -> Result<Format, neuropil::Error> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => Ok(Format::Json),
        _ => Err(neuropil::Error::new(
            neuropil::ErrorKind::Config,
            format!("--report {}: give a file that ends in .html, .md or .json", path.display()),
        )),
    }
}

/// Writes a report.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &std::path::Path, report: &Report) -> Result<(), neuropil::Error> {
    let Format::Json = format_of(path)?;
    let text = serde_json::to_string_pretty(report)
        .map_err(|error| neuropil::Error::new(neuropil::ErrorKind::Format, error.to_string()))?;
    std::fs::write(path, text + "\n").map_err(|error| neuropil::Error::io(path, error))
}
