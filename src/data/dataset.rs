//! Labelled images, and their batches.
//!
//! A [`Dataset`] is images of one shape, one label below the number of classes for each, and the names of the classes; its
//! constructors check all of that, so whoever has one need not. It may be a choice of images that it shares with others:
//! parts and copies cost no memory for pixels.

use std::fmt::Display;
use std::sync::Arc;

use super::pixels::{OnDemand, Pixels};
use super::shuffle;
use crate::array::Array;
use crate::error::{Context, Error, ErrorKind, Result};

/// Labelled images.
#[derive(Clone, Debug)]
pub struct Dataset {
    name: String,
    pixels: Pixels,
    /// `[H, W, C]`.
    shape: [usize; 3],
    /// Where in `pixels` each image is.
    places: Arc<Vec<usize>>,
    labels: Arc<Vec<u32>>,
    class_names: Arc<Vec<String>>,
}

impl Dataset {
    /// A dataset of `images` (F32 `[N, H, W, C]`, values in [0, 1] by convention) with `labels[i]` the class of image `i`,
    /// an index into `class_names`.
    ///
    /// # Errors
    /// Images of another type or rank, a number of labels that is not N, or a label without a class name.
    pub fn new(name: impl Into<String>, images: Array, labels: Vec<u32>, class_names: Vec<String>) -> Result<Self> {
        let name = name.into();
        images.as_slice::<f32>().context(|| format!("images of dataset {name}"))?;
        let &[count, height, width, channels] = images.shape() else {
            let message = format!("dataset {name}: images must be [N, H, W, C], the shape is {:?}", images.shape());
            return Err(Error::new(ErrorKind::Shape, message));
        };
        let pixels = Pixels::Floats(Arc::new(images));
        Dataset::of_pixels(name, count, [height, width, channels], pixels, labels, class_names)
    }

    /// A dataset of images `[H, W, C]` of `shape`, one after the other in `bytes`, of which 0 is black (0.0) and `white`
    /// 1.0. They stay bytes in memory, and become floats in [`Dataset::batch`].
    ///
    /// # Errors
    /// Bytes that are no whole images, a number of labels that is not that of images, or a label without a class name.
    pub fn of_bytes(
        name: impl Into<String>,
        shape: [usize; 3],
        bytes: Vec<u8>,
        white: u8,
        labels: Vec<u32>,
        class_names: Vec<String>,
    ) -> Result<Self> {
        let (name, size) = (name.into(), shape.iter().product::<usize>());
        if size == 0 || white == 0 || !bytes.len().is_multiple_of(size) {
            let length = bytes.len();
            let message =
                format!("dataset {name}: {length} bytes of at most {white} are no whole images of {shape:?} (H, W, C)");
            return Err(Error::new(ErrorKind::Shape, message));
        }
        let count = bytes.len() / size;
        Dataset::of_pixels(name, count, shape, Pixels::bytes(bytes, white), labels, class_names)
    }

    /// A dataset of images `[H, W, C]` of `shape` that `source` reads when a batch asks for them.
    ///
    /// # Errors
    /// A number of labels that is not that of images, or a label without a class name.
    pub fn on_demand(
        name: impl Into<String>,
        shape: [usize; 3],
        source: Arc<dyn OnDemand>,
        labels: Vec<u32>,
        class_names: Vec<String>,
    ) -> Result<Self> {
        Dataset::of_pixels(name.into(), source.count(), shape, Pixels::OnDemand(source), labels, class_names)
    }

    fn of_pixels(
        name: String,
        count: usize,
        shape: [usize; 3],
        pixels: Pixels,
        labels: Vec<u32>,
        class_names: Vec<String>,
    ) -> Result<Self> {
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
        let places = Arc::new((0..count).collect());
        Ok(Dataset { name, pixels, shape, places, labels: Arc::new(labels), class_names: Arc::new(class_names) })
    }

    /// What the dataset is called in messages and reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All images, F32 `[N, H, W, C]`: four bytes a number, however they are stored.
    ///
    /// # Errors
    /// An image that is read on demand and cannot be.
    pub fn images(&self) -> Result<Array> {
        let all: Vec<usize> = (0..self.len()).collect();
        Ok(self.batch(&all)?.0)
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
        self.shape
    }

    /// The bytes of memory that hold the images, shared with the datasets that this one is a part of.
    pub fn memory(&self) -> usize {
        self.pixels.memory()
    }

    /// Whether images are read when a batch asks for them.
    pub fn is_on_demand(&self) -> bool {
        matches!(self.pixels, Pixels::OnDemand(_))
    }

    /// Writes image `index` to `image`, row-major, channels last.
    ///
    /// # Errors
    /// An index that is not below [`Self::len`], a slice of another length than an image, or an image that is read on
    /// demand and cannot be.
    pub fn read(&self, index: usize, image: &mut [f32]) -> Result<()> {
        self.check_indices(&[index])?;
        if image.len() != self.shape.iter().product::<usize>() {
            let message = format!("dataset {}: {} numbers for an image of {:?}", self.name, image.len(), self.shape);
            return Err(Error::new(ErrorKind::Shape, message));
        }
        self.pixels.read(self.places[index], image)
    }

