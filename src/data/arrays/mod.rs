//! NumPy arrays as data: an `.npz` archive, or a folder of `.npy` files with the same names.
//!
//! Images are `[N, H, W]` or `[N, H, W, C]`, bytes (scaled by 1/255) or floats (taken as they are); rows of features `[N, F]`
//! become images `[1, 1, F]`. Labels are integers `[N]` or `[N, 1]` that count from 0. A part to test on is taken as it is; where
//! there is none, a fifth of every class is held out, drawn by the seed. Names of classes can come along.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use super::npy::{self, Elements, Npy};
use super::{Dataset, HELD_OUT, Parts, files};
use crate::array::Array;
use crate::error::{Context, Error, ErrorKind, Result};

/// What arrays of images and labels may be called, in small letters: to train on, to test on, and both in one.
const TRAIN: [[&str; 2]; 2] = [["x_train", "y_train"], ["train_images", "train_labels"]];
const TEST: [[&str; 2]; 2] = [["x_test", "y_test"], ["test_images", "test_labels"]];
const WHOLE: [[&str; 2]; 2] = [["images", "labels"], ["x", "y"]];
/// The name of the array with the names of the classes.
const CLASS_NAMES: &str = "class_names";
/// The most channels of images; what has more is in another order.
const MAX_CHANNELS: usize = 16;
/// The most classes that labels without names may mean.
const MAX_CLASSES: i64 = 10_000;

/// Whether `dir` is a folder of arrays.
pub fn is_folder_of_arrays(dir: &Path) -> bool {
    let names = TRAIN.iter().chain(&WHOLE).map(|[images, _]| images);
    names.into_iter().any(|name| dir.join(format!("{name}.npy")).is_file())
}

/// Reads the archive or folder at `path`; `split_seed` draws what is held out where there is nothing to test on.
///
/// The arrays are `x_train`, `y_train`, `x_test`, `y_test`, or `train_images`, `train_labels`, `test_images`, `test_labels`,
/// or `images` and `labels` (`x` and `y`), and if there is one, `class_names`; others are not looked at.
///
/// # Errors
/// What cannot be read or is damaged, lacks arrays, or has arrays that do not fit each other; labels out of range. Images
/// with numbers that are not finite and classes without images are in [`Parts::unusable`].
pub fn read(path: &Path, split_seed: u64) -> Result<Parts> {
    let arrays = if path.is_dir() { of_folder(path) } else { of_archive(path) };
    let name = path.file_stem().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    arrays.and_then(|arrays| parts(&name, arrays, split_seed)).context(|| path.display().to_string())
}

fn is_wanted(name: &str) -> bool {
    name == CLASS_NAMES || [TRAIN, TEST, WHOLE].as_flattened().as_flattened().contains(&name)
}

fn of_folder(dir: &Path) -> Result<BTreeMap<String, Npy>> {
    let mut arrays = BTreeMap::new();
    for name in [TRAIN, TEST, WHOLE].as_flattened().as_flattened().iter().chain(&[CLASS_NAMES]) {
        let file = format!("{name}.npy");
        let path = dir.join(&file);
        if path.is_file() {
            let array = npy::read(files::open(&path)?).context(|| file)?;
            arrays.insert((*name).to_owned(), array);
        }
    }
    Ok(arrays)
}

fn of_archive(path: &Path) -> Result<BTreeMap<String, Npy>> {
    let file = File::open(path).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))?;
    decode(std::io::BufReader::new(file))
}

