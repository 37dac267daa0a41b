//! Datasets of labelled images in memory, the order of their samples, and their batches.
//!
//! A [`Dataset`] holds images `[N, H, W, C]` as 32-bit floats in [0, 1], one label below the number of classes for each,
//! and the names of the classes; its constructor checks all of that, so whoever has one need not. An epoch is an order
//! ([`shuffle`]), cut into slices of indices ([`Dataset::batches`]), each gathered into arrays ([`Dataset::batch`]) that a
//! program takes as input. Orders and splits are functions of their arguments alone: the same on every machine.
//!
//! The sources are [`digits`](fn@digits), which is part of the crate, the files that [`idx`] and [`cifar`] read, and with the
//! feature `images` the folders of pictures that `folder` reads.

pub mod cifar;
mod digits;
mod files;
#[cfg(feature = "images")]
pub mod folder;
pub mod idx;
#[cfg(test)]
pub(crate) mod testing;

pub use digits::digits;

use crate::array::Array;
use crate::error::{Error, ErrorKind, Result};
use crate::random::Stream;

/// Labelled images.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    name: String,
    images: Array,
    labels: Vec<u32>,
    class_names: Vec<String>,
}

impl Dataset {
    /// A dataset of `images` (F32 `[N, H, W, C]`, values in [0, 1] by convention) with `labels[i]` the class of image `i`,
    /// an index into `class_names`.
    ///
    /// # Errors
    /// Images of another type or rank, a number of labels that is not N, or a label without a class name.
    pub fn new(name: impl Into<String>, images: Array, labels: Vec<u32>, class_names: Vec<String>) -> Result<Self> {
        let name = name.into();
        images.as_slice::<f32>().map_err(|e| e.context(format!("images of dataset {name}")))?;
        let &[count, _, _, _] = images.shape() else {
            let message = format!("dataset {name}: images must be [N, H, W, C], the shape is {:?}", images.shape());
            return Err(Error::new(ErrorKind::Shape, message));
        };
        if count != labels.len() {
            let message = format!("dataset {name}: {count} images but {} labels; each image needs one", labels.len());
            return Err(Error::new(ErrorKind::Shape, message));
        }
        let classes = class_names.len();
        if let Some(index) = labels.iter().position(|&label| label as usize >= classes) {
            let message = format!(
                "dataset {name}: image {index} has label {}, but with {classes} classes labels must be below {classes}",
                labels[index]
            );
            return Err(Error::new(ErrorKind::Format, message));
        }
        Ok(Dataset { name, images, labels, class_names })
    }

    /// What the dataset is called in messages and reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The images, F32 `[N, H, W, C]`.
    pub fn images(&self) -> &Array {
        &self.images
    }

    /// The class of every image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The names of the classes, by label.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Height, width and channels of every image.
    pub fn image_shape(&self) -> [usize; 3] {
        let shape = self.images.shape();
        [shape[1], shape[2], shape[3]]
    }

    /// The images (F32 `[B, H, W, C]`) and labels (U32 `[B]`) at `indices`, in that order.
    ///
    /// # Errors
    /// An index that is not below [`Self::len`].
    pub fn batch(&self, indices: &[usize]) -> Result<(Array, Array)> {
        let (images, labels) = self.gather(indices)?;
        Ok((images, Array::new(&[indices.len()], labels)?))
    }

    /// The samples at `indices`, in that order, as a dataset of its own with the same name and classes.
    ///
    /// # Errors
    /// An index that is not below [`Self::len`].
    pub fn subset(&self, indices: &[usize]) -> Result<Self> {
        let (images, labels) = self.gather(indices)?;
        Ok(Dataset { name: self.name.clone(), images, labels, class_names: self.class_names.clone() })
    }

