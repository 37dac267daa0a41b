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
