//! CIFAR-10 and CIFAR-100 in their official binary form.
//!
//! A file is a row of records without a header: the label in one byte (CIFAR-100: the coarse label, then the fine one,
//! which is the class here), then 32×32 red bytes in row-major order, as many green, as many blue; plain or gzipped. A file
//! is taken as it is or refused: whole records, labels in range. Memory grows with what a file holds, to a fixed limit.
//!
//! Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009;
//! <https://www.cs.toronto.edu/~kriz/cifar.html>.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use super::Dataset;
use super::files::{self, REMEDY, unreadable};
use crate::error::{Context, Error, ErrorKind, Result};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const CHANNELS: usize = 3;
/// The most records that a file may have; the largest official one has 50,000.
const MAX_RECORDS: usize = 100_000;

/// One of the two data sets.
struct Source {
    name: &'static str,
    /// The folder in the official archive.
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    /// Bytes before the pixels; the last one is the label.
    label_bytes: usize,
    /// The file with a name of a class a line.
    names: &'static str,
    classes: usize,
    remedy: &'static str,
}

const SOURCES: [Source; 2] = [
    Source {
        name: "cifar10",
        folder: "cifar-10-batches-bin",
        train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
        test: "test_batch.bin",
        label_bytes: 1,
        names: "batches.meta.txt",
        classes: 10,
        remedy: "unpack https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz there",
    },
    Source {
        name: "cifar100",
        folder: "cifar-100-binary",
        train: &["train.bin"],
        test: "test.bin",
        label_bytes: 2,
        names: "fine_label_names.txt",
        classes: 100,
        remedy: "unpack https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz there",
    },
];

/// The data set `name`, `cifar10` or `cifar100`, from the folder `dir` or the folder in it that the official archive
/// makes (`cifar-10-batches-bin`, `cifar-100-binary`), as (train, test): images `[32, 32, 3]` in [0, 1] (bytes scaled by
/// 1/255). The archive's folder is looked at first, and a plain file before one with `.gz`.
///
/// # Errors
/// An unknown name; a file that is missing, unreadable, truncated or not of whole records; a label that has no name.
pub fn dataset(dir: impl AsRef<Path>, name: &str) -> Result<(Dataset, Dataset)> {
    let Some(source) = SOURCES.iter().find(|source| source.name == name) else {
        let known = SOURCES.map(|source| source.name).join(", ");
        let text = format!("no data set called {name:?} is known in CIFAR's form; known: {known}");
        return Err(Error::new(ErrorKind::Config, text));
    };
    let folders = [dir.as_ref().join(source.folder), dir.as_ref().to_path_buf()];
    let names = class_names(source, &files::find(&folders, source.names, source.remedy)?)?;
    let part = |names_of_files: &[&str]| part(source, &folders, names_of_files, &names);
    Ok((part(source.train)?, part(&[source.test])?))
}

/// The names of the classes, a line each; blank lines at the end do not count.
fn class_names(source: &Source, path: &Path) -> Result<Vec<String>> {
    /// Enough for a hundred names.
    const MAX_BYTES: u64 = 1 << 16;
    let mut text = String::new();
    let read = files::unzipped(files::open(path)?)
        .and_then(|reader| reader.take(MAX_BYTES).read_to_string(&mut text).map_err(unreadable));
    read.context(|| path.display().to_string())?;
    let names: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
    if names.len() == source.classes && names.iter().all(|name| !name.is_empty()) {
        return Ok(names);
    }
    let (path, found, classes) = (path.display(), names.len(), source.classes);
    let text = format!("{path}: has {found} lines, but should name {classes} classes, one a line; {REMEDY}");
    Err(Error::new(ErrorKind::Format, text))
}

/// The records of `names_of_files`, one file after the other.
fn part(source: &Source, folders: &[PathBuf], names_of_files: &[&str], names: &[String]) -> Result<Dataset> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for name in names_of_files {
        let path = files::find(folders, name, source.remedy)?;
        let read = decode(files::open(&path)?, source.label_bytes, names.len());
        let (more_pixels, more_labels) = read.context(|| path.display().to_string())?;
        pixels.extend(more_pixels);
        labels.extend(more_labels);
    }
    Dataset::of_bytes(source.name, [SIDE, SIDE, CHANNELS], pixels, u8::MAX, labels, names.to_vec())
}