/// The arrays in an archive.
///
/// # Errors
/// An archive or array that is damaged, or has no array of a known name.
pub fn decode(reader: impl std::io::Read + std::io::Seek) -> Result<BTreeMap<String, Npy>> {
    let damaged = |e: zip::result::ZipError| match e {
        zip::result::ZipError::Io(e) => files::unreadable(e),
        e => Error::new(ErrorKind::Format, format!("is no whole archive of NumPy ({e}); save or copy it again")),
    };
    let mut archive = zip::ZipArchive::new(reader).map_err(damaged)?;
    let mut arrays = BTreeMap::new();
    for index in 0..archive.len() {
        let member = archive.by_index(index).map_err(damaged)?;
        let name = member.name().map_err(damaged)?.into_owned();
        let key = name.strip_suffix(".npy").unwrap_or(&name).to_lowercase();
        if is_wanted(&key) {
            let array = npy::read(member).context(|| name)?;
            arrays.insert(key, array);
        }
    }
    if arrays.is_empty() {
        let names: Vec<_> = archive.file_names().flatten().take(12).collect();
        let text = format!(
            "has the arrays {}; wanted are x_train, y_train, x_test, y_test, or images and labels; rename them",
            names.join(", ")
        );
        return Err(Error::new(ErrorKind::Format, text));
    }
    Ok(arrays)
}

