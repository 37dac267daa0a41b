//! IDX files: MNIST, Fashion-MNIST and whatever else comes in their form.
//!
//! An IDX file is a magic number (two zero bytes, the element type, the number of dimensions), the extents as big-endian
//! 32-bit words, then the elements in row-major order; whether it is gzipped is told by its first bytes, not by its name.
//! A file is taken as it is or refused: every byte the header declares must be there and none more. Memory grows with
//! what a file holds, never with what its header claims.
//!
//! Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use super::files::{self, REMEDY, unreadable};
use super::{Dataset, numerals};
use crate::error::{Context, Error, ErrorKind, Result};

/// The most elements a file may declare: a gigabyte.
const MAX_ELEMENTS: usize = 1 << 30;
const UNSIGNED_BYTES: u8 = 0x08;

/// A data set that comes as four IDX files.
struct Source {
    name: &'static str,
    /// What to do when a file is not there.
    remedy: &'static str,
    class_names: fn() -> Vec<String>,
}

const SOURCES: [Source; 2] = [
    Source {
        name: "mnist",
        remedy: "put the four MNIST files there, for example from https://ossci-datasets.s3.amazonaws.com/mnist/",
        class_names: numerals,
    },
    Source {
        name: "fashion-mnist",
        remedy: "put the four files of https://github.com/zalandoresearch/fashion-mnist there",
        class_names: || {
            let names =
                ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];
            names.map(String::from).to_vec()
        },
    },
];

/// The elements of an IDX file of unsigned bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx<const RANK: usize> {
    /// The extents, each at least 1.
    pub shape: [usize; RANK],
    /// The elements in row-major order, as many as the product of `shape`.
    pub elements: Vec<u8>,
}

/// The data set `name`, `mnist` or `fashion-mnist`, from the folder `dir` or its subfolder `name`, as (train, test):
/// images `[28, 28, 1]` in [0, 1] (bytes scaled by 1/255), ten classes.
///
/// The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
/// `t10k-labels-idx1-ubyte`, plain or gzipped, with or without `.gz`. The subfolder is looked at first, and a plain file
/// before a gzipped one. Both data sets use the same file names, so it is the folder that tells them apart.
///
/// # Errors
/// An unknown name; a file that is missing or unreadable, is not IDX, is truncated or has bytes too many; images and
/// labels that differ in number; a label of 10 or more; train and test images that differ in size.
pub fn dataset(dir: impl AsRef<Path>, name: &str) -> Result<(Dataset, Dataset)> {
    let Some(source) = SOURCES.iter().find(|source| source.name == name) else {
        let known = SOURCES.map(|source| source.name).join(", ");
        return Err(Error::new(
            ErrorKind::Config,
            format!("no data set called {name:?} is known as IDX; known: {known}"),
        ));
    };
    let (train, test) = (part(dir.as_ref(), source, "train")?, part(dir.as_ref(), source, "t10k")?);
    if train.image_shape() != test.image_shape() {
        let message = format!(
            "{}: training images are {:?} but test images {:?} (height, width, channels); the files are of two data sets",
            dir.as_ref().display(),
            train.image_shape(),
            test.image_shape()
        );
        return Err(Error::new(ErrorKind::Format, message));
    }
    Ok((train, test))
}

/// The images and labels whose file names start with `part`.
fn part(dir: &Path, source: &Source, part: &str) -> Result<Dataset> {
    let images_path = find(dir, source, &format!("{part}-images-idx3-ubyte"))?;
    let labels_path = find(dir, source, &format!("{part}-labels-idx1-ubyte"))?;
    let (images, labels) = (read::<3>(&images_path)?, read::<1>(&labels_path)?);
    let [_, height, width] = images.shape;
    let labels = labels.elements.into_iter().map(u32::from).collect();
    Dataset::of_bytes(source.name, [height, width, 1], images.elements, u8::MAX, labels, (source.class_names)())
        .context(|| format!("{} and {}", images_path.display(), labels_path.display()))
}

/// The path of `file`, plain or with `.gz`, in the folder of `source` below `dir` or in `dir` itself.
fn find(dir: &Path, source: &Source, file: &str) -> Result<PathBuf> {
    files::find(&[dir.join(source.name), dir.to_path_buf()], file, source.remedy)
}

