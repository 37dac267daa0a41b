//! Which network: by its name, or by a file that describes it; and what some need before they are trained.

use std::path::Path;

use neuropil::data::Dataset;
use neuropil::nn::models::{self, Description, airbench};
use neuropil::train::Trainer;
use neuropil::{Array, Context, Error, ErrorKind};

/// How many training images the whitening of airbench94 is made from.
const WHITENING_IMAGES: usize = 5000;

/// Parses `--model`: a name, a file with a description in TOML, or the description itself as a run keeps it, in JSON. Gives what
/// [`models::by_name`] takes.
pub fn parse(text: &str) -> Result<String, String> {
    if models::NAMES.contains(&text) {
        return Ok(text.to_owned());
    }
    if Description::is_one(text) {
        let description = Description::from_json(text).map_err(|e| e.to_string())?;
        return Ok(description.to_json());
    }
    let path = Path::new(text);
    if path.extension().is_some_and(|end| end == "toml") || path.components().count() > 1 {
        return read(path).map_err(|e| e.to_string());
    }
    Err(format!("there are {}; or name a FILE.toml with a description", models::NAMES.join(", ")))
}

/// The description in a file, as JSON.
fn read(path: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let value = toml::from_str::<serde_json::Value>(&text).map_err(|e| {
        let place = e.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        let place = place.map_or(String::new(), |line| format!("line {line}: "));
        Error::new(ErrorKind::Format, format!("{place}{}", e.message()))
    });
    let description = value.and_then(Description::from_value).context(|| path.display().to_string())?;
    Ok(description.to_json())
}

/// Before the first step of `model` on `train`: freezes what this network never trains and, where the weights are `new`, sets
/// those that are computed from the images.
///
/// # Errors
/// When the images are none for this network.
pub fn prepare(trainer: &mut Trainer, model: &str, train: &Dataset, new: bool) -> Result<(), Error> {
    if model != "airbench94" {
        return Ok(());
    }
    if new {
        let some: Vec<usize> = (0..train.len().min(WHITENING_IMAGES)).collect();
        let normalization = train.normalization()?;
        let channels = train.image_shape()[2];
        let images = train.subset(&some)?.images()?;
        let relative = images.as_slice::<f32>()?.iter().enumerate().map(|(i, pixel)| {
            let channel = i % channels;
            (pixel - normalization.mean[channel]) / normalization.deviation[channel]
        });
        let images = Array::new(images.shape(), relative.collect())?;
        airbench::whiten(trainer.store(), &images)?;
    }
    airbench::FROZEN.iter().try_for_each(|pattern| trainer.freeze(pattern))
}
