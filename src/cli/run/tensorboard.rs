//! TensorBoard's event files: loss and accuracy of every epoch, in the folder of a run.
//!
//! A file is a sequence of records: the length of the event, the event, and checksums of both (masked CRC-32C). An event is
//! a protocol buffer with the time, the step and scalars by name. TensorBoard follows a file that grows, so events are
//! appended; a run that goes on starts a new file with all of its history in place of the old ones.
//!
//! Sources: `tensorflow/core/lib/io/record_writer.h`, `tensorflow/core/util/event.proto` and `summary.proto`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use neuropil::train::Progress;
use neuropil::{Error, ErrorKind};

/// What the name of a file begins with, so that TensorBoard takes it for one of its own.
const PREFIX: &str = "events.out.tfevents.";

/// A file that grows with a run.
pub struct Events {
    path: PathBuf,
    file: File,
    /// Epochs that are in the file.
    written: usize,
}

impl Events {
    /// A new file in `folder`, which is made if it is not there, without those of the run's earlier parts.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn start(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
            let path = entry.map_err(|e| Error::io(folder, e))?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)) {
                fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
            }
        }
        let path = folder.join(format!("{PREFIX}{}.{}.neuropil", now() as u64, std::process::id()));
        let file = OpenOptions::new().append(true).create_new(true).open(&path).map_err(|e| Error::io(&path, e))?;
        let mut events = Events { path, file, written: 0 };
        let mut event = Vec::new();
        put_double(&mut event, 1, now());
        put_bytes(&mut event, 3, b"brain.Event:2");
        events.append(&record(&event))?;
        Ok(events)
    }

    /// Writes the epochs that are not in the file yet.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, progress: &Progress) -> Result<(), Error> {
        let mut records = Vec::new();
        for epoch in progress.epochs.iter().skip(self.written) {
            let mut scalars = vec![("loss/train", epoch.train.loss), ("accuracy/train", epoch.train.accuracy)];
            if let Some(test) = epoch.test {
                scalars.extend([("loss/test", test.loss), ("accuracy/test", test.accuracy)]);
            }
            let step = epoch.number * progress.steps_per_epoch;
            records.extend(record(&event(now(), step as u64, &scalars)));
        }
        self.append(&records)?;
        self.written = progress.epochs.len();
        Ok(())
    }

    fn append(&mut self, records: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(records).and_then(|()| self.file.flush());
        written.map_err(|e| Error::new(ErrorKind::Io, format!("{}: {e}", self.path.display())))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// An event with scalars.
fn event(time: f64, step: u64, scalars: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in scalars {
        let mut scalar = Vec::new();
        put_bytes(&mut scalar, 1, tag.as_bytes());
        scalar.push(2 << 3 | 5);
        scalar.extend((*value as f32).to_le_bytes());
        put_bytes(&mut summary, 1, &scalar);
    }
    let mut event = Vec::new();
    put_double(&mut event, 1, time);
    event.push(2 << 3);
    put_varint(&mut event, step);
    put_bytes(&mut event, 5, &summary);
    event
}

/// The event as it stands in a file.
fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &masked(&length).to_le_bytes(), event, &masked(event).to_le_bytes()].concat()
}

/// The checksum of `bytes`, so that one of data that hold checksums is none of them.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn put_double(message: &mut Vec<u8>, field: u8, value: f64) {
    message.push(field << 3 | 1);
    message.extend(value.to_le_bytes());
}

fn put_bytes(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    put_varint(message, bytes.len() as u64);
    message.extend(bytes);
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python's `tensorboard.compat.proto.event_pb2` makes of `Event(wall_time=1.5, step=300)` with the scalar
    /// `loss/train` of 0.25.
    #[test]
    fn an_event_is_that_of_tensorboard() {
        let bytes = event(1.5, 300, &[("loss/train", 0.25)]);
        let expected = b"\x09\0\0\0\0\0\0\xf8\x3f\x10\xac\x02\x2a\x13\x0a\x11\x0a\x0aloss/train\x15\0\0\x80\x3e";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_record_is_framed_by_masked_checksums() {
        // CRC-32C's check value, masked by hand.
        assert_eq!(masked(b"123456789"), 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8));
        let bytes = record(b"event");
        assert_eq!((bytes.len(), &bytes[..8], &bytes[12..17]), (21, &5u64.to_le_bytes()[..], &b"event"[..]));
        assert_eq!(bytes[8..12], masked(&5u64.to_le_bytes()).to_le_bytes());
        assert_eq!(bytes[17..], masked(b"event").to_le_bytes());
    }
}
