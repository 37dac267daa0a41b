//! Checkpoints of runs: what is read is written and read back.

#![no_main]

use neuropil::train::Checkpoint;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("neuropil-fuzz-{}.safetensors", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    if let Ok((checkpoint, info)) = Checkpoint::load(&path) {
        checkpoint.save(&path, info.as_ref()).unwrap();
        let (again, _) = Checkpoint::load(&path).unwrap();
        assert_eq!((again.progress.steps, &again.settings), (checkpoint.progress.steps, &checkpoint.settings));
    }
});
