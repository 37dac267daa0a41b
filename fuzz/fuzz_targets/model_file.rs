//! Files of trained networks, and the networks that they name or describe.

#![no_main]

use neuropil::train::ModelFile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("neuropil-fuzz-{}.safetensors", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    if let Ok(file) = ModelFile::load(&path) {
        let _ = file.network();
    }
});
