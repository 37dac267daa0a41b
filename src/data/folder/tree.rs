//! Which pictures are in a tree of folders, of which class, and for what.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::EXTENSIONS;
use crate::data::parts::HELD_OUT;
use crate::data::shuffle;
use crate::error::{Error, ErrorKind, Result};

/// A picture that is to be read.
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) label: u32,
    pub(super) part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Train,
    Test,
}

/// The pictures of the tree `dir`, training ones first, and the names of the classes.
pub(super) fn entries(dir: &Path, seed: u64, unusable: &mut Vec<Error>) -> Result<(Vec<Entry>, Vec<String>)> {
    match dir.join("train").is_dir() {
        true => of_two_folders(dir, unusable),
        false => of_one_folder(dir, seed, unusable),
    }
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
