//! Images relative to the mean and the standard deviation of their channels.
//!
//! Both are states of the store, `images.mean` and `images.deviation`, so they are saved with the weights, and training,
//! evaluation and prediction use the same ones. Before: [`Dataset::normalization`](crate::data::Dataset::normalization).

use std::collections::BTreeMap;

use crate::array::Array;
use crate::data::Normalization;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;
use crate::tensor::{Init, Tensor, Trace};

const MEAN: &str = "images.mean";
const DEVIATION: &str = "images.deviation";

/// Whether `weights` are of a model that takes its images so.
pub(super) fn is_in(weights: &BTreeMap<String, Array>) -> bool {
    weights.contains_key(MEAN)
}

/// That in `weights`, if there is one.
///
/// # Errors
/// When only one of both is there, or of another type.
pub(super) fn of(weights: &BTreeMap<String, Array>) -> Result<Option<Normalization>> {
    let numbers = |name: &str| -> Result<Vec<f32>> {
        let text = || Error::new(ErrorKind::Format, format!("{name} in the file is damaged; save the model again"));
        Ok(weights.get(name).ok_or_else(text)?.as_slice::<f32>().map_err(|_| text())?.to_vec())
    };
    match is_in(weights) {
        true => Ok(Some(Normalization { mean: numbers(MEAN)?, deviation: numbers(DEVIATION)? })),
        false => Ok(None),
    }
}

/// Nothing, if `normalization` is for images of so many `channels`.
pub(super) fn check(normalization: &Normalization, channels: usize) -> Result<()> {
    let Normalization { mean, deviation } = normalization;
    let usable = mean.iter().all(|mean| mean.is_finite()) && deviation.iter().all(|d| d.is_finite() && *d > 0.0);
    if usable && [mean.len(), deviation.len()] == [channels; 2] {
        return Ok(());
    }
    let text = format!(
        "normalize: images of {channels} channels need as many means and deviations above 0, not {mean:?} and {deviation:?}"
    );
    Err(Error::new(ErrorKind::Shape, text))
}

/// Keeps `normalization` in the store, once a program has made room for it.
pub(super) fn set(store: &Store, normalization: &Normalization) -> Result<()> {
    let channels = [normalization.mean.len()];
    store.set(MEAN, &Array::new(&channels, normalization.mean.clone())?)?;
    store.set(DEVIATION, &Array::new(&channels, normalization.deviation.clone())?)
}

/// `(images - mean) / deviation`, by channel.
pub(super) fn apply(trace: &Trace, images: &Tensor, channels: usize) -> Tensor {
    let state = |name, initial| trace.scope().state(name, &[channels], DType::F32, Init::Constant(initial));
    (images - state(MEAN, 0.0)) / state(DEVIATION, 1.0)
}
