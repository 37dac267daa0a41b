//! Folders of pictures: `train/CLASS/*` and `test/CLASS/*`, or `CLASS/*` in one folder, a part of which is held out.
//!
//! The names of the folders are the classes, in the order of their bytes. Pictures are decoded on all cores, and come in the
//! order of their names, whatever the number of threads. All of them have one size: that of most, or the one that is asked
//! for, to which every picture is scaled (the middle is kept where proportions differ). All are grayscale if every one is,
//! else all are RGB; transparency is ignored. What cannot be used is never left out in silence: [`read`] says, file by file,
//! what it is and what to do. A decoder gets no more memory than [`MAX_BYTES`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, ImageReader, Limits};
use rayon::prelude::*;

use super::{Dataset, shuffle};
use crate::array::Array;
use crate::error::{Context, Error, ErrorKind, Result};

/// The ends of names that say that a file is a picture, in small letters.
pub const EXTENSIONS: [&str; 6] = ["bmp", "gif", "jpeg", "jpg", "png", "webp"];

/// The largest width and height that is read.
const MAX_EXTENT: u32 = 1 << 14;
/// The most bytes that decoding one picture may take.
pub const MAX_BYTES: u64 = 1 << 29;
/// The share of every class that is held out for testing where there is no `test` folder.
pub const HELD_OUT: f64 = 0.2;

/// How a folder is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Height and width to scale every picture to; without it, all must have the size of most.
    pub size: Option<[usize; 2]>,
    /// Which pictures are held out, where there is no `test` folder.
    pub split_seed: u64,
}

/// What is in a folder.
#[derive(Clone, Debug)]
pub struct Folder {
    /// What to train on.
    pub train: Dataset,
    /// What to test on.
    pub test: Dataset,
    /// What could not be used, in one line each: the file or folder, what is wrong and what to do. It is in neither part.
    pub unusable: Vec<Error>,
}

impl Folder {
    /// Both parts, if all that is in the folder could be used.
    ///
    /// # Errors
    /// The first thing that could not be used, and how many there are.
    pub fn complete(self) -> Result<(Dataset, Dataset)> {
        match (self.unusable.first(), self.unusable.len()) {
            (None, _) => Ok((self.train, self.test)),
            (Some(one), 1) => Err(one.clone()),
            (Some(first), count) => Err(first.clone().context(format!("{count} things cannot be used, the first is"))),
        }
    }
}

/// A picture that is to be read.
struct Entry {
    path: PathBuf,
    label: u32,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Train,
    Test,
}

/// Reads the folder `dir`.
///
/// With a folder `train` in it there must be a folder `test` too. Without, a fifth of every class is held out, drawn by
/// [`Options::split_seed`] from the pictures' names: what is damaged, or added to another class, changes nothing.
///
/// # Errors
/// A folder that cannot be read or has no classes, or no picture that can be used in one of the parts. All else that is
/// wrong is in [`Folder::unusable`].
pub fn read(dir: impl AsRef<Path>, options: &Options) -> Result<Folder> {
    let dir = dir.as_ref();
    let mut unusable = Vec::new();
    let (entries, classes) = match dir.join("train").is_dir() {
        true => of_two_folders(dir, &mut unusable)?,
        false => of_one_folder(dir, options.split_seed, &mut unusable)?,
    };
    let decoded: Vec<Result<DynamicImage>> =
        entries.par_iter().map(|entry| decode_file(&entry.path, options.size)).collect();
    let mut pictures = Vec::with_capacity(entries.len());
    for (entry, picture) in entries.iter().zip(decoded) {
        match picture {
            Ok(picture) => pictures.push((entry, picture)),
            Err(error) => unusable.push(error),
        }
    }
    drop_odd_sizes(&mut pictures, &mut unusable);
    // A class of which nothing is left to train on would be an output that never learns.
    let classes = drop_empty_classes(dir, &mut pictures, classes, &mut unusable);

    let color = pictures.iter().any(|(_, picture)| picture.color().has_color());
    let name = dir.file_name().map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned());
    let part = |part: Part| -> Result<Dataset> {
        let chosen: Vec<_> = pictures.iter().filter(|(entry, _)| entry.part == part).collect();
        let Some((_, first)) = chosen.first() else {
            let what = if part == Part::Train { "train on" } else { "test on" };
            let why = unusable.first().map_or(String::new(), |error| format!(" ({error})"));
            let text = format!("{}: there is no usable picture to {what}{why}; add some", dir.display());
            return Err(Error::new(ErrorKind::Format, text));
        };
        let shape = [chosen.len(), first.height() as usize, first.width() as usize, if color { 3 } else { 1 }];
        let pixels = chosen.par_iter().flat_map_iter(|(_, picture)| floats(picture, color)).collect();
        let labels = chosen.iter().map(|(entry, _)| classes[&entry.label].0).collect();
        let names = classes.values().map(|(_, name)| name.clone()).collect();
        Dataset::new(name.as_str(), Array::new(&shape, pixels)?, labels, names)
    };
    let (train, test) = (part(Part::Train)?, part(Part::Test)?);
    Ok(Folder { train, test, unusable })
}

