//! Losses of each element of a prediction, given a target of the same shape.

use super::{Reduction, number, refuse};
use crate::tensor::Tensor;

/// `|p − t|`.
#[track_caller]
pub fn l1_loss(prediction: &Tensor, target: &Tensor, reduction: Reduction) -> Tensor {
    let target = target.expect_shape("l1_loss: the target", prediction.shape());
    reduction.of(&(prediction - target).abs())
}

/// `(p − t)²`.
#[track_caller]
pub fn mse_loss(prediction: &Tensor, target: &Tensor, reduction: Reduction) -> Tensor {
    let target = target.expect_shape("mse: the target", prediction.shape());
    reduction.of(&(prediction - target).square())
}

/// The mean squared difference over all elements; the shapes must be equal.
#[track_caller]
pub fn mse(prediction: &Tensor, target: &Tensor) -> Tensor {
    mse_loss(prediction, target, Reduction::Mean)
}

/// `½(p − t)²` where the distance is at most `delta`, beyond that `delta·(|p − t| − ½·delta)`: squares of small errors,
/// slopes of at most `delta` (Huber 1964).
#[track_caller]
pub fn huber_loss(prediction: &Tensor, target: &Tensor, delta: f64, reduction: Reduction) -> Tensor {
    if delta.is_nan() || delta <= 0.0 {
        refuse(prediction, format!("huber_loss: a delta of {delta} is not above 0"));
    }
    let target = target.expect_shape("huber_loss: the target", prediction.shape());
    reduction.of(&prediction.elementwise("huber", &[&target], &[delta]))
}

/// `½(p − t)²/beta` where the distance is below `beta`, beyond that `|p − t| − ½·beta`; [`l1_loss`] where `beta` is 0
/// (Girshick 2015, arXiv 1504.08083).
#[track_caller]
pub fn smooth_l1_loss(prediction: &Tensor, target: &Tensor, beta: f64, reduction: Reduction) -> Tensor {
    if beta == 0.0 {
        return l1_loss(prediction, target, reduction);
    }
    if beta.is_nan() || beta < 0.0 {
        refuse(prediction, format!("smooth_l1_loss: a beta of {beta} is less than 0"));
    }
    let target = target.expect_shape("smooth_l1_loss: the target", prediction.shape());
    reduction.of(&(prediction.elementwise("huber", &[&target], &[beta]) * (1.0 / beta)))
}

/// The divergence of the target from the prediction (Kullback & Leibler 1951), element by element: `t·(log t − x)` for the
/// logarithm `x` of the predicted probability; for `log_target`, of which the target is the logarithm too, `e^t·(t − x)`.
///
/// The mean is over all elements. For the divergence itself (PyTorch's `batchmean`) take the sum and divide by the batch.
#[track_caller]
pub fn kl_div(log_prediction: &Tensor, target: &Tensor, log_target: bool, reduction: Reduction) -> Tensor {
    let target = target.expect_shape("kl_div: the target", log_prediction.shape());
    reduction.of(&if log_target {
        target.exp() * (target - log_prediction)
    } else {
        log_prediction.elementwise("kl_div", &[&target], &[])
    })
}

/// `−w·(t·log p + (1 − t)·log(1 − p))` for probabilities `p`; logarithms are cut off at −100. A `p` outside of [0, 1] gives
/// NaN. The weights must broadcast to the losses.
///
/// Where `p` comes from a sigmoid, use [`binary_cross_entropy_with_logits`]: it is accurate for all logits.
#[track_caller]
pub fn binary_cross_entropy(
    probability: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    reduction: Reduction,
) -> Tensor {
    let target = target.expect_shape("binary_cross_entropy: the target", probability.shape());
    let losses = probability.elementwise("bce", &[&target], &[]);
    reduction.of(&weigh("binary_cross_entropy: the weight", losses, weight))
}

/// `−w·(v·t·log σ(x) + (1 − t)·log(1 − σ(x)))` for logits `x`. The weights `w` of elements and `v` of positives must
/// broadcast to the losses: `v` is usually `[C]`, one for each of several labels.
#[track_caller]
pub fn binary_cross_entropy_with_logits(
    logits: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    pos_weight: Option<&Tensor>,
    reduction: Reduction,
) -> Tensor {
    let target = target.expect_shape("binary_cross_entropy_with_logits: the target", logits.shape());
    let one = number(logits, 1.0);
    let losses = logits.elementwise("bce_with_logits", &[&target, pos_weight.unwrap_or(&one)], &[]);
    let losses = losses.expect_shape("binary_cross_entropy_with_logits: the losses with pos_weight", logits.shape());
    reduction.of(&weigh("binary_cross_entropy_with_logits: the weight", losses, weight))
}

/// Binary cross-entropy of logits in which well-classified examples count less: `a·q^gamma·bce(x, t)`, where `q` is the
/// probability of the wrong class and `a` is `alpha` for positives and `1 − alpha` for negatives, or 1 without `alpha`
/// (Lin et al. 2017, arXiv 1708.02002, who take `alpha` = 0.25 and `gamma` = 2).
#[track_caller]
pub fn sigmoid_focal_loss(
    logits: &Tensor,
    target: &Tensor,
    alpha: Option<f64>,
    gamma: f64,
    reduction: Reduction,
) -> Tensor {
    reduction.of(&logits.sigmoid_focal(target, alpha, gamma))
}

/// Losses times weights that broadcast to them.
#[track_caller]
fn weigh(what: &str, losses: Tensor, weight: Option<&Tensor>) -> Tensor {
    match weight {
        None => losses,
        Some(weight) => (&losses * weight).expect_shape(what, losses.shape()),
    }
}
