//! Random changes of training images, so that a network sees each in many forms.
//!
//! What becomes of an image follows from the seed, the epoch and the image's position in the epoch's order alone
//! ([`Augmentation::stream`]), so threads and restarts change nothing. One file has one change, each of an image
//! `[H, W, C]` in place; what comes in from outside of it is 0. Before: [`Dataset`](super::Dataset); after:
//! [`Loader`](super::Loader), which applies it.

mod color;
mod cutout;
mod flip;
mod mixup;
mod rotate;
mod shift;

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};
use crate::random::Stream;

pub(super) use mixup::mix;

/// The most pixels that a change can be told to reach.
const MAX_PIXELS: usize = 1 << 14;

/// Which random changes are made; by default none. The text form is a list as `flip,shift=4`, or `none`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augmentation {
    /// Half of the images are mirrored, left to right.
    pub flip: bool,
    /// Images are turned about their middle by up to so many degrees, to 180.
    pub rotate: f32,
    /// Images are shifted by up to this many pixels on each axis: a random crop of the image with a border of zeros.
    pub shift: usize,
    /// Up to this number is added to, or taken from, all of an image, to 1.
    pub brightness: f32,
    /// The distance from the image's mean is multiplied by 1, more or less up to this number, to 1.
    pub contrast: f32,
    /// A square of this side becomes 0; its middle is anywhere in the image (DeVries, Taylor 2017, arXiv 1708.04552).
    pub cutout: usize,
    /// Pairs of images, and their labels, are mixed; the shares are of the Beta distribution with this number twice, to 1
    /// (Zhang et al. 2017, arXiv 1710.09412).
    pub mixup: f32,
}

impl Augmentation {
    /// Whether images stay as they are.
    pub fn is_none(&self) -> bool {
        *self == Augmentation::default()
    }

    /// The random numbers of the image at `position` in the order of epoch `epoch` under `seed`.
    pub fn stream(seed: u64, epoch: u64, position: usize) -> Stream {
        Stream::new(seed, &format!("augment.{epoch}.{position}"))
    }

    /// Changes an image `[H, W, C]` of `shape`. Pairs are mixed elsewhere, in the batch.
    pub fn apply(&self, image: &mut [f32], shape: [usize; 3], stream: &mut Stream) {
        if self.flip && stream.below(2) == 1 {
            flip::left_to_right(image, shape);
        }
        if self.rotate > 0.0 {
            rotate::turn(image, shape, between(stream, self.rotate));
        }
        if self.shift > 0 {
            let reach = self.shift as i64;
            let mut offset = || stream.below(2 * reach as u64 + 1) as i64 - reach;
            let (down, right) = (offset(), offset());
            shift::shift(image, shape, down, right);
        }
        if self.brightness > 0.0 {
            color::brighten(image, between(stream, self.brightness));
        }
        if self.contrast > 0.0 {
            color::contrast(image, 1.0 + between(stream, self.contrast));
        }
        if self.cutout > 0 {
            let middle = [stream.below(shape[0] as u64) as usize, stream.below(shape[1] as u64) as usize];
            cutout::cut(image, shape, middle, self.cutout);
        }
    }

    /// Nothing, if every number is in its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<()> {
        let Augmentation { rotate, brightness, contrast, mixup, shift, cutout, .. } = *self;
        for (name, value) in [("shift", shift), ("cutout", cutout)] {
            if value > MAX_PIXELS {
                let text = format!("{name}={value}: give a number of pixels, at most {MAX_PIXELS}");
                return Err(Error::new(ErrorKind::Config, text));
            }
        }
        let ranges = [("rotate", rotate, 180.0), ("brightness", brightness, 1.0), ("contrast", contrast, 1.0)];
        for (name, value, most) in ranges.into_iter().chain([("mixup", mixup, 1.0)]) {
            if !(0.0..=most).contains(&value) {
                return Err(Error::new(ErrorKind::Config, format!("{name}={value}: give a number from 0 to {most}")));
            }
        }
        Ok(())
    }
}

/// A number from `-reach` to `reach`.
fn between(stream: &mut Stream, reach: f32) -> f32 {
    (2.0 * stream.uniform() - 1.0) * reach
}

