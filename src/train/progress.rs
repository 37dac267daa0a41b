//! How far a run has come: what it needs to go on, apart from what the store holds.
//!
//! The order of the images, augmentation and dropout follow from the seed and the position, the schedule from the position:
//! so the number of steps done is all there is to say of them. What the plateau has seen and the epochs that are complete
//! are kept as they are, sums of the incomplete epoch are states in the store. The form in files is JSON; numbers are read
//! back to the same bits. After: [`super::checkpoint`] writes it, [`super::Trainer::fit`] goes on from it.

use serde_json::{Map, Value, json};

use super::trainer::Epoch;
use super::{Metrics, Settings};
use crate::data::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::optim::Plateau;

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Steps done, in all epochs.
    pub steps: usize,
    /// Steps of one epoch.
    pub steps_per_epoch: usize,
    /// The epochs that are complete.
    pub epochs: Vec<Epoch>,
    /// What the plateau has seen.
    pub plateau: Option<Plateau>,
    /// Wall-clock time of the epoch that is not complete.
    pub seconds: f64,
    /// What it trains on.
    pub data: DataPrint,
}

/// By what a set of training images is known again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataPrint {
    /// The number of images.
    pub images: usize,
    /// A hash of the labels, in order.
    pub labels: u64,
}

impl DataPrint {
    /// Of a data set.
    pub fn of(data: &Dataset) -> Self {
        // FNV-1a.
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        let bytes = data.labels().iter().flat_map(|label| label.to_le_bytes());
        DataPrint { images: data.len(), labels: bytes.fold(0xCBF2_9CE4_8422_2325, hash) }
    }
}

impl Progress {
    /// At the beginning.
    pub fn start(settings: &Settings, data: &Dataset, steps_per_epoch: usize) -> Self {
        Progress { steps_per_epoch, plateau: settings.plateau, data: DataPrint::of(data), ..Progress::default() }
    }

    /// Steps of the complete epochs.
    pub fn complete(&self) -> usize {
        self.epochs.len().saturating_mul(self.steps_per_epoch)
    }

    /// Whether the number of steps is one that the complete epochs and the next can have.
    pub(super) fn is_sound(&self) -> bool {
        let end = self.complete().saturating_add(self.steps_per_epoch);
        (self.complete()..=end).contains(&self.steps)
    }

    /// The complete epoch that was best: with the lowest loss on the test set, or else on the training set; the first of
    /// equals.
    pub fn best(&self) -> Option<&Epoch> {
        self.epochs.iter().min_by(|a, b| a.judged().loss.total_cmp(&b.judged().loss))
    }

    /// Epochs since the best one.
    pub fn since_best(&self) -> usize {
        self.best().map_or(0, |best| self.epochs.len() - best.number)
    }

    pub(super) fn to_json(&self) -> Value {
        let epochs: Vec<Value> = self.epochs.iter().map(epoch_to_json).collect();
        json!({
            "steps": self.steps,
            "steps_per_epoch": self.steps_per_epoch,
            "seconds": number(self.seconds),
            "images": self.data.images,
            "labels": self.data.labels,
            "plateau": self.plateau.as_ref().map(plateau_to_json),
            "epochs": epochs,
        })
    }

    pub(super) fn from_json(value: &Value) -> Result<Self> {
        let object = object(value, "progress")?;
        let epochs = field(object, "epochs")?.as_array().ok_or_else(|| damaged("epochs"))?;
        let epochs = epochs.iter().map(epoch_of_json).collect::<Result<Vec<_>>>()?;
        if epochs.iter().enumerate().any(|(i, epoch)| epoch.number != i + 1) {
            return Err(damaged("epochs"));
        }
        let plateau = field(object, "plateau")?;
        Ok(Progress {
            steps: whole(object, "steps")?,
            steps_per_epoch: whole(object, "steps_per_epoch")?,
            epochs,
            plateau: if plateau.is_null() { None } else { Some(plateau_of_json(plateau)?) },
            seconds: float(object, "seconds")?,
            data: DataPrint {
                images: whole(object, "images")?,
                labels: field(object, "labels")?.as_u64().ok_or_else(|| damaged("labels"))?,
            },
        })
    }
}

fn epoch_to_json(epoch: &Epoch) -> Value {
    let metrics = |m: &Metrics| json!({ "loss": number(m.loss), "accuracy": number(m.accuracy), "samples": m.samples });
    json!({
        "number": epoch.number,
        "train": metrics(&epoch.train),
        "test": epoch.test.as_ref().map(metrics),
        "seconds": number(epoch.seconds),
        "waited": number(epoch.waited),
    })
}

fn epoch_of_json(value: &Value) -> Result<Epoch> {
    let metrics = |value: &Value| {
        let object = object(value, "metrics")?;
        Ok(Metrics {
            loss: float(object, "loss")?,
            accuracy: float(object, "accuracy")?,
            samples: whole(object, "samples")?,
        })
    };
    let object = object(value, "epochs")?;
    let test = field(object, "test")?;
    Ok(Epoch {
        number: whole(object, "number")?,
        train: metrics(field(object, "train")?)?,
        test: if test.is_null() { None } else { Some(metrics(test)?) },
        seconds: float(object, "seconds")?,
        waited: float(object, "waited")?,
    })
}

