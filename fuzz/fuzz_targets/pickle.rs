//! The pickle in a state dictionary of PyTorch, in an archive with one storage.

#![no_main]

use std::io::{Cursor, Write};

use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [("net/data.pkl", bytes), ("net/data/0", &[0; 64])] {
        archive.start_file(name, SimpleFileOptions::default().compression_method(CompressionMethod::Stored)).unwrap();
        archive.write_all(content).unwrap();
    }
    let _ = neuropil::format::pytorch::decode(&archive.finish().unwrap().into_inner());
});
