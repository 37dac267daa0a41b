//! Loss and accuracy, summed on the device and read once in a while.

use crate::array::Array;
use crate::dtype::DType;
use crate::error::Result;
use crate::store::Store;
use crate::tensor::{Init, Tensor, Trace};

/// Means over all samples since the last [`take`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Mean loss.
    pub loss: f64,
    /// Share of samples whose largest logit is that of the label.
    pub accuracy: f64,
    /// Number of samples.
    pub samples: usize,
}

/// The states, in the order of [`Metrics`]; sums of losses are `f32`, so one epoch of a million samples keeps 1e-4.
const STATES: [(&str, DType); 3] =
    [("metrics.loss", DType::F32), ("metrics.correct", DType::U32), ("metrics.samples", DType::U32)];

/// Adds the samples of a run: `losses` `[N]`, `logits` `[N, C]`, `labels` `[N]`.
pub fn accumulate(trace: &Trace, losses: &Tensor, logits: &Tensor, labels: &Tensor) {
    let correct = logits.argmax(&[-1]).equal(labels).sum_all();
    let count = trace.constant(losses.shape().first().copied().unwrap_or(0) as f64, DType::U32);
    for ((name, dtype), new) in STATES.into_iter().zip([losses.sum_all(), correct, count]) {
        let state = trace.scope().state(name, &[], dtype, Init::Constant(0.0));
        trace.update(&state, &(&state + new));
    }
}

/// The means since the last call; starts over.
///
/// # Errors
/// When no program with [`accumulate`] was compiled for the store, or the device is lost.
pub fn take(store: &Store) -> Result<Metrics> {
    let metrics = read(store)?;
    reset(store)?;
    Ok(metrics)
}

/// The means since the last [`take`].
///
/// # Errors
/// As [`take`].
pub fn read(store: &Store) -> Result<Metrics> {
    let mut sums = [0.0; 3];
    for (sum, (name, _)) in sums.iter_mut().zip(STATES) {
        *sum = store.get(name)?.item()?;
    }
    let [loss, correct, samples] = sums;
    let count = samples.max(1.0);
    Ok(Metrics { loss: loss / count, accuracy: correct / count, samples: samples as usize })
}

/// Starts over.
///
/// # Errors
/// As [`take`].
pub fn reset(store: &Store) -> Result<()> {
    STATES.into_iter().try_for_each(|(name, dtype)| store.set(name, &Array::zeros(&[], dtype)))
}
