//! Named arrays; what is read is written and read back.

#![no_main]

use neuropil::format::safetensors;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok((tensors, metadata)) = safetensors::decode(bytes) {
        let mut written = Vec::new();
        safetensors::encode(&mut written, &tensors, &metadata).unwrap();
        assert_eq!(safetensors::decode(&written).unwrap().1, metadata);
    }
});
