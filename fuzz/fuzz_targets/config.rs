//! The options of a run in a file. An error is one line that names the file.

#![no_main]

#[allow(dead_code, reason = "only the reader of configs runs")]
#[path = "../../src/cli/mod.rs"]
mod cli;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("neuropil-fuzz-{}.toml", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    if let Err(text) = cli::read_config(&path) {
        assert!(text.contains(&path.display().to_string()), "{text}");
    }
});
