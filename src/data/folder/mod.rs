//! Folders of pictures: `train/CLASS/*` and `test/CLASS/*`, or `CLASS/*` in one folder, a part of which is held out.
//!
//! The names of the folders are the classes, in the order of their bytes. Pictures are decoded on all cores, and come in the
//! order of their names, whatever the number of threads. All of them have one size: that of most, or the one that is asked
//! for, to which every picture is scaled (the middle is kept where proportions differ). All are grayscale if every one is,
//! else all are RGB; black is behind what is transparent. Every picture is decoded once while the folder is read, and what cannot be
//! used is never left out in silence: [`read`] says, file by file, what it is and what to do. What fits
//! [`Options::memory`] is kept as bytes; of more than that each batch decodes what it needs.

mod on_demand;
mod picture;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::{Dataset, Parts};
use crate::error::{Error, ErrorKind, Result};
use on_demand::Files;
use tree::{Entry, Part};

pub use picture::{BACKGROUND, MAX_BYTES, decode, picture, picture_on, scaled_gray};

/// The ends of names that say that a file is a picture, in small letters.
pub const EXTENSIONS: [&str; 6] = ["bmp", "gif", "jpeg", "jpg", "png", "webp"];

/// How a folder is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Height and width to scale every picture to; without it, all must have the size of most.
    pub size: Option<[usize; 2]>,
    /// Which pictures are held out, where there is no `test` folder.
    pub split_seed: u64,
    /// The most bytes of decoded pictures that are kept. If there are more, none are, and batches decode what they need.
    pub memory: u64,
    /// 1 to make every picture gray, 3 to make it colored; without it, all are gray if every one is.
    pub channels: Option<usize>,
}

impl Options {
    /// Four gigabytes.
    pub const MEMORY: u64 = 1 << 32;
}

impl Default for Options {
    /// No scaling, seed 0, [`Options::MEMORY`], channels as the pictures have them.
    fn default() -> Self {
        Options { size: None, split_seed: 0, memory: Options::MEMORY, channels: None }
    }
}

/// A picture that was decoded.
struct Seen<'a> {
    entry: &'a Entry,
    /// Height and width.
    size: [usize; 2],
    color: bool,
    /// Its pixels, gray or RGB, if they were kept.
    pixels: Option<Vec<u8>>,
}

impl<'a> Seen<'a> {
    /// Decodes the picture; `kept` counts the bytes that are kept of all pictures.
    fn new(entry: &'a Entry, options: &Options, kept: &AtomicU64) -> Result<Self> {
        let picture = picture::decode_file(&entry.path, options.size)?;
        let size = [picture.height() as usize, picture.width() as usize];
        let color = options.channels.map_or_else(|| picture.color().has_color(), |channels| channels == 3);
        let pixels = picture::bytes(&picture, color);
        let fits = kept.fetch_add(pixels.len() as u64, Ordering::Relaxed) + pixels.len() as u64 <= options.memory;
        Ok(Seen { entry, size, color, pixels: fits.then_some(pixels) })
    }
}

/// Reads the folder `dir`.
///
/// With a folder `train` in it there must be a folder `test` too. Without, a fifth of every class is held out, drawn by
/// [`Options::split_seed`] from the pictures' names: what is damaged, or added to another class, changes nothing.
///
/// # Errors
/// A folder that cannot be read or has no classes, or no picture that can be used in one of the parts. All else that is
/// wrong is in [`Parts::unusable`].
pub fn read(dir: impl AsRef<Path>, options: &Options) -> Result<Parts> {
    let dir = dir.as_ref();
    let mut unusable = Vec::new();
    let (entries, classes) = tree::entries(dir, options.split_seed, &mut unusable)?;
    let kept = AtomicU64::new(0);
    let decoded: Vec<Result<Seen>> = entries.par_iter().map(|entry| Seen::new(entry, options, &kept)).collect();
    let mut pictures = Vec::with_capacity(entries.len());
    for picture in decoded {
        match picture {
            Ok(picture) => pictures.push(picture),
            Err(error) => unusable.push(error),
        }
    }
    drop_odd_sizes(&mut pictures, &mut unusable);
    // A class of which nothing is left to train on would be an output that never learns.
    let classes = drop_empty_classes(dir, &mut pictures, classes, &mut unusable);

    let channels = if pictures.iter().any(|picture| picture.color) { 3 } else { 1 };
    let bytes = |picture: &Seen| (picture.size.iter().product::<usize>() * channels) as u64;
    let fits = pictures.iter().map(bytes).sum::<u64>() <= options.memory
        && pictures.iter().all(|picture| picture.pixels.is_some());
    let (train, test) = pictures.into_iter().partition(|picture| picture.entry.part == Part::Train);
    let part = |pictures: Vec<Seen>, what: &str| -> Result<Dataset> {
        let Some(&Seen { size: [height, width], .. }) = pictures.first() else {
            let why = unusable.first().map_or(String::new(), |error| format!(" ({error})"));
            let text = format!("{}: there is no usable picture to {what}{why}; add some", dir.display());
            return Err(Error::new(ErrorKind::Format, text));
        };
        let labels = pictures.iter().map(|picture| classes[&picture.entry.label].0).collect();
        let names = classes.values().map(|(_, name)| name.clone()).collect();
        let (name, shape) = (name_of(dir), [height, width, channels]);
        if fits {
            return Dataset::of_bytes(name, shape, joined(pictures, channels), u8::MAX, labels, names);
        }
        let paths = pictures.iter().map(|picture| picture.entry.path.clone()).collect();
        let files = Files { paths, size: [height, width], scaled: options.size.is_some(), color: channels == 3 };
        Dataset::on_demand(name, shape, Arc::new(files), labels, names)
    };
    let (train, test) = (part(train, "train on")?, part(test, "test on")?);
    Ok(Parts { train, test, unusable })
}

fn name_of(dir: &Path) -> String {
    dir.file_name().map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// The pixels of all pictures, one after the other; gray ones become RGB where there are three channels.
fn joined(pictures: Vec<Seen>, channels: usize) -> Vec<u8> {
    let mut joined = Vec::new();
    for picture in pictures {
        let copies = if picture.color { 1 } else { channels };
        let pixels = picture.pixels.unwrap_or_default();
        joined.extend(pixels.into_iter().flat_map(|byte| std::iter::repeat_n(byte, copies)));
    }
    joined
}

/// Keeps the pictures that have the size of most; of sizes that are equally frequent the smallest counts.
fn drop_odd_sizes(pictures: &mut Vec<Seen>, unusable: &mut Vec<Error>) {
    let mut counts = BTreeMap::new();
    pictures.iter().for_each(|picture| *counts.entry(picture.size).or_insert(0usize) += 1);
    let Some(usual) = counts.into_iter().rev().max_by_key(|&(_, count)| count).map(|(size, _)| size) else { return };
    pictures.retain(|Seen { entry, size, .. }| {
        if *size != usual {
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
        *size == usual
    });
}

/// The classes that have pictures to train on: the number of the folder with the new label and the name. Pictures of the
/// others are dropped.
fn drop_empty_classes(
    dir: &Path,
    pictures: &mut Vec<Seen>,
    names: Vec<String>,
    unusable: &mut Vec<Error>,
) -> BTreeMap<u32, (u32, String)> {
    let to_train_on = pictures.iter().filter(|picture| picture.entry.part == Part::Train);
    let trained: BTreeSet<u32> = to_train_on.map(|picture| picture.entry.label).collect();
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
    pictures.retain(|picture| trained.contains(&picture.entry.label));
    kept
}

#[cfg(test)]
mod tests;
