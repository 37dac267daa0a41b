//! Losses: scalars to minimise.

use crate::tensor::Tensor;

/// The mean cross entropy of logits `[N, C]` with labels `[N]` (`u32`). `label_smoothing` spreads that share of the target
/// over all classes (Szegedy et al. 2016, arXiv 1512.00567).
#[track_caller]
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, label_smoothing: f64) -> Tensor {
    logits.softmax_cross_entropy(labels, label_smoothing).mean_all()
}

/// The mean squared difference over all elements; the shapes must be equal.
#[track_caller]
pub fn mse(prediction: &Tensor, target: &Tensor) -> Tensor {
    let target = target.expect_shape("mse: the target", prediction.shape());
    (prediction - target).square().mean_all()
}