/// The picture at `path` as `[H, W, channels]` in [0, 1], scaled to `size` (height, width) if there is one; with one
/// channel it is made gray, with three colored.
///
/// # Errors
/// A file that cannot be read, is damaged, or is no picture; the message starts with its path.
pub fn picture(path: &Path, size: Option<[usize; 2]>, channels: usize) -> Result<Array> {
    if channels != 1 && channels != 3 {
        let text = format!("{}: a picture has 1 or 3 channels, {channels} are asked for", path.display());
        return Err(Error::new(ErrorKind::Shape, text));
    }
    let picture = decode_file(path, size)?;
    let shape = [picture.height() as usize, picture.width() as usize, channels];
    Array::new(&shape, floats(&picture, channels == 3))
}

fn of_two_folders(dir: &Path, unusable: &mut Vec<Error>) -> Result<(Vec<Entry>, Vec<String>)> {
    let (train, test) = (dir.join("train"), dir.join("test"));
    if !test.is_dir() {
        let text = format!(
            "{}: has a folder train but no folder test; add it, or name the folder train itself to hold out a part of it",
            dir.display()
        );
        return Err(Error::new(ErrorKind::Format, text));
    }
    let classes = class_folders(&train)?;
    let mut entries = Vec::new();
    for (part, parent) in [(Part::Train, train), (Part::Test, test)] {
        for class in class_folders(&parent)? {
            let folder = parent.join(&class);
            let Ok(label) = classes.binary_search(&class) else {
                let text =
                    format!("{}: there is no class of this name in train; rename or remove it", folder.display());
                unusable.push(Error::new(ErrorKind::Format, text));
                continue;
            };
            let files = pictures_in(&folder, unusable)?;
            entries.extend(files.into_iter().map(|path| Entry { path, label: label as u32, part }));
        }
    }
    Ok((entries, classes))
}

fn of_one_folder(dir: &Path, seed: u64, unusable: &mut Vec<Error>) -> Result<(Vec<Entry>, Vec<String>)> {
    let classes = class_folders(dir)?;
    let mut entries = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let files = pictures_in(&dir.join(class), unusable)?;
        let held_out = (HELD_OUT * files.len() as f64).round() as usize;
        let drawn: BTreeSet<usize> = shuffle(files.len(), seed, 0).into_iter().take(held_out).collect();
        entries.extend(files.into_iter().enumerate().map(|(index, path)| {
            let part = if drawn.contains(&index) { Part::Test } else { Part::Train };
            Entry { path, label: label as u32, part }
        }));
    }
    entries.sort_by_key(|entry| entry.part);
    Ok((entries, classes))
}

/// The names of the folders in `dir`, in the order of their bytes; hidden ones do not count.
fn folders(dir: &Path) -> Result<Vec<String>> {
    Ok(listed(dir)?.into_iter().filter(|path| path.is_dir()).filter_map(|path| visible_name(&path)).collect())
}

fn class_folders(dir: &Path) -> Result<Vec<String>> {
    let names = folders(dir)?;
    if names.is_empty() {
        let text = format!("{}: has no folders; put the pictures of each class in a folder of its name", dir.display());
        return Err(Error::new(ErrorKind::Format, text));
    }
    Ok(names)
}

/// The pictures in `folder`, in the order of their names. Hidden files do not count, other things are unusable.
fn pictures_in(folder: &Path, unusable: &mut Vec<Error>) -> Result<Vec<PathBuf>> {
    let is_picture = |path: &Path| {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        path.is_file() && EXTENSIONS.contains(&extension.as_str())
    };
    let (pictures, others): (Vec<_>, Vec<_>) =
        listed(folder)?.into_iter().filter(|path| visible_name(path).is_some()).partition(|path| is_picture(path));
    unusable.extend(others.into_iter().map(|path| {
        let known = EXTENSIONS.join(", ");
        let text = format!("{}: is no picture by its name ({known}); rename or remove it", path.display());
        Error::new(ErrorKind::Format, text)
    }));
    Ok(pictures)
}

