//! Pictures of every form that is read.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = neuropil::data::folder::decode(bytes);
});
