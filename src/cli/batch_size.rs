//! `--batch-size`: a number, or as many as fit.

use std::fmt;
use std::str::FromStr;

use neuropil::Device;
use sysinfo::System;

/// How many images a step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// As many as fit the device.
    Auto,
    /// So many, at least one.
    Images(usize),
}

impl BatchSize {
    /// The number, where it is given.
    pub fn images(self) -> Option<usize> {
        match self {
            BatchSize::Auto => None,
            BatchSize::Images(images) => Some(images),
        }
    }
}

impl FromStr for BatchSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(BatchSize::Auto),
            number => super::at_least_one(number).map(BatchSize::Images).map_err(|error| format!("{error}, or auto")),
        }
    }
}

impl fmt::Display for BatchSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchSize::Auto => f.write_str("auto"),
            BatchSize::Images(images) => write!(f, "{images}"),
        }
    }
}

/// The bytes that a run may take where `device` computes in the memory of the host: half of what is free. A GPU with memory
/// of its own says itself when it has no more.
pub fn room(device: &Device) -> Option<u64> {
    let in_host_memory = device.adapter().is_none_or(|adapter| adapter.software);
    in_host_memory.then(|| {
        let mut system = System::new();
        system.refresh_memory();
        system.available_memory() / 2
    })
}
