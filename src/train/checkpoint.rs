//! A checkpoint: a run in one file, from which it goes on bit for bit.
//!
//! It holds all that the store holds, an optimizer's states, random numbers and the sums of the incomplete epoch included,
//! and the run's [`Progress`]. The settings go along as text: a run with others is not the same run, and is refused. The
//! file is safetensors, replaced as a whole or not at all; with a [`ModelInfo`] it is also a file that
//! [`super::ModelFile::load`] reads, so that any checkpoint can be evaluated and predicted with. What is not finite is
//! never made a checkpoint, so that the last one is always good. Before: [`super::Trainer`]. After: [`super::Checkpoints`].

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::model_file::{read_info, write_info};
use super::progress::{Progress, damaged};
use super::{ModelInfo, Settings, Trainer};
use crate::array::Array;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::format::safetensors;
use crate::graph::Leaf;
use crate::store::is_of_training;

/// The key of the metadata under which all is but the arrays.
const KEY: &str = "neuropil.checkpoint";
/// Counts up when an older program could not go on from a file.
const VERSION: u64 = 1;

/// A run at a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// How far it has come.
    pub progress: Progress,
    /// Its settings as text, by name.
    pub settings: BTreeMap<String, String>,
    /// All parameters and states, by name.
    pub state: BTreeMap<String, Array>,
}

impl Checkpoint {
    /// The parameters and states that prediction needs, by name.
    pub fn weights(&self) -> BTreeMap<String, Array> {
        let weights = self.state.iter().filter(|(name, _)| !is_of_training(name));
        weights.map(|(name, array)| (name.clone(), array.clone())).collect()
    }

    /// Writes the file, which is replaced as a whole or not at all. With `info` it is a model file too.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path, info: Option<&ModelInfo>) -> Result<()> {
        let content = json!({ "version": VERSION, "progress": self.progress.to_json(), "settings": self.settings });
        let mut metadata = info.map(write_info).unwrap_or_default();
        metadata.insert(KEY.to_owned(), content.to_string());
        safetensors::save(path, &self.state, &metadata)
    }

    /// Reads a file that [`Checkpoint::save`] wrote, with the model's description if it has one.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or is no checkpoint.
    pub fn load(path: &Path) -> Result<(Self, Option<ModelInfo>)> {
        let (state, metadata) = safetensors::load(path)?;
        parse(state, &metadata).context(|| path.display().to_string())
    }
}

fn parse(
    state: BTreeMap<String, Array>,
    metadata: &BTreeMap<String, String>,
) -> Result<(Checkpoint, Option<ModelInfo>)> {
    let text = metadata.get(KEY).ok_or_else(|| {
        let text = "holds arrays, but is no checkpoint; a trained network is continued with --from";
        Error::new(ErrorKind::Format, text)
    })?;
    let content: Map<String, Value> = serde_json::from_str(text).map_err(|_| damaged("checkpoint"))?;
    match content.get("version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(other) => {
            let text =
                format!("the checkpoint has version {other}, this program reads {VERSION}; use the other program");
            return Err(Error::new(ErrorKind::Format, text));
        }
        None => return Err(damaged("version")),
    }
    let progress = Progress::from_json(content.get("progress").ok_or_else(|| damaged("progress"))?)?;
    let settings = content.get("settings").and_then(Value::as_object).ok_or_else(|| damaged("settings"))?;
    let setting = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    let settings =
        settings.iter().map(|pair| setting(pair).ok_or_else(|| damaged("settings"))).collect::<Result<_>>()?;
    let info = if metadata.contains_key("neuropil.model") { Some(read_info(metadata)?) } else { None };
    Ok((Checkpoint { progress, settings, state }, info))
}

impl Settings {
    /// All that decides the numbers of a run, as text by name.
    fn texts(&self) -> BTreeMap<String, String> {
        let Settings { epochs, batch_size, optimizer, schedule, early_stop, label_smoothing, .. } = self;
        // What the plateau has seen is of the progress.
        let plateau = self.plateau.map(|plateau| {
            let [gamma, threshold, minimum] = [plateau.gamma, plateau.threshold, plateau.minimum];
            format!("{gamma:?} {} {threshold:?} {} {minimum:?}", plateau.patience, plateau.cooldown)
        });
        let texts = [
            ("number of epochs", epochs.to_string()),
            ("batch size", batch_size.to_string()),
            ("optimizer", format!("{optimizer:?}")),
            ("schedule", format!("{schedule:?}")),
            ("plateau", plateau.unwrap_or_default()),
            ("early stop", format!("{early_stop:?}")),
            ("label smoothing", format!("{label_smoothing:?}")),
            ("augmentation", format!("{:?}", self.augmentation)),
            ("balance of classes", format!("{:?}", self.balanced)),
            ("precision", format!("{:?}", self.precision)),
            ("seed", self.seed.to_string()),
        ];
        texts.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
    }
}

impl Trainer {
    /// The run as it is now: at any step, also within [`super::Monitor::step`]. Waits for the device.
    ///
    /// # Errors
    /// When the loss or a parameter is no longer finite ([`ErrorKind::Parity`]), or the device is lost.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let state = self.store().all()?;
        let parameters = self.store().names(Leaf::Parameter).into_iter().map(|(name, _)| name);
        for name in parameters.chain(["metrics.loss".to_owned()]) {
            let finite = |array: &Array| array.to_f64_vec().iter().all(|element| element.is_finite());
            if state.get(&name).is_some_and(|array| !finite(array)) {
                let text = format!(
                    "{} is no longer finite after step {}; {}",
                    if name == "metrics.loss" { "the loss".to_owned() } else { format!("{name:?}") },
                    self.progress().steps,
                    "lower the learning rate, or clip gradients; --detect-nonfinite names the operation where it began"
                );
                return Err(Error::new(ErrorKind::Parity, text));
            }
        }
        Ok(Checkpoint { progress: self.progress().clone(), settings: self.settings().texts(), state })
    }

    /// Lets the next [`Trainer::fit`] go on from a checkpoint, with the same bits as if there had been no interruption.
    /// What was frozen must be frozen before. A run that may end early ([`Settings::early_stop`]) goes back to its best epoch
    /// then, whose checkpoint is `best` ([`super::Checkpoints::best`]); without it the last weights stay.
    ///
    /// # Errors
    /// When it is of another model or of other settings.
    pub fn restore(&mut self, checkpoint: &Checkpoint, best: Option<&Checkpoint>) -> Result<()> {
        let own = self.settings().texts();
        for (name, text) in &own {
            let saved = checkpoint.settings.get(name).ok_or_else(|| damaged(name))?;
            if saved != text {
                let text = format!(
                    "the checkpoint is of a run with the {name} {saved}, this one has {text}; start a new run from its weights"
                );
                return Err(Error::new(ErrorKind::Config, text));
            }
        }
        let batch = self.settings().batch_size.min(checkpoint.progress.data.images);
        self.train_program(batch.max(1))?;
        self.store().set_all(&checkpoint.state)?;
        self.continue_from(checkpoint.progress.clone(), best.map(Checkpoint::weights));
        Ok(())
    }
}
