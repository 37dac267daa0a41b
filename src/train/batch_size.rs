//! The largest batch that fits a device.
//!
//! Nobody can say beforehand: a driver refuses memory when it likes, and what a step needs is known when it is planned. So the
//! programs of a whole run are compiled, which takes their memory, at twice the size each time until one does not fit. Where a
//! device computes in the memory of the host, which gives away more than it has, the plan is held against a given room instead.
//! Before: [`super::Trainer`] compiles programs. After: `train --batch-size auto`.

use super::Trainer;
use crate::error::{Error, ErrorKind, Result};

impl Trainer {
    /// The fewest steps of an epoch that [`Trainer::choose_batch_size`] leaves: larger batches would hardly learn.
    pub const LEAST_STEPS: usize = 20;

    /// Takes the largest power of two as the batch size with which training on `images` images and testing fit the device, and
    /// the programs into `room` bytes if that is given; gives it. An epoch keeps [`Trainer::LEAST_STEPS`] steps.
    ///
    /// # Errors
    /// When not even batches of one fit, or there is something else wrong with the model.
    pub fn choose_batch_size(&mut self, images: usize, room: Option<u64>) -> Result<usize> {
        let most = (images / Self::LEAST_STEPS).max(1);
        let mut fits = None;
        let mut size = 1;
        while size <= most && self.has_room(size, images, room)? {
            fits = Some(size);
            size *= 2;
        }
        let Some(size) = fits else {
            let text = "not even batches of one image fit the memory; use a smaller model or smaller images";
            return Err(Error::new(ErrorKind::Memory, text));
        };
        self.set_batch_size(size);
        Ok(size)
    }

    /// Whether batches of `size` fit, with all programs of a run at once.
    fn has_room(&mut self, size: usize, images: usize, room: Option<u64>) -> Result<bool> {
        self.forget_programs();
        let planned = self.planned_bytes(size, images);
        // Another batch size, or none at all, is what comes next.
        self.forget_programs();
        match planned {
            Ok(planned) => Ok(room.is_none_or(|room| planned <= room)),
            Err(error) if error.kind() == ErrorKind::Memory => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What the programs take that train on batches of `size` and on the last one, and the one that evaluates.
    fn planned_bytes(&mut self, size: usize, images: usize) -> Result<u64> {
        let evaluated = self.prediction_batch(images)?;
        let mut bytes = self.predict_program(evaluated, false)?.planned_bytes();
        for batch in [size, images % size].into_iter().filter(|&batch| batch > 0) {
            bytes += self.train_program(batch)?.planned_bytes();
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::nn::{Flatten, Linear, Sequential};
    use crate::train::Settings;

    fn trainer() -> Trainer {
        let model = Sequential::new().then(Flatten).named("hidden", Linear::new(100)).named("head", Linear::new(2));
        Trainer::new(&Device::cpu(), model, [4, 4, 1], Settings::default())
    }

    #[test]
    fn what_does_not_fit_is_halved() {
        let mut one = trainer();
        let full = |batch: usize| match batch > 40 {
            true => Err(Error::new(ErrorKind::Memory, "full")),
            false => Ok(()),
        };
        assert_eq!(one.fitting(1000, |_, batch| full(batch)).unwrap(), 32);
        // What did not fit once is not tried again.
        assert_eq!([1000, 20].map(|samples| one.fitting(samples, |_, _| Ok(())).unwrap()), [32, 20]);
        let error = |kind| trainer().fitting(9, |_, _| Err(Error::new(kind, "never"))).unwrap_err().kind();
        assert_eq!([ErrorKind::Memory, ErrorKind::Device].map(error), [ErrorKind::Memory, ErrorKind::Device]);
    }

    #[test]
    fn the_batch_is_as_large_as_room_and_steps_allow() {
        let mut trainer = trainer();
        assert_eq!(trainer.choose_batch_size(20 * 64 + 3, None).unwrap(), 64);
        assert_eq!(trainer.settings().batch_size, 64);
        let planned = |trainer: &mut Trainer, batch| trainer.train_program(batch).unwrap().planned_bytes();
        let evaluation = trainer.predict_program(Trainer::EVALUATION_BATCH, false).unwrap().planned_bytes();
        let room = planned(&mut trainer, 16) + planned(&mut trainer, 3) + evaluation;
        assert_eq!(trainer.choose_batch_size(20 * 64 + 3, Some(room)).unwrap(), 16);
        assert_eq!(trainer.choose_batch_size(20 * 64 + 3, Some(room - 1)).unwrap(), 8);
        assert_eq!(trainer.choose_batch_size(3, None).unwrap(), 1);
        let error = trainer.choose_batch_size(1280, Some(100)).unwrap_err();
        assert!(error.kind() == ErrorKind::Memory && error.to_string().contains("smaller model"), "{error}");
    }
}
