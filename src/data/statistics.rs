//! Mean and standard deviation of every channel of a data set: what networks take their images relative to.
//!
//! Sums are in `f64` and added in the order of the images, so they do not depend on the number of threads.

use rayon::prelude::*;

use super::Dataset;
use crate::error::{Error, ErrorKind, Result};

/// The most images that are read on demand to compute statistics.
const MAX_ON_DEMAND: usize = 10_000;
/// A standard deviation below this is that of a constant.
const CONSTANT: f64 = 1e-6;

/// What every channel is shifted and divided by: `(x - mean) / deviation`.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    /// The mean of every channel.
    pub mean: Vec<f32>,
    /// The standard deviation of every channel, above 0.
    pub deviation: Vec<f32>,
}

/// The numbers of a channel so far.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    /// The sum of squared distances from the mean.
    squares: f64,
}

impl Moments {
    fn of(numbers: impl Iterator<Item = f64> + Clone) -> Self {
        let (count, sum) = numbers.clone().fold((0.0, 0.0), |(count, sum), x| (count + 1.0, sum + x));
        let mean = if count > 0.0 { sum / count } else { 0.0 };
        Moments { count, mean, squares: numbers.map(|x| (x - mean) * (x - mean)).sum() }
    }

    /// Those of both sets of numbers (Chan, Golub, LeVeque 1983).
    fn with(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let apart = other.mean - self.mean;
        Moments {
            count,
            mean: self.mean + apart * other.count / count,
            squares: self.squares + other.squares + apart * apart * self.count * other.count / count,
        }
    }
}

impl Dataset {
    /// Mean and standard deviation of every channel over all pixels of all images; the deviation of a channel that is
    /// constant is given as 1. Of images that are read on demand 10,000, evenly spaced, stand for all.
    ///
    /// # Errors
    /// When there are no images, one cannot be read, or their numbers are too large.
    pub fn normalization(&self) -> Result<Normalization> {
        let [height, width, channels] = self.image_shape();
        let read = if self.is_on_demand() { self.len().min(MAX_ON_DEMAND) } else { self.len() };
        let of_image = |number: usize| -> Result<Vec<Moments>> {
            let mut image = vec![0f32; height * width * channels];
            self.read((number as u128 * self.len() as u128 / read as u128) as usize, &mut image)?;
            let of_channel = |channel| Moments::of(image[channel..].iter().step_by(channels).map(|&x| f64::from(x)));
            Ok((0..channels).map(of_channel).collect())
        };
        let mut total = vec![Moments::default(); channels];
        // A part at a time, so that memory does not grow with the number of images.
        let numbers: Vec<usize> = (0..read).collect();
        for part in numbers.chunks(4096) {
            let moments: Vec<Result<Vec<Moments>>> = part.par_iter().map(|&number| of_image(number)).collect();
            for image in moments {
                total.iter_mut().zip(image?).for_each(|(total, image)| *total = total.with(image));
            }
        }
        let deviation = |moments: &Moments| {
            let deviation = (moments.squares / moments.count).sqrt();
            if deviation < CONSTANT { 1.0 } else { deviation as f32 }
        };
        let mean: Vec<f32> = total.iter().map(|moments| moments.mean as f32).collect();
        let deviation: Vec<f32> = total.iter().map(deviation).collect();
        if read == 0 || mean.iter().chain(&deviation).any(|number| !number.is_finite()) {
            let what = if read == 0 { "there are no images" } else { "the images have numbers that are too large" };
            let text = format!("dataset {}: {what} to compute mean and standard deviation of", self.name());
            return Err(Error::new(ErrorKind::Format, text));
        }
        Ok(Normalization { mean, deviation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;

    #[test]
    fn means_and_deviations_are_those_of_the_definition() {
        let images = Array::from_fn(&[5000, 2, 3, 3], |at| match at[3] {
            0 => 1e3 + ((at[0] * 7 + at[1] * 3 + at[2]) % 11) as f32,
            1 => 0.1,
            _ => -((at[0] % 2) as f32),
        });
        let [mut means, mut deviations] = [vec![], vec![]];
        for channel in 0..3 {
            let numbers: Vec<f64> = images.to_f64_vec().into_iter().skip(channel).step_by(3).collect();
            let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
            let variance = numbers.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / numbers.len() as f64;
            means.push(mean);
            deviations.push(if channel == 1 { 1.0 } else { variance.sqrt() });
        }
        let dataset = Dataset::new("x", images, vec![0; 5000], vec!["a".to_owned()]).unwrap();
        let found = dataset.normalization().unwrap();
        for (found, expected) in found.mean.iter().zip(means).chain(found.deviation.iter().zip(deviations)) {
            assert!((f64::from(*found) - expected).abs() <= 1e-6 * expected.abs(), "{found} {expected}");
        }
        assert!(dataset.subset(&[]).unwrap().normalization().is_err());
    }
}