/// What is in `dir`, in the order of the bytes of the names.
fn listed(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::io(dir, e);
    let entries = fs::read_dir(dir).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = entries.collect::<std::io::Result<_>>().map_err(failed)?;
    paths.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    Ok(paths)
}

fn visible_name(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).filter(|name| !name.starts_with('.'))
}

fn decode_file(path: &Path, size: Option<[usize; 2]>) -> Result<DynamicImage> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
    let picture = decode(&bytes).context(|| path.display().to_string())?;
    Ok(match size {
        Some([height, width]) if [picture.height() as usize, picture.width() as usize] != [height, width] => {
            picture.resize_to_fill(width as u32, height as u32, FilterType::Triangle)
        }
        _ => picture,
    })
}

/// The picture in the bytes of a file, whose form is told by its first bytes, not by its name.
///
/// # Errors
/// Bytes that are no picture, are damaged, or claim to be of a size beyond 16,384 or [`MAX_BYTES`].
pub fn decode(bytes: &[u8]) -> Result<DynamicImage> {
    let damaged = |e: &dyn std::fmt::Display| {
        let text = format!("is no whole picture ({e}); save or copy it again, or remove it");
        Error::new(ErrorKind::Format, text)
    };
    let reader = ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format();
    let mut reader = reader.map_err(|e| damaged(&e))?;
    if reader.format() == Some(ImageFormat::Jpeg) && is_cut(bytes) {
        return Err(damaged(&"it ends before the picture does"));
    }
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_EXTENT), Some(MAX_EXTENT));
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let picture = reader.decode().map_err(|e| damaged(&e))?;
    if picture.width() == 0 || picture.height() == 0 {
        return Err(damaged(&"it has no pixels"));
    }
    Ok(picture)
}

/// Whether a JPEG lacks its end, of which the decoder would make gray pixels. In what is compressed no byte 0xFF comes
/// before a marker's byte, so the last end marker is behind the last start of a scan, unless it is a thumbnail's.
fn is_cut(jpeg: &[u8]) -> bool {
    const START_OF_SCAN: [u8; 2] = [0xFF, 0xDA];
    const END: [u8; 2] = [0xFF, 0xD9];
    let last = |marker: [u8; 2]| jpeg.windows(2).rposition(|bytes| bytes == marker);
    last(END) < last(START_OF_SCAN) || last(END).is_none()
}

/// Row-major, channels last, in [0, 1].
fn floats(picture: &DynamicImage, color: bool) -> Vec<f32> {
    let bytes = if color { picture.to_rgb8().into_raw() } else { picture.to_luma8().into_raw() };
    bytes.into_iter().map(|byte| f32::from(byte) / f32::from(u8::MAX)).collect()
}

/// Keeps the pictures that have the size of most; of sizes that are equally frequent the smallest counts.
fn drop_odd_sizes(pictures: &mut Vec<(&Entry, DynamicImage)>, unusable: &mut Vec<Error>) {
    let size_of = |picture: &DynamicImage| [picture.height(), picture.width()];
    let mut counts = BTreeMap::new();
    pictures.iter().for_each(|(_, picture)| *counts.entry(size_of(picture)).or_insert(0usize) += 1);
    let Some(usual) = counts.into_iter().rev().max_by_key(|&(_, count)| count).map(|(size, _)| size) else { return };
    pictures.retain(|(entry, picture)| {
        let size = size_of(picture);
        if size != usual {
            let text = format!(
                "{}: is {}×{} pixels (height×width), most are {}×{}; scale it, or have all scaled to one size",
                entry.path.display(),
                size[0],
                size[1],
                usual[0],
                usual[1]
            );
            unusable.push(Error::new(ErrorKind::Shape, text));
        }
        size == usual
    });
}

/// The classes that have pictures to train on: the number of the folder with the new label and the name. Pictures of the
/// others are dropped.
fn drop_empty_classes(
    dir: &Path,
    pictures: &mut Vec<(&Entry, DynamicImage)>,
    names: Vec<String>,
    unusable: &mut Vec<Error>,
) -> BTreeMap<u32, (u32, String)> {
    let trained: BTreeSet<u32> =
        pictures.iter().filter(|(entry, _)| entry.part == Part::Train).map(|(entry, _)| entry.label).collect();
    let mut kept = BTreeMap::new();
    for (label, name) in (0..).zip(names) {
        if trained.contains(&label) {
            kept.insert(label, (kept.len() as u32, name));
        } else {
            let dir = dir.display();
            let text = format!("{dir}: class {name} has no usable picture to train on; add some or remove the folder");
            unusable.push(Error::new(ErrorKind::Format, text));
        }
    }
    pictures.retain(|(entry, _)| trained.contains(&entry.label));
    kept
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