/// The pixels (row-major, channels last) and labels of a file of records with so many `label_bytes`, 1 or 2, the last of which
/// is the label.
///
/// # Errors
/// A file that is truncated, or not of whole records, or has a label that is not below `classes`.
pub fn decode(reader: impl BufRead, label_bytes: usize, classes: usize) -> Result<(Vec<u8>, Vec<u32>)> {
    let reader = files::unzipped(reader)?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    let label_bytes = label_bytes.max(1);
    let malformed = |text: String| Err(Error::new(ErrorKind::Format, text));
    let record = label_bytes + CHANNELS * PLANE;
    let mut bytes = Vec::new();
    reader.take((record * MAX_RECORDS) as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.is_empty() || bytes.len() > record * MAX_RECORDS {
        return malformed(format!("holds {} bytes; 1 to {MAX_RECORDS} records are read; {REMEDY}", bytes.len()));
    }
    if !bytes.len().is_multiple_of(record) {
        let length = bytes.len();
        return malformed(format!("has {length} bytes, which are not whole records of {record}; {REMEDY}"));
    }
    for (number, record) in bytes.chunks_exact(record).enumerate() {
        let (label, planes) = (u32::from(record[label_bytes - 1]), &record[label_bytes..]);
        if label as usize >= classes {
            return malformed(format!("record {number} has label {label}, but there are {classes} classes; {REMEDY}"));
        }
        labels.push(label);
        let value = |pixel, channel| planes[channel * PLANE + pixel];
        pixels.extend((0..PLANE).flat_map(|pixel| (0..CHANNELS).map(move |channel| value(pixel, channel))));
    }
    Ok((pixels, labels))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TempDir, gzip};
    use super::*;
    use crate::random::Stream;

    /// A record whose red, green and blue bytes are 51, 102 and 255, but for the first red one, which is 0.
    fn record(labels: &[u8]) -> Vec<u8> {
        let mut record = labels.to_vec();
        [51, 102, 255].iter().for_each(|&value| record.extend([value; PLANE]));
        record[labels.len()] = 0;
        record
    }

    /// CIFAR-10 of six images, then whatever `replaced` says instead.
    fn load(replaced: &[(&str, Vec<u8>)]) -> Result<(Dataset, Dataset)> {
        let dir = TempDir::new();
        let names: Vec<String> = (0..10).map(|class| format!("class {class}\n")).collect();
        dir.write("batches.meta.txt", format!("{}\n", names.concat()).as_bytes());
        for (label, file) in SOURCES[0].train.iter().enumerate() {
            dir.write(file, &record(&[label as u8]));
        }
        dir.write("test_batch.bin.gz", &gzip(&record(&[9])));
        for (name, bytes) in replaced {
            dir.write(name, bytes);
        }
        dataset(dir.path(), "cifar10")
    }

    #[test]
    fn records_become_images_with_channels_last() {
        let (train, test) = load(&[]).unwrap();
        assert_eq!((train.len(), test.len(), train.image_shape(), train.classes()), (5, 1, [32, 32, 3], 10));
        assert_eq!((train.labels(), test.labels()), (&[0, 1, 2, 3, 4][..], &[9][..]));
        assert_eq!(train.images().unwrap().as_slice::<f32>().unwrap()[..6], [0.0, 0.4, 1.0, 0.2, 0.4, 1.0]);
        assert_eq!(train.class_names()[9], "class 9");
    }

    #[test]
    fn the_class_of_cifar100_is_its_fine_label() {
        let dir = TempDir::new();
        std::fs::create_dir(dir.path().join("cifar-100-binary")).unwrap();
        dir.write("cifar-100-binary/fine_label_names.txt", "name\n".repeat(100).as_bytes());
        dir.write("cifar-100-binary/train.bin", &[record(&[19, 99]), record(&[3, 0])].concat());
        dir.write("cifar-100-binary/test.bin", &record(&[1, 20]));
        let (train, test) = dataset(dir.path(), "cifar100").unwrap();
        assert_eq!((train.labels(), test.labels(), train.classes()), (&[99, 0][..], &[20][..], 100));
        assert_eq!(train.images().unwrap().as_slice::<f32>().unwrap()[..3], [0.0, 0.4, 1.0]);
    }

    #[test]
    fn errors_name_the_file_the_finding_and_the_remedy() {
        for (file, bytes, finding) in [
            ("data_batch_3.bin", record(&[10]), "record 0 has label 10"),
            ("data_batch_3.bin", vec![], "holds 0 bytes"),
            ("data_batch_3.bin", record(&[1])[1..].to_vec(), "has 3072 bytes"),
            ("test_batch.bin", [record(&[1]), vec![0]].concat(), "has 3074 bytes"),
            ("test_batch.bin", gzip(&record(&[1]))[..20].to_vec(), "truncated"),
            ("batches.meta.txt", b"cat\ndog\n".to_vec(), "has 2 lines"),
            ("batches.meta.txt", vec![0xFF; 4], "damaged"),
        ] {
            let error = load(&[(file, bytes)]).unwrap_err();
            let text = error.to_string();
            assert!(error.kind() == ErrorKind::Format && text.contains(file) && text.contains(finding), "{error:?}");
            assert!(text.contains("again"), "{text} should say what to do");
        }
        let missing = dataset(TempDir::new().path(), "cifar100").unwrap_err();
        let text = missing.to_string();
        assert!(missing.kind() == ErrorKind::Io && text.contains("cifar-100-binary.tar.gz"), "{text}");
        assert!(dataset(".", "cifar").unwrap_err().to_string().contains("cifar10, cifar100"));
    }

    #[test]
    fn mutated_files_are_read_whole_or_refused() {
        let plain = [record(&[1]), record(&[2])].concat();
        let mut stream = Stream::new(0, "cifar mutations");
        for original in [gzip(&plain), plain] {
            for _ in 0..2000 {
                let mut bytes = original.clone();
                for _ in 0..=stream.below(3) {
                    let at = stream.below(bytes.len() as u64) as usize;
                    bytes[at] = stream.next_u32() as u8;
                }
                bytes.truncate(bytes.len() - [0, stream.below(bytes.len() as u64) as usize][stream.below(2) as usize]);
                match decode(&bytes[..], 1, 10) {
                    Ok((pixels, labels)) => assert_eq!(pixels.len(), labels.len() * CHANNELS * PLANE),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Format, "{error}"),
                }
            }
        }
    }
}