    /// The images (F32 `[B, H, W, C]`) and labels (U32 `[B]`) at `indices`, in that order.
    ///
    /// # Errors
    /// An index that is not below [`Self::len`], or an image that is read on demand and cannot be.
    pub fn batch(&self, indices: &[usize]) -> Result<(Array, Array)> {
        self.check_indices(indices)?;
        let [height, width, channels] = self.shape;
        let size = height * width * channels;
        let mut numbers = vec![0f32; indices.len() * size];
        if size > 0 {
            for (image, &index) in numbers.chunks_exact_mut(size).zip(indices) {
                self.pixels.read(self.places[index], image)?;
            }
        }
        let images = Array::new(&[indices.len(), height, width, channels], numbers)?;
        Ok((images, Array::new(&[indices.len()], self.labels_at(indices))?))
    }

    /// The samples at `indices`, in that order, as a dataset of its own with the same name and classes. No pixels are
    /// copied.
    ///
    /// # Errors
    /// An index that is not below [`Self::len`].
    pub fn subset(&self, indices: &[usize]) -> Result<Self> {
        self.check_indices(indices)?;
        let places = Arc::new(indices.iter().map(|&index| self.places[index]).collect());
        Ok(Dataset { places, labels: Arc::new(self.labels_at(indices)), ..self.clone() })
    }

    fn labels_at(&self, indices: &[usize]) -> Vec<u32> {
        indices.iter().map(|&index| self.labels[index]).collect()
    }

    fn check_indices(&self, indices: &[usize]) -> Result<()> {
        match indices.iter().find(|&&index| index >= self.len()) {
            None => Ok(()),
            Some(index) => Err(self.config(format!("there is no image {index} among {}", self.len()))),
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
            return Err(self.config(format!("cannot hold out {held_out}; give a fraction from 0 to 1")));
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

    /// Splits into (rest, held out), with the fraction `held_out` of every class held out, drawn by `seed`. Both parts keep
    /// the order.
    ///
    /// # Errors
    /// A fraction outside [0, 1].
    pub fn split_by(&self, held_out: f64, seed: u64) -> Result<(Self, Self)> {
        if !(0.0..=1.0).contains(&held_out) {
            return Err(self.config(format!("cannot hold out {held_out}; give a fraction from 0 to 1")));
        }
        let mut members = vec![Vec::new(); self.classes()];
        self.labels.iter().enumerate().for_each(|(index, &label)| members[label as usize].push(index));
        let mut held = vec![false; self.len()];
        for members in members {
            let wanted = (held_out * members.len() as f64).round() as usize;
            shuffle(members.len(), seed, 0).into_iter().take(wanted).for_each(|drawn| held[members[drawn]] = true);
        }
        let (held, rest): (Vec<usize>, Vec<usize>) = (0..self.len()).partition(|&index| held[index]);
        Ok((self.subset(&rest)?, self.subset(&held)?))
    }

    /// The samples of the classes that are `kept`, which are numbered anew without a gap; classes beyond the end of `kept` are
    /// not.
    ///
    /// # Errors
    /// None that a dataset can cause.
    pub fn with_classes(&self, kept: &[bool]) -> Result<Self> {
        let mut next = 0..;
        let new: Vec<Option<u32>> = kept.iter().map(|&kept| if kept { next.next() } else { None }).collect();
        let label = |&label: &u32| new.get(label as usize).copied().flatten();
        let indices: Vec<usize> = (0..self.len()).filter(|&index| label(&self.labels[index]).is_some()).collect();
        let labels = self.labels.iter().filter_map(label).collect();
        let names = self.class_names.iter().zip(kept).filter(|&(_, &kept)| kept).map(|(name, _)| name.clone());
        let class_names = Arc::new(names.collect());
        Ok(Dataset { labels: Arc::new(labels), class_names, ..self.subset(&indices)? })
    }

    /// The indices in `order`, `batch_size` at a time; the last batch has what is left, 1 to `batch_size`.
    ///
    /// # Errors
    /// A batch size of 0, or an index that is not below [`Self::len`].
    pub fn batches<'a>(&self, order: &'a [usize], batch_size: usize) -> Result<Batches<'a>> {
        if batch_size == 0 {
            return Err(self.config("a batch size of 0 makes no batches; it must be at least 1"));
        }
        self.check_indices(order)?;
        Ok(Batches(order.chunks(batch_size)))
    }

