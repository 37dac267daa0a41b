//! `neuropil weights show`: what a file of weights holds.

use std::path::PathBuf;

use clap::Args;
use neuropil::format::weights;

use super::super::Stop;
use super::super::output::{Output, Record, counted};

/// What `weights show` takes.
#[derive(Args)]
pub struct Arguments {
    /// A file of safetensors, NumPy or PyTorch; its first bytes say which
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Prints an array a line.
pub fn run(Arguments { file }: &Arguments, output: &Output) -> Result<(), Stop> {
    let (kind, arrays) = weights::load(file)?;
    for (name, array) in &arrays {
        let record = Record::event("array")
            .with("name", name.as_str())
            .with("type", array.dtype().to_string())
            .with("shape", array.shape());
        output.emit(&record, format_args!("{name}  {}{:?}", array.dtype(), array.shape()))?;
    }
    let elements: usize = arrays.iter().map(|(_, array)| array.len()).sum();
    let record = Record::event("done").with("kind", kind.to_string()).with("arrays", arrays.len());
    let text = format!("{kind}: {} of {elements} numbers", counted(arrays.len(), "array"));
    Ok(output.emit(&record.with("numbers", elements), text)?)
}