    fn gather(&self, indices: &[usize]) -> Result<(Array, Vec<u32>)> {
        self.check_indices(indices)?;
        let [height, width, channels] = self.image_shape();
        let (pixels, size) = (self.images.as_slice::<f32>()?, height * width * channels);
        let mut gathered = Vec::with_capacity(indices.len() * size);
        for &index in indices {
            gathered.extend_from_slice(&pixels[index * size..][..size]);
        }
        let images = Array::new(&[indices.len(), height, width, channels], gathered)?;
        Ok((images, indices.iter().map(|&index| self.labels[index]).collect()))
    }

    fn check_indices(&self, indices: &[usize]) -> Result<()> {
        match indices.iter().find(|&&index| index >= self.len()) {
            None => Ok(()),
            Some(index) => {
                let message = format!("dataset {}: there is no image {index} among {}", self.name, self.len());
                Err(Error::new(ErrorKind::Config, message))
            }
        }
    }

    /// Splits into (rest, held out), with the fraction `held_out` of every class held out.
    ///
    /// Nothing is drawn: the held-out samples of a class lie evenly along the order of the dataset. Among the first k
    /// samples of each class, for every k, `round(held_out * k)` are held out. Both parts keep the order.
    ///
    /// # Errors
    /// A fraction outside [0, 1].
    pub fn split(&self, held_out: f64) -> Result<(Self, Self)> {
        if !(0.0..=1.0).contains(&held_out) {
            let message = format!("dataset {}: cannot hold out {held_out}; give a fraction from 0 to 1", self.name);
            return Err(Error::new(ErrorKind::Config, message));
        }
        let wanted = |seen: usize| (held_out * seen as f64).round();
        let mut seen = vec![0; self.classes()];
        let (held, rest): (Vec<usize>, Vec<usize>) = (0..self.len()).partition(|&index| {
            let seen = &mut seen[self.labels[index] as usize];
            *seen += 1;
            wanted(*seen) > wanted(*seen - 1)
        });
        Ok((self.subset(&rest)?, self.subset(&held)?))
    }

    /// The indices in `order`, `batch_size` at a time; the last batch has what is left, 1 to `batch_size`.
    ///
    /// # Errors
    /// A batch size of 0, or an index that is not below [`Self::len`].
    pub fn batches<'a>(&self, order: &'a [usize], batch_size: usize) -> Result<Batches<'a>> {
        if batch_size == 0 {
            return Err(Error::new(ErrorKind::Config, "a batch size of 0 makes no batches; it must be at least 1"));
        }
        self.check_indices(order)?;
        Ok(Batches(order.chunks(batch_size)))
    }
}

/// The batches of one pass over a [`Dataset`]: slices of indices for [`Dataset::batch`]; made by [`Dataset::batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a>(std::slice::Chunks<'a, usize>);