/// Reads the IDX file at `path`, plain or gzipped, which must hold unsigned bytes in `RANK` dimensions.
///
/// # Errors
/// As [`dataset`], for this file; the message starts with its path.
pub fn read<const RANK: usize>(path: &Path) -> Result<Idx<RANK>> {
    decode(files::open(path)?).context(|| path.display().to_string())
}

/// Reads the bytes of an IDX file, as [`read`] does.
///
/// # Errors
/// As [`read`], without the path.
pub fn decode<const RANK: usize>(reader: impl BufRead) -> Result<Idx<RANK>> {
    parse(files::unzipped(reader)?)
}

fn parse<const RANK: usize>(mut reader: impl Read) -> Result<Idx<RANK>> {
    let malformed = |message: String| Error::new(ErrorKind::Format, message);

    let magic = word(&mut reader)?;
    let [zero0, zero1, element_type, dimensions] = magic;
    if [zero0, zero1, element_type] != [0, 0, UNSIGNED_BYTES] || usize::from(dimensions) != RANK {
        return Err(malformed(format!(
            "starts with the bytes {magic:02x?}, but an IDX file of unsigned bytes in {RANK} dimensions starts with \
             {:02x?}; check that this is the right file",
            [0, 0, UNSIGNED_BYTES, RANK as u8]
        )));
    }

    let mut shape = [0; RANK];
    for extent in &mut shape {
        *extent = u32::from_be_bytes(word(&mut reader)?) as usize;
    }
    let count = shape.iter().try_fold(1, |count: usize, &extent| count.checked_mul(extent));
    let count = count.filter(|count| (1..=MAX_ELEMENTS).contains(count)).ok_or_else(|| {
        malformed(format!("its header declares the shape {shape:?}; 1 to {MAX_ELEMENTS} elements are read; {REMEDY}"))
    })?;

    let mut elements = Vec::new();
    reader.take(count as u64 + 1).read_to_end(&mut elements).map_err(unreadable)?;
    match elements.len() {
        found if found < count => Err(malformed(format!(
            "is truncated: {found} elements of the {count} that its header declares ({shape:?}); {REMEDY}"
        ))),
        found if found > count => Err(malformed(format!(
            "has bytes left after the {count} elements that its header declares ({shape:?}); {REMEDY}"
        ))),
        _ => Ok(Idx { shape, elements }),
    }
}

