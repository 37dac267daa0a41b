//! Data sets from their public places.
//!
//! Every file has a SHA-256 that it must have before it gets its name: of what is packed in it for single files, since
//! mirrors pack them differently, of the whole for archives. A download goes on where an earlier one was interrupted, and a
//! file is there whole or not at all. What is there already is checked, and not downloaded again. Before:
//! [`download`](mod@download); after: the readers [`idx`](super::idx) and [`cifar`](super::cifar), which find what this writes.
//!
//! Where the sums are from: those of MNIST and Fashion-MNIST were computed from the unpacked files (MNIST's also have the MD5
//! that its mirrors publish); CIFAR-10's is that of the archive on its author's page.

mod download;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::files;
use crate::error::{Context, Error, ErrorKind, Result};

/// A file somewhere.
struct Remote {
    name: &'static str,
    /// SHA-256 of what is packed in it, or of an archive itself.
    sha256: &'static str,
}

/// A data set somewhere.
struct Source {
    name: &'static str,
    /// Where its files are.
    base: &'static str,
    files: &'static [Remote],
    /// The archive's folder and the files that are unpacked from it, if it is an archive.
    unpacked: Option<(&'static str, &'static [&'static str])>,
}

const SOURCES: [Source; 3] = [
    Source {
        name: "mnist",
        base: "https://ossci-datasets.s3.amazonaws.com/mnist/",
        files: &[
            Remote {
                name: "train-images-idx3-ubyte.gz",
                sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            },
            Remote {
                name: "train-labels-idx1-ubyte.gz",
                sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            },
            Remote {
                name: "t10k-images-idx3-ubyte.gz",
                sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            },
            Remote {
                name: "t10k-labels-idx1-ubyte.gz",
                sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            },
        ],
        unpacked: None,
    },
    Source {
        name: "fashion-mnist",
        base: "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        files: &[
            Remote {
                name: "train-images-idx3-ubyte.gz",
                sha256: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            },
            Remote {
                name: "train-labels-idx1-ubyte.gz",
                sha256: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            },
            Remote {
                name: "t10k-images-idx3-ubyte.gz",
                sha256: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            },
            Remote {
                name: "t10k-labels-idx1-ubyte.gz",
                sha256: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            },
        ],
        unpacked: None,
    },
    Source {
        name: "cifar10",
        base: "https://www.cs.toronto.edu/~kriz/",
        files: &[Remote {
            name: "cifar-10-binary.tar.gz",
            sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        }],
        unpacked: Some((
            "cifar-10-batches-bin",
            &[
                "batches.meta.txt",
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
                "test_batch.bin",
            ],
        )),
    },
];

/// The names of the data sets that [`dataset`] knows.
pub const NAMES: [&str; 3] = [SOURCES[0].name, SOURCES[1].name, SOURCES[2].name];

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file.
    pub file: &'a str,
    /// The bytes that are there.
    pub done: u64,
    /// The bytes that it has, if the server says so.
    pub total: Option<u64>,
}

/// Downloads what is not there yet of the data set `name` to the folder `dir`, where the readers find it: MNIST's files in a
/// subfolder of its name, CIFAR-10's unpacked in `cifar-10-batches-bin`. The files are taken from `mirror` instead of their
/// public place, if there is one. Gives the folder.
///
/// # Errors
/// An unknown name; a server that cannot be reached or does not have a file; a file with wrong bytes; a folder that cannot be
/// written to. What was downloaded of a file stays, and the next call goes on from there.
pub fn dataset(name: &str, dir: &Path, mirror: Option<&str>, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
    let Some(source) = SOURCES.iter().find(|source| source.name == name) else {
        let text = format!("no data set called {name:?} can be fetched; there are {}", NAMES.join(", "));
        return Err(Error::new(ErrorKind::Config, text));
    };
    let base = mirror.unwrap_or(source.base).trim_end_matches('/');
    let folder = dir.join(source.unpacked.map_or(source.name, |(folder, _)| folder));
    fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    for Remote { name, sha256 } in source.files {
        let url = format!("{base}/{name}");
        match source.unpacked {
            None => file(&url, &folder.join(name), Content::Packed(sha256), progress)?,
            Some((_, members)) if members.iter().all(|member| folder.join(member).is_file()) => {}
            Some((_, members)) => {
                let archive = dir.join(name);
                file(&url, &archive, Content::Bytes(sha256), progress)?;
                unpack(&archive, &folder, members).context(|| archive.display().to_string())?;
                fs::remove_file(&archive).map_err(|e| Error::io(&archive, e))?;
            }
        }
    }
    Ok(folder)
}