impl<'a> Iterator for Batches<'a> {
    type Item = &'a [usize];

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Batches<'_> {}

/// The numbers below `len` in the order of epoch `epoch` under `seed` (Fisher–Yates; every order is equally likely).
pub fn shuffle(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut stream = Stream::new(seed, &format!("data.shuffle.{epoch}"));
    let mut order: Vec<usize> = (0..len).collect();
    for last in (1..len).rev() {
        order.swap(last, stream.below(last as u64 + 1) as usize);
    }
    order
}

/// Images `[count, H, W, 1]` in [0, 1] from `pixels` of 0 to `white`; `size` is (H, W).
fn grayscale(count: usize, size: [usize; 2], pixels: &[u8], white: u8) -> Result<Array> {
    let scaled = pixels.iter().map(|&pixel| f32::from(pixel) / f32::from(white)).collect();
    Array::new(&[count, size[0], size[1], 1], scaled)
}

/// The class names of a dataset of digits.
fn numerals() -> Vec<String> {
    (0..10).map(|digit| digit.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Image `i` is `[[i, -i]]`; the labels repeat 0, 1, 2.
    fn example(count: usize) -> Dataset {
        let images = Array::from_fn(&[count, 1, 2, 1], |at| if at[2] == 0 { at[0] as f32 } else { -(at[0] as f32) });
        let names = ["a", "b", "c"].map(String::from).to_vec();
        Dataset::new("example", images, (0..count as u32).map(|i| i % 3).collect(), names).unwrap()
    }

    #[test]
    fn a_batch_gathers_images_and_labels() {
        let (images, labels) = example(5).batch(&[4, 0, 4]).unwrap();
        assert_eq!(images, Array::new(&[3, 1, 2, 1], vec![4f32, -4.0, 0.0, -0.0, 4.0, -4.0]).unwrap());
        assert_eq!(labels, Array::new(&[3], vec![1u32, 0, 1]).unwrap());
        assert_eq!(example(5).batch(&[]).unwrap().0.shape(), [0, 1, 2, 1]);
        let error = example(5).batch(&[1, 5]).unwrap_err().to_string();
        assert_eq!(error, "dataset example: there is no image 5 among 5");
    }

    #[test]
    fn the_constructor_checks_what_it_is_given() {
        let (images, names) = (Array::full(&[2, 3, 3, 1], 0f32), vec!["a".to_owned()]);
        let error = |images: &Array, labels: &[u32]| {
            Dataset::new("x", images.clone(), labels.to_vec(), names.clone()).unwrap_err()
        };
        assert_eq!(error(&Array::full(&[2, 3, 3, 1], 0u32), &[0, 0]).kind(), ErrorKind::DType);
        assert_eq!(error(&Array::full(&[2, 9], 0f32), &[0, 0]).kind(), ErrorKind::Shape);
        assert!(error(&images, &[0]).to_string().contains("2 images but 1 labels"));
        assert!(error(&images, &[0, 1]).to_string().contains("image 1 has label 1"));
    }

    #[test]
    fn a_split_is_stratified_and_complete() {
        let dataset = example(301);
        let (rest, held) = dataset.split(0.2).unwrap();
        for class in 0..3 {
            let count = |part: &Dataset| part.labels().iter().filter(|&&label| label == class).count();
            assert_eq!(count(&held), (0.2 * count(&dataset) as f64).round() as usize);
        }
        let mut all: Vec<i64> = [&rest, &held]
            .iter()
            .flat_map(|part| part.images().as_slice::<f32>().unwrap().iter().step_by(2).map(|&x| x as i64))
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..301).collect::<Vec<_>>());
        assert_eq!(dataset.split(0.0).unwrap(), (dataset.clone(), dataset.subset(&[]).unwrap()));
        assert_eq!(dataset.split(1.0).unwrap().1, dataset);
        assert!(dataset.split(1.5).is_err() && dataset.split(f64::NAN).is_err());
    }

    #[test]
    fn batches_cover_the_order_with_a_tail() {
        let (dataset, order) = (example(10), shuffle(10, 0, 0));
        let batches = dataset.batches(&order, 4).unwrap();
        assert_eq!(batches.len(), 3);
        assert_eq!(batches.clone().map(<[usize]>::len).collect::<Vec<_>>(), [4, 4, 2]);
        assert_eq!(batches.flatten().copied().collect::<Vec<_>>(), order);
        assert_eq!(dataset.batches(&[], 4).unwrap().len(), 0);
        assert!(dataset.batches(&order, 0).is_err() && dataset.batches(&[10], 1).is_err());
    }

    #[test]
    fn a_shuffle_is_an_even_permutation_of_its_seed_and_epoch() {
        let order = shuffle(1000, 7, 3);
        assert_eq!(order, shuffle(1000, 7, 3));
        assert!(order != shuffle(1000, 8, 3) && order != shuffle(1000, 7, 4));
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());

        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..6000 {
            *counts.entry(shuffle(3, 0, epoch)).or_insert(0) += 1;
        }
        assert!(counts.len() == 6 && counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert_eq!((shuffle(0, 0, 0), shuffle(1, 0, 0)), (vec![], vec![0]));
    }
}