    fn config(&self, message: impl Display) -> Error {
        Error::new(ErrorKind::Config, format!("dataset {}: {message}", self.name))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Image `i` is `[[i, -i]]`; the labels repeat 0, 1, 2.
    fn example(count: usize) -> Dataset {
        let images = Array::from_fn(&[count, 1, 2, 1], |at| if at[2] == 0 { at[0] as f32 } else { -(at[0] as f32) });
        let names = ["a", "b", "c"].map(String::from).to_vec();
        Dataset::new("example", images, (0..count as u32).map(|i| i % 3).collect(), names).unwrap()
    }

    fn content(dataset: &Dataset) -> (Array, &[u32], &[String]) {
        (dataset.images().unwrap(), dataset.labels(), dataset.class_names())
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
    fn bytes_become_floats_in_the_batch() {
        let names = vec!["a".to_owned()];
        let bytes: Vec<u8> = vec![0, 51, 102, 255, 5, 1];
        let dataset = Dataset::of_bytes("x", [1, 2, 1], bytes.clone(), 255, vec![0; 3], names.clone()).unwrap();
        assert_eq!((dataset.len(), dataset.memory(), dataset.is_on_demand()), (3, 6, false));
        let part = dataset.subset(&[2, 0, 1]).unwrap().subset(&[1, 0]).unwrap();
        let expected = vec![0f32, 51.0 / 255.0, 5.0 / 255.0, 1.0 / 255.0];
        assert_eq!(part.images().unwrap(), Array::new(&[2, 1, 2, 1], expected).unwrap());
        let error = |shape, white| {
            let made = Dataset::of_bytes("x", shape, bytes.clone(), white, vec![0; 3], names.clone());
            made.unwrap_err().kind()
        };
        assert_eq!([error([2, 2, 1], 255), error([0, 2, 1], 255), error([1, 2, 1], 0)], [ErrorKind::Shape; 3]);
    }

    #[test]
    fn images_are_read_where_they_are() {
        #[derive(Debug)]
        struct Squares;
        impl OnDemand for Squares {
            fn count(&self) -> usize {
                4
            }
            fn read(&self, index: usize, image: &mut [f32]) -> Result<()> {
                if index == 3 {
                    return Err(Error::new(ErrorKind::Io, "image 3 is gone"));
                }
                image.fill((index * index) as f32);
                Ok(())
            }
        }
        let made = Dataset::on_demand("x", [1, 1, 2], Arc::new(Squares), vec![0; 4], vec!["a".to_owned()]).unwrap();
        assert_eq!((made.memory(), made.is_on_demand()), (0, true));
        let part = made.subset(&[3, 2, 1]).unwrap();
        assert_eq!(part.batch(&[1, 2]).unwrap().0.to_f64_vec(), [4.0, 4.0, 1.0, 1.0]);
        assert_eq!(part.images().unwrap_err().to_string(), "image 3 is gone");
        assert!(part.read(1, &mut [0.0]).is_err() && part.read(4, &mut [0.0, 0.0]).is_err());
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
        let firsts = |part: &Dataset| part.images().unwrap().to_f64_vec().into_iter().step_by(2).map(|x| x as i64);
        let mut all: Vec<i64> = [&rest, &held].into_iter().flat_map(firsts).collect();
        all.sort_unstable();
        assert_eq!(all, (0..301).collect::<Vec<_>>());
        let (rest, held) = dataset.split(0.0).unwrap();
        assert_eq!((content(&rest), held.len()), (content(&dataset), 0));
        assert_eq!(content(&dataset.split(1.0).unwrap().1), content(&dataset));
        assert!(dataset.split(1.5).is_err() && dataset.split(f64::NAN).is_err());
    }

    #[test]
    fn a_drawn_split_is_stratified_and_of_its_seed() {
        let dataset = example(301);
        let firsts = |part: &Dataset| part.images().unwrap().to_f64_vec().into_iter().step_by(2).map(|x| x as usize);
        let held = |seed| firsts(&dataset.split_by(0.2, seed).unwrap().1).collect::<Vec<_>>();
        assert_eq!((held(1), held(1).len()), (held(1), 60));
        assert_ne!(held(1), held(2));
        let (rest, held) = dataset.split_by(0.2, 1).unwrap();
        for class in 0..3 {
            let count = |part: &Dataset| part.labels().iter().filter(|&&label| label == class).count();
            assert_eq!(count(&held), (0.2 * count(&dataset) as f64).round() as usize);
        }
        let mut all: Vec<usize> = firsts(&rest).chain(firsts(&held)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..301).collect::<Vec<_>>());
        assert!(dataset.split_by(-0.1, 0).is_err());
    }

    #[test]
    fn classes_can_be_left_out() {
        let part = example(7).with_classes(&[true, false, true]).unwrap();
        assert_eq!((part.labels(), part.class_names().concat()), (&[0, 1, 0, 1, 0][..], "ac".to_owned()));
        assert_eq!(
            part.images().unwrap().to_f64_vec().into_iter().step_by(2).sum::<f64>(),
            0.0 + 2.0 + 3.0 + 5.0 + 6.0
        );
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
}
