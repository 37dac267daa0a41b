//! Files of trained networks, and opening what they hold.

#![no_main]

use neuropil::train::ModelFile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("neuropil-fuzz-{}.safetensors", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let _ = ModelFile::load(&path);
});