impl fmt::Display for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Augmentation { flip, rotate, shift, brightness, contrast, cutout, mixup } = *self;
        let whole = |name: &str, value: usize| (value > 0).then(|| format!("{name}={value}"));
        let number = |name: &str, value: f32| (value != 0.0).then(|| format!("{name}={value}"));
        let changes = [
            flip.then(|| "flip".to_owned()),
            number("rotate", rotate),
            whole("shift", shift),
            number("brightness", brightness),
            number("contrast", contrast),
            whole("cutout", cutout),
            number("mixup", mixup),
        ];
        let changes: Vec<String> = changes.into_iter().flatten().collect();
        f.write_str(if changes.is_empty() { "none" } else { "" })?;
        f.write_str(&changes.join(","))
    }
}

impl FromStr for Augmentation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut changes = Augmentation::default();
        for change in text.split(',').map(str::trim).filter(|change| *change != "none") {
            let (name, value) = change.split_once('=').unwrap_or((change, ""));
            let refused = |what: &str| Error::new(ErrorKind::Config, format!("{change:?}: {what}"));
            let whole = || value.parse().map_err(|_| refused("give a number of pixels, as in shift=4"));
            let number = || value.parse().map_err(|_| refused("give a number, as in rotate=10"));
            match name {
                "flip" if value.is_empty() => changes.flip = true,
                "flip" => return Err(refused("takes no number")),
                "rotate" => changes.rotate = number()?,
                "shift" => changes.shift = whole()?,
                "brightness" => changes.brightness = number()?,
                "contrast" => changes.contrast = number()?,
                "cutout" => changes.cutout = whole()?,
                "mixup" => changes.mixup = number()?,
                _ => {
                    return Err(refused(
                        "is none of flip, rotate=DEGREES, shift=PIXELS, brightness=SHARE, contrast=SHARE, cutout=PIXELS, \
                         mixup=NUMBER",
                    ));
                }
            }
        }
        changes.check()?;
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [5, 6, 2];

    fn image() -> Vec<f32> {
        (0..60).map(|i| i as f32 / 60.0).collect()
    }

    fn all() -> Augmentation {
        "flip,rotate=30,shift=2,brightness=0.2,contrast=0.3,cutout=2,mixup=0.4".parse().unwrap()
    }

    #[test]
    fn what_becomes_of_an_image_is_fixed_by_seed_epoch_and_position() {
        let changed = |seed, epoch, position| {
            let mut image = image();
            all().apply(&mut image, SHAPE, &mut Augmentation::stream(seed, epoch, position));
            image
        };
        let first = changed(1, 2, 3);
        assert_eq!(first, changed(1, 2, 3));
        assert!([changed(2, 2, 3), changed(1, 3, 3), changed(1, 2, 4)].iter().all(|other| *other != first));
        let mut same = image();
        Augmentation::default().apply(&mut same, SHAPE, &mut Augmentation::stream(1, 2, 3));
        assert_eq!(same, image());
    }

    #[test]
    fn half_of_the_images_are_flipped_and_all_shifts_occur() {
        let (mut flipped, mut shifts) = (0, std::collections::BTreeSet::new());
        for position in 0..2000 {
            let mut image = image();
            let flip = Augmentation { flip: true, ..Augmentation::default() };
            flip.apply(&mut image, SHAPE, &mut Augmentation::stream(0, 1, position));
            flipped += usize::from(image[0] != 0.0);
            let mut point = vec![0.0; 25];
            point[12] = 1.0;
            let shift = Augmentation { shift: 2, ..Augmentation::default() };
            shift.apply(&mut point, [5, 5, 1], &mut Augmentation::stream(0, 1, position));
            shifts.insert(point.iter().position(|&x| x == 1.0).unwrap());
        }
        assert!((900..1100).contains(&flipped), "{flipped}");
        assert_eq!(shifts.len(), 25);
    }

    #[test]
    fn the_text_form_is_read_back() {
        let text = "flip,rotate=30,shift=2,brightness=0.2,contrast=0.3,cutout=2,mixup=0.4";
        assert_eq!(all().to_string(), text);
        assert_eq!("none".parse::<Augmentation>().unwrap().to_string(), "none");
        assert!("none".parse::<Augmentation>().unwrap().is_none() && !all().is_none());
        for (bad, finding) in [
            ("flop", "is none of flip, rotate=DEGREES"),
            ("flip=1", "takes no number"),
            ("shift", "number of pixels"),
            ("shift=-1", "number of pixels"),
            ("cutout=99999", "at most 16384"),
            ("rotate=x", "give a number"),
            ("rotate=181", "from 0 to 180"),
            ("brightness=NaN", "from 0 to 1"),
            ("", "is none of"),
        ] {
            let error = bad.parse::<Augmentation>().unwrap_err().to_string();
            assert!(error.contains(finding), "{error}");
        }
    }
}