/// The next four bytes of a header.
fn word(reader: &mut impl Read) -> Result<[u8; 4]> {
    let mut word = [0; 4];
    reader.read_exact(&mut word).map_err(unreadable)?;
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TempDir, gzip};
    use super::*;
    use crate::random::Stream;

    fn idx(shape: &[u32], elements: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, UNSIGNED_BYTES, shape.len() as u8];
        shape.iter().for_each(|extent| bytes.extend(extent.to_be_bytes()));
        bytes.extend(elements);
        bytes
    }

    /// Writes a training part of three and a test part of two images of 2×2, then whatever `replaced` says instead.
    fn load(replaced: &[(&str, Vec<u8>)]) -> Result<(Dataset, Dataset)> {
        let dir = TempDir::new();
        dir.write("train-images-idx3-ubyte", &idx(&[3, 2, 2], &[0, 51, 102, 255, 1, 1, 1, 1, 2, 2, 2, 2]));
        dir.write("train-labels-idx1-ubyte", &idx(&[3], &[9, 0, 5]));
        dir.write("t10k-images-idx3-ubyte", &gzip(&idx(&[2, 2, 2], &[7; 8])));
        dir.write("t10k-labels-idx1-ubyte.gz", &gzip(&idx(&[2], &[1, 2])));
        for (name, bytes) in replaced {
            dir.write(name, bytes);
        }
        dataset(dir.path(), "fashion-mnist")
    }

    #[test]
    fn plain_and_gzipped_files_are_read() {
        let (train, test) = load(&[]).unwrap();
        assert_eq!((train.len(), test.len(), train.image_shape(), train.classes()), (3, 2, [2, 2, 1], 10));
        assert_eq!(train.images().unwrap().as_slice::<f32>().unwrap()[..4], [0.0, 0.2, 0.4, 1.0]);
        assert_eq!((train.labels(), test.labels()), (&[9, 0, 5][..], &[1, 2][..]));
        assert_eq!(train.class_names()[9], "ankle boot");
    }

    #[test]
    fn a_subfolder_of_the_name_is_looked_at_first() {
        let dir = TempDir::new();
        std::fs::create_dir(dir.path().join("mnist")).unwrap();
        for (prefix, extent) in [("", 1), ("mnist/", 2)] {
            for part in ["train", "t10k"] {
                dir.write(
                    &format!("{prefix}{part}-images-idx3-ubyte"),
                    &idx(&[1, 1, extent], &vec![0; extent as usize]),
                );
                dir.write(&format!("{prefix}{part}-labels-idx1-ubyte"), &idx(&[1], &[0]));
            }
        }
        assert_eq!(dataset(dir.path(), "mnist").unwrap().0.image_shape(), [1, 2, 1]);
        assert_eq!(dataset(dir.path(), "fashion-mnist").unwrap().0.image_shape(), [1, 1, 1]);
    }

    #[test]
    fn errors_name_the_file_the_finding_and_the_remedy() {
        let (images, labels) = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
        let huge = idx(&[u32::MAX; 3], &[0; 12]);
        for (file, bytes, kind, finding) in [
            (images, b"hello".to_vec(), ErrorKind::Format, "68, 65, 6c, 6c"),
            (images, idx(&[12], &[0; 12]), ErrorKind::Format, "in 3 dimensions"),
            (images, vec![], ErrorKind::Format, "truncated"),
            (images, idx(&[3, 2], &[]), ErrorKind::Format, "in 3 dimensions"),
            (images, idx(&[3, 2, 2], &[0; 11]), ErrorKind::Format, "11 elements of the 12"),
            (images, idx(&[3, 2, 2], &[0; 13]), ErrorKind::Format, "bytes left after the 12"),
            (images, idx(&[0, 2, 2], &[]), ErrorKind::Format, "[0, 2, 2]"),
            (images, huge, ErrorKind::Format, "1 to 1073741824 elements"),
            (images, idx(&[4, 2, 2], &[0; 16]), ErrorKind::Shape, "4 images but 3 labels"),
            (images, idx(&[3, 4, 1], &[0; 12]), ErrorKind::Format, "[4, 1, 1]"),
            (labels, idx(&[3], &[9, 10, 0]), ErrorKind::Format, "image 1 has label 10"),
            (labels, gzip(&idx(&[3], &[1; 3]))[..9].to_vec(), ErrorKind::Format, "truncated"),
            (labels, [gzip(&idx(&[3], &[1; 3])), vec![1]].concat(), ErrorKind::Format, "truncated or damaged"),
        ] {
            let error = load(&[(file, bytes)]).unwrap_err();
            let text = error.to_string();
            assert!(error.kind() == kind && text.contains(finding), "{error:?} should say {finding:?}");
            assert!(text.contains("neuropil-test"), "{text} should name the file");
        }

        let dir = TempDir::new();
        let missing = dataset(dir.path(), "mnist").unwrap_err();
        let text = missing.to_string();
        assert!(
            missing.kind() == ErrorKind::Io && text.contains("train-images-idx3-ubyte.gz") && text.contains("https")
        );
        let unknown = dataset(dir.path(), "kmnist").unwrap_err();
        assert!(unknown.kind() == ErrorKind::Config && unknown.to_string().contains("mnist, fashion-mnist"));
    }

    #[test]
    fn a_truncated_file_is_always_an_error() {
        let plain = idx(&[2, 3, 4], &(0..24).collect::<Vec<_>>());
        for bytes in [gzip(&plain), plain] {
            assert!(decode::<3>(&bytes[..]).is_ok());
            for length in 0..bytes.len() {
                assert_eq!(decode::<3>(&bytes[..length]).unwrap_err().kind(), ErrorKind::Format, "{length} bytes");
            }
        }
    }

    #[test]
    fn mutated_files_are_read_whole_or_refused() {
        let plain = idx(&[2, 3, 4], &(0..24).collect::<Vec<_>>());
        let mut stream = Stream::new(0, "idx mutations");
        for original in [gzip(&plain), plain] {
            for _ in 0..5000 {
                let mut bytes = original.clone();
                for _ in 0..=stream.below(3) {
                    let at = stream.below(bytes.len() as u64) as usize;
                    bytes[at] = stream.next_u32() as u8;
                }
                match decode::<3>(&bytes[..]) {
                    Ok(idx) => assert_eq!(idx.elements.len(), idx.shape.iter().product::<usize>()),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Format, "{error}"),
                }
            }
        }
    }
}
