//! Files of weights: state dictionaries of PyTorch, archives of NumPy, safetensors.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = neuropil::format::weights::decode(bytes);
});
