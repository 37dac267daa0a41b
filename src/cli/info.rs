//! `neuropil info`: the adapters of this machine, and the device that would be used.

use neuropil::Device;
use neuropil::device::AdapterInfo;
use serde_json::{Map, Value, json};

use super::output::{Output, Record, device_name};
use super::{Common, Stop, shell_word};

/// The graphics interfaces that wgpu is built with on this system.
const INTERFACES: &[&str] = if cfg!(target_vendor = "apple") {
    &["Metal"]
} else if cfg!(windows) {
    &["Vulkan", "Dx12"]
} else {
    &["Vulkan"]
};

const MIB: u64 = 1 << 20;

/// Prints everything in one object, or in paragraphs.
pub fn run(common: &Common, output: &Output) -> Result<(), Stop> {
    let adapters = Device::adapters();
    let device = common.open_device()?;
    let threads = rayon::current_num_threads();
    let selected = json!({ "asked": common.device, "device": device.name(), "reason": device.reason() });
    let record = Record::new()
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("backends", INTERFACES)
        .with("cpu_threads", threads)
        .with("adapters", adapters.iter().map(adapter_value).collect::<Vec<Value>>())
        .with("selected", selected);
    output.record(&record)?;

    output.text(format_args!("neuropil {}", env!("CARGO_PKG_VERSION")))?;
    output.text(format_args!("graphics interfaces: {}; CPU threads: {threads}", INTERFACES.join(", ")))?;
    if adapters.is_empty() {
        output.text("\nno adapter is seen through these interfaces")?;
    }
    for adapter in &adapters {
        output.text(format_args!("\nadapter {}", adapter_text(adapter)))?;
    }
    output.text(format_args!("\n--device {} uses {}", shell_word(&common.device), device_name(&device)))?;
    Ok(output.text(format_args!("  why: {}", device.reason()))?)
}

fn adapter_value(adapter: &AdapterInfo) -> Value {
    let limits: Map<String, Value> = adapter.limits.iter().map(|&(name, limit)| (name.into(), limit.into())).collect();
    json!({
        "name": adapter.name,
        "kind": adapter.kind,
        "software": adapter.software,
        "backend": adapter.backend,
        "driver": adapter.driver,
        "limits": limits,
        "features": adapter.features,
    })
}

fn adapter_text(adapter: &AdapterInfo) -> String {
    let mut lines = vec![adapter.name.clone()];
    lines.push(format!("{}, {}, driver {}", adapter.kind, adapter.backend, adapter.driver));
    if adapter.software {
        lines.push("runs on the CPU; used only with --device software".to_owned());
    }
    lines.push(match adapter.features.as_slice() {
        [] => "no optional features".to_owned(),
        features => format!("features: {}", features.join(", ")),
    });
    lines.extend(adapter.limits.iter().map(|&(name, limit)| format!("{name:<38} {:>12}", limit_text(limit))));
    lines.join("\n  ")
}

fn limit_text(limit: u64) -> String {
    if limit >= MIB { format!("{} MiB", limit / MIB) } else { limit.to_string() }
}
