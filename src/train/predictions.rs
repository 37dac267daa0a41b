//! What a model says of every image of a data set, and what it confuses.
//!
//! [`Predictions`] are the probabilities with the labels; all figures of a classifier follow from them: the [`Confusion`] of
//! classes with precision and recall, the share of images whose class is among the first guesses, the worst mistakes. Before:
//! [`Trainer::predictions`]. After: `evaluate` and reports show them.

use super::Trainer;
use crate::array::Array;
use crate::data::augment::Augmentation;
use crate::data::{Dataset, Loader, Plan};
use crate::error::{Error, ErrorKind, Result};

/// The probabilities of all classes for every image, with what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    classes: usize,
    /// `[N, classes]`, row-major.
    probabilities: Vec<f32>,
    labels: Vec<u32>,
}

/// An image whose class was not the first guess.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    /// The image, by its number.
    pub index: usize,
    /// Its class.
    pub label: usize,
    /// The likeliest classes with their probabilities, the likeliest first.
    pub guesses: Vec<(usize, f32)>,
}

/// How often images of each class were taken for each class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// By class and guess, row-major.
    counts: Vec<usize>,
}

impl Predictions {
    /// From probabilities `[N, classes]` and labels.
    ///
    /// # Errors
    /// When there are not as many of both, or a label is no class.
    pub fn new(probabilities: &Array, labels: &[u32]) -> Result<Self> {
        let &[images, classes] = probabilities.shape() else {
            return Err(Error::new(ErrorKind::Shape, "predictions: probabilities are [N, classes]"));
        };
        if images != labels.len() || labels.iter().any(|&label| label as usize >= classes) {
            let text = format!("predictions: {images} rows of {classes} classes for {} labels", labels.len());
            return Err(Error::new(ErrorKind::Shape, text));
        }
        Ok(Predictions { classes, probabilities: probabilities.as_slice::<f32>()?.to_vec(), labels: labels.to_vec() })
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The likeliest `top` classes of an image with their probabilities, the likeliest first.
    pub fn guesses(&self, index: usize, top: usize) -> Vec<(usize, f32)> {
        let row = &self.probabilities[index * self.classes..(index + 1) * self.classes];
        let mut guesses: Vec<(usize, f32)> = row.iter().copied().enumerate().collect();
        // Of equals the first, as argmax has it.
        guesses.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        guesses.truncate(top);
        guesses
    }

    /// The share of images whose class is among the `top` likeliest.
    pub fn accuracy(&self, top: usize) -> f64 {
        let is_among =
            |&index: &usize| self.guesses(index, top).iter().any(|&(class, _)| class == self.labels[index] as usize);
        (0..self.len()).filter(is_among).count() as f64 / self.len().max(1) as f64
    }

    /// How often images of each class were taken for each class.
    pub fn confusion(&self) -> Confusion {
        let mut counts = vec![0; self.classes * self.classes];
        for (index, &label) in self.labels.iter().enumerate() {
            if let Some(&(guess, _)) = self.guesses(index, 1).first() {
                counts[label as usize * self.classes + guess] += 1;
            }
        }
        Confusion { classes: self.classes, counts }
    }

    /// The `limit` mistakes in which the model was surest, the surest first, with the `top` likeliest classes of each.
    pub fn worst(&self, limit: usize, top: usize) -> Vec<Mistake> {
        let mistake = |(index, &label): (usize, &u32)| {
            let guesses = self.guesses(index, top);
            let label = label as usize;
            guesses.first().is_some_and(|&(guess, _)| guess != label).then_some(Mistake { index, label, guesses })
        };
        let mut mistakes: Vec<Mistake> = self.labels.iter().enumerate().filter_map(mistake).collect();
        mistakes.sort_by(|a, b| b.guesses[0].1.total_cmp(&a.guesses[0].1));
        mistakes.truncate(limit);
        mistakes
    }
}

impl Confusion {
    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many images of class `label` were taken for `guess`.
    pub fn count(&self, label: usize, guess: usize) -> usize {
        self.counts[label * self.classes + guess]
    }

