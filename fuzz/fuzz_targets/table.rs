//! Tables, plain or gzipped, with and without images of a size.

#![no_main]

use neuropil::data::table::{Options, decode};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let options = Options { label_column: Some("1".to_owned()), size: Some([2, 1]), split_seed: 0 };
    for options in [Options::default(), options] {
        let _ = decode("x", bytes, &options);
    }
});