/// The data sets in `arrays`, called `name`.
pub(super) fn parts(name: &str, mut arrays: BTreeMap<String, Npy>, split_seed: u64) -> Result<Parts> {
    let names = arrays.remove(CLASS_NAMES).map(class_names).transpose().context(|| CLASS_NAMES)?;
    let mut pair = |names: &[[&'static str; 2]]| -> Result<Option<Part>> {
        let found = names.iter().find(|pair| pair.iter().any(|name| arrays.contains_key(*name)));
        let Some(&[images, labels]) = found else { return Ok(None) };
        let mut take = |name: &str, other: &str| {
            arrays.remove(name).ok_or_else(|| {
                Error::new(ErrorKind::Format, format!("has {other}, but no {name}; save both in one file"))
            })
        };
        Ok(Some(Part { pixels: take(images, labels)?, labels: take(labels, images)?, names: [images, labels] }))
    };
    let (train, test) = match pair(&TRAIN)? {
        Some(train) => (train, pair(&TEST)?),
        None => {
            let text = "has no x_train and y_train, nor images and labels; save it with such names";
            (pair(&WHOLE)?.ok_or_else(|| Error::new(ErrorKind::Format, text))?, None)
        }
    };

    let classes = match &names {
        Some(names) => names.len() as i64,
        None => {
            let largest = |part: &Part| part.labels().map(|labels| labels.into_iter().max().unwrap_or(0));
            largest(&train)?.max(test.as_ref().map_or(Ok(0), largest)?).saturating_add(1)
        }
    };
    if classes > MAX_CLASSES {
        let text =
            format!("{}: labels go to {}; they must count from 0 to below {MAX_CLASSES}", train.names[1], classes - 1);
        return Err(Error::new(ErrorKind::Format, text));
    }
    let names = names.unwrap_or_else(|| (0..classes).map(|class| class.to_string()).collect());
    let mut unusable = Vec::new();
    let train = train.dataset(name, &names, &mut unusable)?;
    let (train, test) = match test {
        Some(test) => (train, test.dataset(name, &names, &mut unusable)?),
        None => train.split_by(HELD_OUT, split_seed)?,
    };
    if train.image_shape() != test.image_shape() {
        let (train, test) = (train.image_shape(), test.image_shape());
        let text = format!("training images are {train:?} but test images {test:?} (height, width, channels)");
        return Err(Error::new(ErrorKind::Shape, text));
    }
    let (train, test) = without_empty_classes(train, test, &mut unusable)?;
    Ok(Parts { train, test, unusable })
}

/// Both parts without the classes of which there is nothing to train on: outputs that would never learn.
fn without_empty_classes(train: Dataset, test: Dataset, unusable: &mut Vec<Error>) -> Result<(Dataset, Dataset)> {
    let mut trained = vec![false; train.classes()];
    train.labels().iter().for_each(|&label| trained[label as usize] = true);
    if trained.iter().all(|&trained| trained) {
        return Ok((train, test));
    }
    for (name, _) in train.class_names().iter().zip(&trained).filter(|&(_, &trained)| !trained) {
        let text = format!("{}: class {name} has no image to train on; number classes without a gap", train.name());
        unusable.push(Error::new(ErrorKind::Format, text));
    }
    Ok((train.with_classes(&trained)?, test.with_classes(&trained)?))
}

fn class_names(array: Npy) -> Result<Vec<String>> {
    match array.elements {
        Elements::Texts(names) if array.shape.len() == 1 => Ok(names),
        _ => Err(Error::new(ErrorKind::Format, "must be an array of str with one axis; convert it")),
    }
}

/// Images with labels, and what the arrays are called.
struct Part {
    pixels: Npy,
    labels: Npy,
    names: [&'static str; 2],
}

impl Part {
    fn labels(&self) -> Result<Vec<i64>> {
        let name = self.names[1];
        let refused = |what: String| Error::new(ErrorKind::Format, format!("{name}: {what}"));
        if !matches!(self.labels.shape[..], [_] | [_, 1]) {
            let text =
                format!("labels are one number an image, [N], not {:?}; save argmax of such scores", self.labels.shape);
            return Err(refused(text));
        }
        match &self.labels.elements {
            Elements::Bytes(labels) => Ok(labels.iter().map(|&label| i64::from(label)).collect()),
            Elements::Integers(labels) => Ok(labels.clone()),
            _ => Err(refused("labels are integers that count from 0; convert them with astype(int)".to_owned())),
        }
    }

    /// `[H, W, C]` of an image.
    fn shape(&self) -> Result<[usize; 3]> {
        let shape = match self.pixels.shape[..] {
            [_, features] => [1, 1, features],
            [_, height, width] => [height, width, 1],
            [_, height, width, channels] if channels <= MAX_CHANNELS => [height, width, channels],
            _ => {
                let text = format!(
                    "{}: images are [N, H, W], [N, H, W, C] with at most {MAX_CHANNELS} channels, or [N, F], not {:?}; \
                     transpose or reshape them",
                    self.names[0], self.pixels.shape
                );
                return Err(Error::new(ErrorKind::Shape, text));
            }
        };
        Ok(shape)
    }

    fn dataset(self, name: &str, class_names: &[String], unusable: &mut Vec<Error>) -> Result<Dataset> {
        let [of_images, of_labels] = self.names;
        let in_range = |(index, label): (usize, i64)| {
            let label = u32::try_from(label).ok().filter(|&label| (label as usize) < class_names.len());
            label.ok_or(index)
        };
        let labels = self.labels()?;
        let checked: std::result::Result<Vec<u32>, usize> = labels.iter().copied().enumerate().map(in_range).collect();
        let checked = checked.map_err(|index| {
            let (label, classes) = (labels[index], class_names.len());
            let text =
                format!("{of_labels}: label {index} is {label}; with {classes} classes they are 0 to below that");
            Error::new(ErrorKind::Format, text)
        })?;
        let shape @ [height, width, channels] = self.shape()?;
        let count = self.pixels.shape[0];
        let both = || format!("{of_images} and {of_labels}");
        match self.pixels.elements {
            Elements::Bytes(bytes) => {
                Dataset::of_bytes(name, shape, bytes, u8::MAX, checked, class_names.to_vec()).context(both)
            }
            Elements::Floats(numbers) => {
                let is_finite = |image: &[f32]| image.iter().all(|number| number.is_finite());
                let images = numbers.chunks_exact(height * width * channels).map(is_finite).enumerate();
                let (usable, bad): (Vec<_>, Vec<_>) = images.partition(|&(_, finite)| finite);
                unusable.extend(bad.into_iter().map(|(index, _)| {
                    let text = format!("{of_images}: image {index} has numbers that are not finite; replace them");
                    Error::new(ErrorKind::Format, text)
                }));
                let images = Array::new(&[count, height, width, channels], numbers)?;
                let whole = Dataset::new(name, images, checked, class_names.to_vec()).context(both)?;
                whole.subset(&usable.into_iter().map(|(index, _)| index).collect::<Vec<_>>())
            }
            _ => {
                let text = format!("{of_images}: images are uint8 of 0 to 255, or floats; convert them with astype");
                Err(Error::new(ErrorKind::Format, text))
            }
        }
    }
}

#[cfg(test)]
mod tests;
