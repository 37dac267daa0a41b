//! Losses that ask for a margin: between scores, or between distances of vectors.

use super::{Reduction, number};
use crate::tensor::Tensor;

/// `x` where the target is 1, `max(0, margin − x)` where it is −1; both together elsewhere, as in PyTorch.
#[track_caller]
pub fn hinge_embedding_loss(x: &Tensor, target: &Tensor, margin: f64, reduction: Reduction) -> Tensor {
    let target = target.expect_shape("hinge_embedding_loss: the target", x.shape());
    let (zero, one) = (number(x, 0.0), number(x, 1.0));
    let similar = target.not_equal(&-&one).select(x, &zero);
    let apart = target.not_equal(&one).select(&(margin - x).relu(), &zero);
    reduction.of(&(similar + apart))
}

/// The multi-class hinge loss of scores `[N, C]` with labels `[N]` (`u32`): `w[l]·Σ max(0, margin − x[l] + x[i]) / C` over
/// the classes `i` other than the label `l`; the terms are squared if `squared` (PyTorch's `p = 2`). The weights of the
/// classes are `[C]`; the mean is over the rows.
#[track_caller]
pub fn multi_margin_loss(
    scores: &Tensor,
    labels: &Tensor,
    margin: f64,
    squared: bool,
    weight: Option<&Tensor>,
    reduction: Reduction,
) -> Tensor {
    let losses = scores.multi_margin(labels, margin, squared);
    let classes = scores.shape().last().copied().unwrap_or(1);
    let Some(weight) = weight else { return reduction.of(&losses) };
    let weight = weight.expect_shape("multi_margin_loss: the weight of the classes", &[classes]);
    reduction.of(&(losses * weight.index_select(0, labels)))
}

/// For pairs of vectors `[N, D]` and targets `[N]`: `1 − cos` where the target is 1, `max(0, cos − margin)` where it is −1,
/// for the cosine of their angle.
#[track_caller]
pub fn cosine_embedding_loss(a: &Tensor, b: &Tensor, target: &Tensor, margin: f64, reduction: Reduction) -> Tensor {
    /// PyTorch's squared length here, of which the root has a slope at 0.
    #[track_caller]
    fn squares(x: &Tensor) -> Tensor {
        x.square().sum(&[-1]) + 1e-12
    }
    let b = b.expect_shape("cosine_embedding_loss: the second vectors", a.shape());
    let cosine = (a * &b).sum(&[-1]) / (squares(a) * squares(&b)).sqrt();
    let target = target.expect_shape("cosine_embedding_loss: the target", cosine.shape());
    let (zero, one) = (number(&cosine, 0.0), number(&cosine, 1.0));
    let similar = target.equal(&one).select(&(1.0 - &cosine), &zero);
    let apart = target.equal(&-&one).select(&(&cosine - margin).relu(), &zero);
    reduction.of(&(similar + apart))
}

/// `max(0, ‖a − p‖ − ‖a − n‖ + margin)` over the last axis of anchors, positives and negatives `[N, D]`; each distance is
/// that of PyTorch, `‖x − y + 1e-6‖`, so that its slope is finite everywhere.
#[track_caller]
pub fn triplet_margin_loss(
    anchor: &Tensor,
    positive: &Tensor,
    negative: &Tensor,
    margin: f64,
    reduction: Reduction,
) -> Tensor {
    #[track_caller]
    fn distance(from: &Tensor, to: &Tensor, what: &str) -> Tensor {
        let to = to.expect_shape(what, from.shape());
        (from - to + 1e-6).square().sum(&[-1]).sqrt()
    }
    let near = distance(anchor, positive, "triplet_margin_loss: the positives");
    let far = distance(anchor, negative, "triplet_margin_loss: the negatives");
    reduction.of(&(near - far + margin).relu())
}
