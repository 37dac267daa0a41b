//! Archives of NumPy arrays, and single ones.

#![no_main]

use std::io::Cursor;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = neuropil::data::npy::read(bytes);
    let _ = neuropil::data::arrays::decode(Cursor::new(bytes));
});
