//! Files: models, and what was measured on a device.
//!
//! A format turns plain data ([`safetensors`], and with the feature `archives` `npz`, `pytorch` and `weights`: named
//! [`Array`](crate::Array)s, [`tunings`]: choices of tiles) into bytes and back, and knows nothing of graphs or how devices work. Whatever is written replaces its file as a whole or not at all ([`write_atomically`]); whatever is read is judged byte by byte, and
//! bad content is an error that names the file, never a panic.

mod elements;
#[cfg(feature = "archives")]
pub mod npz;
#[cfg(feature = "archives")]
mod pickle;
#[cfg(feature = "archives")]
pub mod pytorch;
pub mod safetensors;
pub mod tunings;
#[cfg(feature = "archives")]
pub mod weights;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, ErrorKind, Result};

/// How many names for the temporary file are tried; what an interrupted run left behind takes one.
const ATTEMPTS: usize = 1000;

/// Writes the file `path` with what `content` writes, so that a reader, also after a crash, sees the old file or the new.
///
/// The bytes go to a temporary file in the same folder, are synced to the disk and then renamed to `path`. After an error
/// the old file is as it was and the temporary one is gone.
///
/// # Errors
/// Those of `content`, and any failure to create, write or rename the file; the message starts with `path`.
pub fn write_atomically(path: &Path, content: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let (file, temporary) = create_beside(path)?;
    let written = write_and_sync(file, content)
        .and_then(|()| fs::rename(&temporary, path).map_err(failed))
        .context(|| path.display().to_string());
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    sync_folder(path);
    Ok(())
}

fn write_and_sync(file: File, content: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut writer = BufWriter::new(file);
    content(&mut writer)?;
    writer.into_inner().map_err(|e| failed(e.into_error()))?.sync_all().map_err(failed)
}

/// A new file in the folder of `path`, and its path.
fn create_beside(path: &Path) -> Result<(File, PathBuf)> {
    let Some(name) = path.file_name() else {
        return Err(Error::new(ErrorKind::Config, format!("{}: give the name of a file", path.display())));
    };
    for attempt in 0..ATTEMPTS {
        let temporary = path.with_file_name(format!(".{}.{attempt}.tmp", name.to_string_lossy()));
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io(path, e)),
        }
    }
    let message = format!("{}: remove the .tmp files beside it; there are {ATTEMPTS}", path.display());
    Err(Error::new(ErrorKind::Io, message))
}

/// Makes the rename itself durable, where a folder can be synced; elsewhere the file system does it in its own time.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// An error of the operating system, still without the path.
fn failed(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::TempDir;

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let dir = TempDir::new();
        let path = dir.path().join("file");
        let names = || fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();

        write_atomically(&path, |writer| writer.write_all(b"old").map_err(failed)).unwrap();
        dir.write(".file.0.tmp", b"left by another run");
        write_atomically(&path, |writer| writer.write_all(b"new").map_err(failed)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        fs::remove_file(dir.path().join(".file.0.tmp")).unwrap();

        let error = write_atomically(&path, |writer| {
            writer.write_all(b"half").map_err(failed)?;
            Err(Error::new(ErrorKind::Format, "stop"))
        });
        assert!(error.unwrap_err().to_string().ends_with("file: stop"));
        assert_eq!((fs::read(&path).unwrap(), names()), (b"new".to_vec(), vec!["file".into()]));

        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        assert_eq!(write_atomically(&folder, |_| Ok(())).unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(names().len(), 2);
        assert_eq!(write_atomically(Path::new("/"), |_| Ok(())).unwrap_err().kind(), ErrorKind::Config);
        let nowhere = dir.path().join("nowhere/file");
        assert!(write_atomically(&nowhere, |_| Ok(())).unwrap_err().to_string().contains("nowhere/file"));
    }
}