fn plateau_to_json(plateau: &Plateau) -> Value {
    json!({
        "gamma": number(plateau.gamma),
        "patience": plateau.patience,
        "threshold": number(plateau.threshold),
        "cooldown": plateau.cooldown,
        "minimum": number(plateau.minimum),
        "larger_is_better": plateau.larger_is_better,
        "factor": number(plateau.factor),
        "best": plateau.best.map(number),
        "bad": plateau.bad,
        "cooling": plateau.cooling,
    })
}

fn plateau_of_json(value: &Value) -> Result<Plateau> {
    let object = object(value, "plateau")?;
    let best = field(object, "best")?;
    Ok(Plateau {
        gamma: float(object, "gamma")?,
        patience: whole(object, "patience")?,
        threshold: float(object, "threshold")?,
        cooldown: whole(object, "cooldown")?,
        minimum: float(object, "minimum")?,
        larger_is_better: field(object, "larger_is_better")?.as_bool().ok_or_else(|| damaged("larger_is_better"))?,
        factor: float(object, "factor")?,
        best: if best.is_null() { None } else { Some(float(object, "best")?) },
        bad: whole(object, "bad")?,
        cooling: whole(object, "cooling")?,
    })
}

/// A float as JSON: as text where JSON has no number for it.
fn number(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}

fn float(object: &Map<String, Value>, key: &str) -> Result<f64> {
    let value = field(object, key)?;
    let text = || value.as_str().and_then(|text| text.parse().ok()).filter(|number: &f64| !number.is_finite());
    value.as_f64().or_else(text).ok_or_else(|| damaged(key))
}

fn whole(object: &Map<String, Value>, key: &str) -> Result<usize> {
    let value = field(object, key)?.as_u64().and_then(|value| usize::try_from(value).ok());
    value.ok_or_else(|| damaged(key))
}

fn field<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a Value> {
    object.get(key).ok_or_else(|| damaged(key))
}

fn object<'a>(value: &'a Value, key: &str) -> Result<&'a Map<String, Value>> {
    value.as_object().ok_or_else(|| damaged(key))
}

pub(super) fn damaged(key: &str) -> Error {
    let text = format!("{key:?} in the checkpoint is damaged or missing; take another one");
    Error::new(ErrorKind::Format, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Progress {
        let metrics = |loss| Metrics { loss, accuracy: 1.0 / 3.0, samples: 7 };
        let epoch = |number, loss, test: Option<f64>| Epoch {
            number,
            train: metrics(loss),
            test: test.map(metrics),
            seconds: 0.1 + 0.2,
            waited: 0.1,
        };
        Progress {
            steps: 12,
            steps_per_epoch: 3,
            epochs: vec![epoch(1, f64::MIN_POSITIVE, Some(2.0)), epoch(2, 0.1, Some(1.0)), epoch(3, 0.1, Some(1.0))],
            plateau: Some(Plateau { best: Some(f64::INFINITY), factor: 0.1f64.powi(3), bad: 2, ..Plateau::default() }),
            seconds: 1e-9,
            data: DataPrint { images: 5, labels: u64::MAX },
        }
    }

    #[test]
    fn what_is_written_is_read_to_the_same_bits() {
        for progress in [example(), Progress { plateau: None, ..example() }, Progress::default()] {
            let text = progress.to_json().to_string();
            assert_eq!(Progress::from_json(&serde_json::from_str(&text).unwrap()).unwrap(), progress, "{text}");
        }
        // Digits that a hasty reader rounds otherwise.
        for bits in [0x3fb9_9999_9999_9999u64, 0x3fe5_5555_5555_5557, 0x0000_0000_0000_0003, 0x7fef_ffff_ffff_ffff] {
            let progress = Progress { seconds: f64::from_bits(bits), ..Progress::default() };
            let text = progress.to_json().to_string();
            let read = Progress::from_json(&serde_json::from_str(&text).unwrap()).unwrap();
            assert_eq!(read.seconds.to_bits(), bits, "{text}");
        }
    }

    #[test]
    fn the_best_epoch_is_that_of_the_lowest_test_loss() {
        let progress = example();
        assert_eq!((progress.best().unwrap().number, progress.since_best()), (2, 1));
        assert_eq!((Progress::default().best(), Progress::default().since_best()), (None, 0));
    }

    #[test]
    fn damage_is_named() {
        let error = |change: fn(&mut Value)| {
            let mut value = example().to_json();
            change(&mut value);
            Progress::from_json(&value).unwrap_err().to_string()
        };
        assert!(error(|value| value["steps"] = json!(-1)).contains("\"steps\""));
        assert!(error(|value| value["epochs"][1]["number"] = json!(7)).contains("\"epochs\""));
        assert!(error(|value| value["plateau"]["best"] = json!("1.5")).contains("\"best\""));
        assert!(error(|value| *value = Value::Null).contains("\"progress\""));
    }
}
