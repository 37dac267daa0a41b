//! What the readers of data files share: finding a file, plain or gzipped, and errors that say whose fault it is.
//!
//! Whether a file is gzipped is told by its first bytes, not by its name. Bad content is [`ErrorKind::Format`], a failure
//! to read [`ErrorKind::Io`].

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::{Error, ErrorKind, Result};

const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];

/// What to do about a file that is damaged.
pub(super) const REMEDY: &str = "download or unpack it again";

/// The path of `file`, plain or with `.gz`, in the first of `folders` that has it; a plain one before a gzipped one.
///
/// # Errors
/// When no folder has it; the message ends with `remedy`.
pub(super) fn find(folders: &[PathBuf], file: &str, remedy: &str) -> Result<PathBuf> {
    let zipped = format!("{file}.gz");
    let mut candidates = folders.iter().flat_map(|folder| [folder.join(file), folder.join(&zipped)]);
    candidates.find(|path| path.is_file()).ok_or_else(|| {
        let places: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let message = format!("neither {file} nor {zipped} is in {}; {remedy}", places.join(" or "));
        Error::new(ErrorKind::Io, message)
    })
}

/// The file at `path`, opened.
///
/// # Errors
/// When it cannot be.
pub(super) fn open(path: &Path) -> Result<BufReader<File>> {
    File::open(path).map(BufReader::new).map_err(|e| Error::io(path, e))
}

/// The content of `reader`, unpacked if it is gzipped.
///
/// # Errors
/// When its first bytes cannot be read.
pub(super) fn unzipped<'a>(mut reader: impl BufRead + 'a) -> Result<Box<dyn Read + 'a>> {
    let zipped = reader.fill_buf().map_err(unreadable)?.starts_with(&GZIP_MAGIC);
    Ok(if zipped { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) })
}

/// Tells bad content (a file that ends early, a damaged gzip) from a failure to read.
pub(super) fn unreadable(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::InvalidData
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::Unsupported => {
            Error::new(ErrorKind::Format, format!("is truncated or damaged ({error}); {REMEDY}"))
        }
        _ => Error::new(ErrorKind::Io, error.to_string()),
    }
}