/// What the SHA-256 of a file, in hexadecimal digits, is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// The bytes of the file.
    Bytes(&'a str),
    /// What is packed in it, which is a gzip.
    Packed(&'a str),
}

impl Content<'_> {
    /// Nothing, if the file `path` has the right content.
    fn check(&self, path: &Path) -> Result<()> {
        let file = BufReader::new(File::open(path).map_err(|e| Error::io(path, e))?);
        let (found, wanted) = match self {
            Content::Bytes(wanted) => (sum(file), wanted),
            Content::Packed(wanted) => (sum(MultiGzDecoder::new(file)), wanted),
        };
        let wrong = |what: String| Err(Error::new(ErrorKind::Format, what));
        match found.map_err(files::unreadable) {
            Ok(found) if found.eq_ignore_ascii_case(wanted) => Ok(()),
            Ok(found) => wrong(format!("has other bytes than it should: its SHA-256 is {found}, not {wanted}")),
            Err(error) if error.kind() == ErrorKind::Format => {
                wrong("has other bytes than it should: no gzip".to_owned())
            }
            Err(error) => Err(error),
        }
    }
}

/// SHA-256 in hexadecimal digits.
fn sum(mut reader: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            Ok(length) => hash.update(&buffer[..length]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Downloads `url` to the file `path`, unless it is there with the right `content`. What arrives is in `path` with `.part`
/// behind it until it is whole and right.
///
/// # Errors
/// As [`dataset`], for this file.
pub fn file(url: &str, path: &Path, content: Content, progress: &mut dyn FnMut(Progress)) -> Result<()> {
    if path.is_file() && content.check(path).is_ok() {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let part = path.with_file_name(format!("{name}.part"));
    let mut report = |done, total| progress(Progress { file: &name, done, total });
    // What an interrupted download left may be of another file: then it is downloaded once more from the start.
    let left = part.exists();
    download::resume(url, &part, &mut report)?;
    let mut checked = content.check(&part);
    if left && checked.as_ref().is_err_and(|error| error.kind() == ErrorKind::Format) {
        fs::remove_file(&part).map_err(|e| Error::io(&part, e))?;
        download::resume(url, &part, &mut report)?;
        checked = content.check(&part);
    }
    if let Err(error) = checked {
        // Nothing can be made of wrong bytes; the first error is the one to report.
        let _ = fs::remove_file(&part);
        return Err(Error::new(error.kind(), format!("{url}: {error}; try again, or another mirror")));
    }
    let renamed = File::open(&part).and_then(|file| file.sync_all()).and_then(|()| fs::rename(&part, path));
    renamed.map_err(|e| Error::io(path, e))
}

/// Writes the `members` of a packed archive to `folder`, wherever in the archive they are; each is there whole or not at all.
fn unpack(archive: &Path, folder: &Path, members: &[&str]) -> Result<()> {
    let file = BufReader::new(File::open(archive).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))?);
    let mut archive = tar::Archive::new(MultiGzDecoder::new(file));
    let mut missing = members.to_vec();
    for entry in archive.entries().map_err(files::unreadable)? {
        let mut entry = entry.map_err(files::unreadable)?;
        let path = entry.path().map_err(files::unreadable)?.into_owned();
        let Some(at) = missing.iter().position(|member| path.file_name().is_some_and(|name| name == *member)) else {
            continue;
        };
        let member = missing.swap_remove(at);
        let (target, part) = (folder.join(member), folder.join(format!("{member}.part")));
        let file = File::create(&part).map_err(|e| Error::io(&part, e))?;
        let mut writer = BufWriter::new(file);
        let written = io::copy(&mut entry, &mut writer).and_then(|_| writer.flush());
        let written = written.and_then(|()| writer.get_ref().sync_all()).and_then(|()| fs::rename(&part, &target));
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&part);
        }
        written.map_err(|e| Error::io(&target, e))?;
    }
    match missing[..] {
        [] => Ok(()),
        [missing, ..] => Err(Error::new(ErrorKind::Format, format!("the archive has no {missing}; download it again"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TempDir, gzip};
    use super::*;

    /// An archive of these files.
    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        gzip(&builder.into_inner().unwrap())
    }

    #[test]
    fn members_are_unpacked_by_their_names_alone() {
        let dir = TempDir::new();
        let path = dir.write("a.tar.gz", &archive(&[("x/1.bin", b"one"), ("y/other", b"no"), ("2.bin", b"two")]));
        unpack(&path, dir.path(), &["1.bin", "2.bin"]).unwrap();
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["1.bin", "2.bin", "a.tar.gz"]);
        assert_eq!(fs::read(dir.path().join("2.bin")).unwrap(), b"two");
        let text = unpack(&path, dir.path(), &["3.bin"]).unwrap_err().to_string();
        assert!(text.contains("has no 3.bin"), "{text}");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(unpack(&path, dir.path(), &["2.bin"]).is_err());
        assert!(!dir.path().join("2.bin.part").exists());
    }

    #[test]
    fn sums_are_those_of_the_content() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let dir = TempDir::new();
        let (plain, packed) = (dir.write("a", b"abc"), dir.write("b", &gzip(b"abc")));
        assert!(Content::Bytes(abc).check(&plain).is_ok() && Content::Packed(abc).check(&packed).is_ok());
        let text = Content::Bytes(abc).check(&packed).unwrap_err().to_string();
        assert!(text.contains("its SHA-256 is") && text.contains(abc), "{text}");
        assert!(Content::Packed(abc).check(&plain).unwrap_err().to_string().contains("no gzip"));
        assert!(
            dataset("iris", dir.path(), None, &mut |_| ()).unwrap_err().to_string().contains("mnist, fashion-mnist")
        );
    }
}
