//! A training step as a trace of Chrome's format, which Perfetto reads too: what the host recorded, what the device computed.
//!
//! Both are complete events on a track of their own. The times are those of [`neuropil::device::Profile`]; how the device's
//! were measured is said in the trace. Format: "Trace Event Format", Google, 2016.

use std::ops::Range;
use std::path::Path;

use neuropil::{Error, Program};
use serde_json::{Value, json};

/// The tracks, by their numbers in the file.
const HOST: u32 = 1;
const DEVICE: u32 = 2;

/// Runs a step of `program`, and writes when its parts ran.
///
/// # Errors
/// When the device is lost, or the file cannot be written.
pub fn write(program: &Program, path: &Path) -> Result<(), Error> {
    let profile = program.profile(&[])?;
    let named = |track: u32, name: &str| json!({ "name": "thread_name", "ph": "M", "pid": 0, "tid": track, "args": { "name": name } });
    let device = program.device().name();
    let mut events = vec![
        json!({ "name": "process_name", "ph": "M", "pid": 0, "args": { "name": program.name() } }),
        named(HOST, "host"),
        named(DEVICE, &device),
    ];
    for (i, (times, step)) in profile.steps.iter().zip(&program.schedule().steps).enumerate() {
        let about = json!({ "kernel": program.form(i) });
        if !times.host.is_empty() {
            events.push(event(&step.label, HOST, &times.host, about.clone()));
        }
        events.push(event(&step.label, DEVICE, &times.device, about));
    }
    if let Some(submission) = &profile.submission {
        events.push(event("submit", HOST, submission, json!({})));
    }
    let trace = json!({
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": { "device": device, "clock": profile.clock.name(), "version": env!("CARGO_PKG_VERSION") },
    });
    neuropil::format::write_atomically(path, |writer| {
        serde_json::to_writer(writer, &trace).map_err(|e| Error::io(path, e.into()))
    })
}

/// A complete event; times are in seconds, in the file in microseconds.
fn event(name: &str, track: u32, times: &Range<f64>, about: Value) -> Value {
    let (start, duration) = (1e6 * times.start, 1e6 * (times.end - times.start));
    json!({ "name": name, "ph": "X", "pid": 0, "tid": track, "ts": start, "dur": duration, "args": about })
}