    /// How many images there are of a class.
    pub fn support(&self, class: usize) -> usize {
        (0..self.classes).map(|guess| self.count(class, guess)).sum()
    }

    /// The share of right ones among the images that were taken for a class, if there are any.
    pub fn precision(&self, class: usize) -> Option<f64> {
        share(self.count(class, class), (0..self.classes).map(|label| self.count(label, class)).sum())
    }

    /// The share of a class's images that were taken for it, if there are any.
    pub fn recall(&self, class: usize) -> Option<f64> {
        share(self.count(class, class), self.support(class))
    }

    /// The harmonic mean of precision and recall: 2·right / (images of the class + images taken for it).
    pub fn f1(&self, class: usize) -> Option<f64> {
        let taken: usize = (0..self.classes).map(|label| self.count(label, class)).sum();
        share(2 * self.count(class, class), self.support(class) + taken)
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Trainer {
    /// What the model says of every image of `data`, without training.
    ///
    /// # Errors
    /// When the images have another shape, or the device is lost.
    pub fn predictions(&mut self, data: &Dataset) -> Result<Predictions> {
        let batch_size = self.prediction_batch(data.len())?;
        let plan = Plan { batch_size, augmentation: Augmentation::default(), seed: 0, epoch: 0, skip: 0 };
        let mut probabilities = Vec::new();
        for batch in Loader::start(data, (0..data.len()).collect(), plan)? {
            probabilities.extend_from_slice(self.predict(&batch?.images)?.as_slice::<f32>()?);
        }
        let classes = probabilities.len() / data.len().max(1);
        Predictions::new(&Array::new(&[data.len(), classes], probabilities)?, data.labels())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions() -> Predictions {
        let rows = [[0.7f32, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.0, 0.9, 0.1], [0.4, 0.3, 0.3]];
        Predictions::new(&Array::new(&[5, 3], rows.concat()).unwrap(), &[0, 1, 1, 0, 0]).unwrap()
    }

    #[test]
    fn figures_are_those_of_the_definitions() {
        let confusion = predictions().confusion();
        let counts: Vec<usize> = (0..9).map(|i| confusion.count(i / 3, i % 3)).collect();
        assert_eq!(counts, [2, 1, 0, 1, 1, 0, 0, 0, 0]);
        let thirds = |n| Some(f64::from(n) / 3.0);
        assert_eq!([confusion.precision(0), confusion.recall(0), confusion.f1(0)], [thirds(2); 3]);
        assert_eq!([confusion.precision(1), confusion.recall(1), confusion.f1(1)], [Some(0.5); 3]);
        assert_eq!([confusion.precision(2), confusion.recall(2), confusion.f1(2)], [None; 3]);
        assert_eq!([0, 1, 2].map(|class| confusion.support(class)), [3, 2, 0]);
        assert_eq!([1, 2, 3].map(|top| predictions().accuracy(top)), [0.6, 0.8, 1.0]);
    }

    #[test]
    fn the_worst_mistake_is_the_surest() {
        let worst = predictions().worst(9, 2);
        assert_eq!(worst.iter().map(|mistake| (mistake.index, mistake.label)).collect::<Vec<_>>(), [(3, 0), (1, 1)]);
        assert_eq!(worst[0].guesses, [(1, 0.9), (2, 0.1)]);
        assert_eq!(predictions().worst(1, 2).len(), 1);
    }

    #[test]
    fn rows_must_be_those_of_the_labels() {
        let rows = Array::new(&[1, 2], vec![0.5f32, 0.5]).unwrap();
        assert!(Predictions::new(&rows, &[0, 1]).is_err() && Predictions::new(&rows, &[2]).is_err());
        assert_eq!(Predictions::new(&Array::new(&[0, 2], Vec::<f32>::new()).unwrap(), &[]).unwrap().accuracy(1), 0.0);
    }
}
