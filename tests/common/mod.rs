//! The devices that tests run on.
//!
//! `NEUROPIL_TEST_DEVICE` says which GPU is tested: `software` (the default: Mesa's lavapipe on any machine), `gpu` (a
//! hardware GPU), or a part of an adapter's name. Where there is no such GPU the test fails and says how to get one. Only
//! `cpu`, which asks for that, leaves out what needs a GPU; such a test says so. The CPU device is always tested.

#![allow(dead_code, reason = "every test file is a crate of its own and uses a part")]

#[cfg(feature = "cli")]
pub mod command;
pub mod golden;
pub mod halves;
pub mod model;
pub mod random_graph;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use neuropil::Device;
use neuropil::device::gpu::{Limits, workspace};
use neuropil::device::{GpuChoice, Options, Tiles, Tuning};
use neuropil::graph::Graph;
use neuropil::schedule::{Capabilities, Schedule, StoreLayout, Work, schedule};

const VARIABLE: &str = "NEUROPIL_TEST_DEVICE";

/// Guard words around every intermediate tensor, so that a write outside of it is seen. All results are compared, so
/// kernels need no proof on first use.
pub const GUARDED: Options = Options {
    checked: false,
    guards: true,
    tiles: Tiles::Auto,
    tuning: Tuning::Off,
    winograd: false,
    folded: false,
    unfused: false,
    unproven: true,
};

/// Guard words, shaders with every runtime check that a browser would compile in, and workgroups in rows.
pub const CHECKED: Options = Options { checked: true, folded: true, ..GUARDED };

/// The GPU under test, one for all tests of a process; `None`, with a word, where it was asked to leave it out.
pub fn gpu() -> Option<Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    DEVICE.get_or_init(|| open_gpu(Options::default())).clone().or_else(skip)
}

/// As [`gpu`], with [`CHECKED`] shaders and memory.
pub fn checked_gpu() -> Option<Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    DEVICE.get_or_init(|| open_gpu(CHECKED)).clone().or_else(skip)
}

/// The CPU device and, unless it is left out, the GPU under test.
pub fn devices() -> Vec<Device> {
    std::iter::once(Device::cpu()).chain(gpu()).collect()
}

/// Opens the GPU under test once more, for a test that wants one to itself; `None` where it is left out.
pub fn open_gpu(options: Options) -> Option<Device> {
    let word = std::env::var(VARIABLE).unwrap_or_else(|_| "software".to_owned());
    let choice = match word.as_str() {
        "cpu" => return None,
        "software" => GpuChoice::Software,
        "gpu" => GpuChoice::Hardware,
        name => GpuChoice::Named(name.to_owned()),
    };
    let device = pollster::block_on(Device::open(&choice, options));
    Some(device.unwrap_or_else(|error| panic!("{error}; {VARIABLE}=cpu leaves out what needs a GPU")))
}

/// Nothing, said aloud.
pub fn skip() -> Option<Device> {
    println!("skipped: {VARIABLE}=cpu");
    None
}

/// What kernels must know of an adapter without subgroups of a fixed size.
pub fn limits(tiles: Tiles) -> Limits {
    let winograd = tiles == Tiles::Winograd;
    let tiles = if winograd { Tiles::Direct } else { tiles };
    Limits { tiles, small: tiles, measured: false, winograd, lanes: None, fragment: None, workgroups: 65_535 }
}

/// The schedule of a simplified graph for an adapter that has just what WebGPU guarantees; made without a GPU.
pub fn portable_schedule(graph: &Graph, store: &StoreLayout, limits: &Limits) -> Schedule {
    let workspace = |work: &Work| workspace(work, limits);
    let capabilities = Capabilities {
        operands: 8,
        binding_words: (128 << 20) / 4,
        buffer_words: (256 << 20) / 4,
        workspace: &workspace,
        guards: false,
        unfused: false,
    };
    let schedule = schedule(graph, store, &capabilities).expect("the graph can be scheduled");
    schedule.verify().expect("the schedule is sound");
    schedule
}

/// Every file below `folder`, sorted.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
