//! Records of CIFAR-10 and CIFAR-100, plain or gzipped.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for (label_bytes, classes) in [(1, 10), (2, 100)] {
        if let Ok((pixels, labels)) = neuropil::data::cifar::decode(bytes, label_bytes, classes) {
            assert_eq!(pixels.len(), labels.len() * 3072);
        }
    }
});
