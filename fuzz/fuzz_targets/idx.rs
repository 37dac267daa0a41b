//! IDX files of one and three dimensions, plain or gzipped.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = neuropil::data::idx::decode::<1>(bytes);
    if let Ok(idx) = neuropil::data::idx::decode::<3>(bytes) {
        assert_eq!(idx.elements.len(), idx.shape.iter().product::<usize>());
    }
});
